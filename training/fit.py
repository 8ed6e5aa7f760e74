"""Train a model on shards.

python -m training.fit +experiment=stage2 init_from=runs/stage1/model
"""

from __future__ import annotations

from omegaconf import DictConfig

from datagen.cli import command
from training.trainer.settings import resolved


@command("fit")
def main(cfg: DictConfig) -> int:
    settings = resolved(cfg)
    if settings.plan:
        from training.plan.report import show_plan

        return show_plan(settings)
    from training.trainer.run import Run

    return Run.prepared(settings).fit()


if __name__ == "__main__":
    main()
