"""Latents and CLIP tokens of shards, computed once: what a training asks of the frozen parts.

python -m training.cache --input data/shards --output data/cache
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datagen.cli import command

if TYPE_CHECKING:
    pass


@command("cache")
def main(cfg: Any) -> int:
    from training.cache.writer import fill

    return fill(cfg)


if __name__ == "__main__":
    main()
