"""Landmarks of every clip of a folder of videos.

python -m datagen.faces --input raw/
"""

from datagen.stage_main import stage_main

if __name__ == "__main__":
    stage_main("faces")
