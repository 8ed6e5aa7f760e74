"""Draw clips in another look.

python -m datagen.style --input raw/
"""

from datagen.stage_main import stage_main

main = stage_main("style")

if __name__ == "__main__":
    main()
