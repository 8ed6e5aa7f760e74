"""Fetching the videos of a listed source, with every clip of the list accounted for.

    python -m datagen.download source=celebvhq --limit 100

`accounts` decides what each video is (there, to be fetched, out), `loop` fetches with `fetch` under
`breaker`, `pace` and `room`, `answers` says what an error means, `manifest` remembers every answer.
"""
