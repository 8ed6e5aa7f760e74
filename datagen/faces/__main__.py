"""Landmarks of every clip of a folder of videos.

python -m datagen.faces --input raw/
"""

from datagen.stage_main import stage_main

main = stage_main("faces")

if __name__ == "__main__":
    main()
