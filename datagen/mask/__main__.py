"""Person and face of every clip of a folder of videos.

python -m datagen.mask --input raw/
"""

from datagen.stage_main import stage_main

main = stage_main("mask")

if __name__ == "__main__":
    main()
