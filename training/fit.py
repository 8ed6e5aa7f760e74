"""Train a model on shards.

python -m training.fit +experiment=stage2 init_from=runs/stage1/model
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datagen.cli import command
from datagen.options import option
from training.trainer.settings import resolved

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class FitOptions:
    name: str = option("fit", "of the run")
    output: str = option(
        "runs/${name}", "folder for checkpoints, log, validation pictures and at the end the model"
    )
    init_from: str | None = option(
        None,
        "model folder, or checkpoint (.ckpt) of another run, whose weights this one begins with",
    )
    official: bool = option(False, "the paper's settings where those of an experiment are ours")
    seed: int = option(0, "of everything that chance decides")
    max_steps: int = option(100000, "optimizer steps")
    accumulate: int = option(1, "micro-steps to an optimizer step")
    gradient_checkpointing: bool = option(False, "half the memory for a third more time")
    compile: bool = option(False, "torch.compile")
    cache: str | None = option(
        None,
        "folder written by python -m training.cache: latents and tokens are read, not computed",
    )
    checkpoint_every: int = option(1000, "steps")
    keep: int = option(2, "checkpoints, the newest")
    validate_every: int = option(1000, "steps; 0: never")
    validation_cases: int = option(
        4, "clips of the val split, each driven by itself and by another one"
    )
    validation_steps: int = option(10, "denoising steps")
    validation_guidance: float = option(
        1.0, "how strongly the portrait is followed; above 1 wants objective.drop_reference"
    )
    validation_window: int = option(16, "frames at once")
    validation_minutes: float = option(10, "what takes longer is left out")
    most_bad: int = option(100, "samples that may be unreadable before the training ends")
    log_every: int = option(10, "steps")
    plan: bool = option(False, "say what would be done and what it needs, and end")
    overwrite: bool = option(False, "begin anew in an output that holds a run with other settings")
    progress: bool = option(True, "a bar with loss and remaining time")


@command("fit", FitOptions)
def main(cfg: DictConfig) -> int:
    settings = resolved(cfg)
    if settings.plan:
        from training.plan.report import show_plan

        return show_plan(settings)
    from training.trainer.run import Run

    return Run.prepared(settings).fit()


if __name__ == "__main__":
    main()
