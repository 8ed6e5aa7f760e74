"""Download the videos of a listed source, and account for every clip of the list.

    python -m datagen.download source=celebvhq --limit 100

`accounts` sorts the videos: present, to be fetched, or given up. `loop` runs the downloads; `fetch`
does one, limited by `breaker` and `pace`. `answers` classifies errors; `manifest` keeps results.
"""
