"""Latents and CLIP tokens of shards, computed once: what a training asks of the frozen parts.

python -m training.cache --input data/shards --output data/cache
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datagen.cli import command
from datagen.options import option

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class CacheOptions:
    input: str = option("data/shards", "folder of shards")
    output: str = option("data/cache", "folder to write: a tar beside each shard, index.json")
    init_from: str | None = option(
        None, "model folder whose autoencoder and CLIP are asked; null: the preset's own"
    )
    tokens_every: int = option(
        8, "every such frame has tokens: a training draws its portraits among these"
    )
    device: str = option(
        "auto",
        "auto: cuda where there is one, else cpu; on a GPU the work is in bfloat16, as in training",
    )
    workers: int = option(2, "processes that decode; 0: none, in this one")
    overwrite: bool = option(False, "replace a cache of another model or of other shards")


@command("cache", CacheOptions)
def main(cfg: DictConfig) -> int:
    from training.cache.writer import fill

    return fill(cfg)


if __name__ == "__main__":
    main()
