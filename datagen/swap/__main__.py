"""Put another person's face into every clip of a folder of videos.

python -m datagen.swap --input raw/ --donors portraits/
"""

from datagen.stage_main import stage_main

if __name__ == "__main__":
    stage_main("swap")
