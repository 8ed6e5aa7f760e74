"""Gaze of every clip of a folder of videos.

python -m datagen.gaze --input raw/
"""

from datagen.stage_main import stage_main

main = stage_main("gaze")

if __name__ == "__main__":
    main()
