"""Clips of one face, cut out of a folder of videos.

python -m datagen.clips --input raw/
"""

from datagen.stage_main import stage_main

if __name__ == "__main__":
    stage_main("clips")
