"""Train a model on shards.

python -m training.fit +experiment=stage2 init_from=runs/stage1/model
"""

from __future__ import annotations

from typing import Any

from datagen.cli import command
from datagen.core.errors import UserError
from training.trainer.settings import resolved


@command("fit")
def main(cfg: Any) -> int:
    settings = resolved(cfg)
    return _plan(settings) if settings.plan else _fit(settings)


def _fit(settings: Any) -> int:
    from training.trainer.run import Run

    return Run.prepared(settings).fit()


def _plan(settings: Any) -> int:
    from training.plan.report import planned

    plan = planned(settings)
    print(plan.text)
    if plan.mistakes:
        raise UserError("; ".join(mistake.rstrip(".") for mistake in plan.mistakes) + ".")
    return 0


if __name__ == "__main__":
    main()
