"""Draw clips in another look.

python -m datagen.style --input raw/
"""

from datagen.stage_main import stage_main

if __name__ == "__main__":
    stage_main("style")
