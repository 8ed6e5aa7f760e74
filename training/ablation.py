"""Does the driving person's identity leak? The same small training with and without twins.

python -m training.ablation
"""

from __future__ import annotations

from omegaconf import DictConfig

from datagen.cli import command


@command("ablation")
def main(cfg: DictConfig) -> int:
    from training.evaluation.ablation import compare_variants

    return compare_variants(cfg)


if __name__ == "__main__":
    main()
