"""Train a model on shards.

python -m training.fit +experiment=stage2 init_from=runs/stage1/model
"""

from __future__ import annotations

from typing import Any

from datagen.engine.cli import command


@command("fit")
def main(cfg: Any) -> int:
    from training.run import Run

    run = Run.prepared(cfg)
    if cfg.plan:
        from training.plan import plan

        print(plan(run))
        return 0
    return run.fit()


if __name__ == "__main__":
    main()
