"""Convert shards in the official MegActor layout into ours.

python -m datagen.prepare --input tars/ --output data/shards
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datagen.cli import command
from datagen.options import REQUIRED, option


@dataclass
class PrepareOptions:
    input: str = option(
        REQUIRED,
        "folder of .tar files whose samples have mp4, swapped.mp4 and mp4_styled, one twin at "
        "least",
    )
    output: str = option(REQUIRED, "folder for train-NNNNNN.tar, val-NNNNNN.tar and index.json")
    size: int = option(
        512, "px of the clips; a square target is taken whole, another is cut around its face"
    )
    fps: int = option(25, "frames/s of the clips")
    max_seconds: float = option(10.0, "of a clip; the rest of a longer one is left out")
    val_share: float = option(
        0.1, "of the groups, for validation; clips with near-duplicate faces are one group"
    )
    shard_samples: int = option(1000, "samples in a shard at most")
    shard_mb: int = option(512, "MiB in a shard at most")
    overwrite: bool = option(False, "replace results that differ")


@command("datagen/prepare", PrepareOptions)
def main(cfg: Any) -> int:
    from datagen.prepare.convert import run

    return run(cfg)


if __name__ == "__main__":
    main()
