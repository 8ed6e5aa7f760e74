"""How good is a trained model, or anybody's video?

python -m training.evaluate --checkpoint CKPT mode=cross
"""

from __future__ import annotations

from omegaconf import DictConfig

from datagen.cli import command


@command("evaluate")
def main(cfg: DictConfig) -> int:
    from training.evaluation.run import evaluate

    return evaluate(cfg)


if __name__ == "__main__":
    main()
