"""Latents and CLIP tokens of shards, computed once: what a training asks of the frozen parts.

python -m training.cache --input data/shards --output data/cache
"""

from __future__ import annotations

from omegaconf import DictConfig

from datagen.cli import command


@command("cache")
def main(cfg: DictConfig) -> int:
    from training.cache.writer import fill

    return fill(cfg)


if __name__ == "__main__":
    main()
