"""Clips of one face, cut out of a folder of videos.

python -m datagen.clips --input raw/
"""

from datagen.stage_main import stage_main

main = stage_main("clips")

if __name__ == "__main__":
    main()
