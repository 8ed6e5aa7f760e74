"""The order of the stages, in one place: conf/datagen/shards.yaml.

What each stage reads (`Stage.inputs`) must come before it; the rest of the order is the file's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import yaml

from datagen.cli import CONF
from datagen.core.errors import UserError
from datagen.engine.stage import Stage

NO_STAGES = ("select",)  # groups of the file that are no stage


@lru_cache(maxsize=1)
def stage_names() -> tuple[str, ...]:
    """All stages of the whole pipeline, `source` first."""
    defaults = yaml.safe_load((CONF / "datagen" / "shards.yaml").read_text())["defaults"]
    groups = [name.strip("/") for entry in defaults if isinstance(entry, dict) for name in entry]
    return tuple(name for name in groups if "@" not in name and name not in NO_STAGES)


def stage_position(name: str) -> tuple[int, str]:
    """Sorts names of stages in the order of the pipeline; stages it does not have come last."""
    names = stage_names()
    return names.index(name) if name in names else len(names), name


def in_order(stages: Iterable[Stage]) -> Sequence[Stage]:
    """Each stage behind those that it reads, else in the order of the pipeline.

    UserError where stages wait for each other.
    """
    waiting = sorted(stages, key=lambda stage: stage_position(stage.name)[0])
    ordered: list[Stage] = []
    while waiting:
        names = {stage.name for stage in waiting}
        ready = next((stage for stage in waiting if not names & set(stage.inputs)), None)
        if ready is None:
            circle = ", ".join(sorted(names))
            raise UserError(
                f"the stages {circle} read each other's artifacts: change their inputs."
            )
        waiting.remove(ready)
        ordered.append(ready)
    return ordered
