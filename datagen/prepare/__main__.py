"""Convert shards in the official MegActor layout into ours.

python -m datagen.prepare --input tars/ --output data/shards
"""

from __future__ import annotations

from typing import Any

from datagen.cli import command


@command("datagen/prepare")
def main(cfg: Any) -> int:
    from datagen.prepare.convert import run

    return run(cfg)


if __name__ == "__main__":
    main()
