"""Does the driving person's identity leak? The same small training with and without twins.

python -m training.ablation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datagen.cli import command
from datagen.options import option

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class AblationOptions:
    input: str = option("data/shards", "folder of the sample's shards")
    output: str = option(
        "runs/ablation", "folder for the models, summary.json, table.md and pictures.png"
    )
    variants: list[str] = option(
        ["none", "twins"], "what drives, with each seed: see training/evaluation/ablation.py"
    )
    once: list[str] = option(
        ["swapped", "styled", "none-colour", "twins-colour"], "and with the first seed"
    )
    seeds: list[int] = option([0, 1, 2], "a training for each of the variants that drive")
    steps: int = option(600, "of each training")
    jobs: int = option(2, "trainings at once, on one thread each")
    cases: int = option(8, "pairs of people that are measured")
    frames: int = option(40, "of each case")
    readout: str = option("data/readout", "folder where pictures for the readout are kept")


@command("ablation", AblationOptions)
def main(cfg: DictConfig) -> int:
    from training.evaluation.ablation import compare_variants

    return compare_variants(cfg)


if __name__ == "__main__":
    main()
