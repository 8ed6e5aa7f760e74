"""Put another person's face into every clip of a folder of videos.

python -m datagen.swap --input raw/ --donors portraits/
python -m datagen.swap --input raw/ --donors anna.jpg ben.png
"""

from __future__ import annotations

from dataclasses import dataclass

from datagen.options import option
from datagen.stage_main import StageOptions, stage_main


@dataclass
class SwapOptions(StageOptions):
    donors: tuple[str, ...] = option(
        ("sample",), "folders of portraits, or portraits; sample: the built-in people"
    )


main = stage_main("swap", SwapOptions)

if __name__ == "__main__":
    main()
