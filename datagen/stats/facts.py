"""What page and card both tell of a dataset, in the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

from datagen.stages import stage_position
from datagen.stats.dataset import Dataset
from datagen.stats.measures import Measure
from datagen.stats.rows import Row
from datagen.stats.trust import ShardEntry


class BackendUse(NamedTuple):
    """How a stage was run: its backend, and (weights, licence) of each model that it used."""

    stage: str
    backend: str
    version: str
    weights: tuple[tuple[str, str], ...]


class AppliedRule(TypedDict):
    """A rule of the selection. `bound` is in words; `lost` counts the clips that it removed."""

    reason: str
    measure: Measure
    bound: str
    subset: str | None
    lost: int


def duration(seconds: float) -> str:
    """In the unit that reads best: 33.9 s, 5.2 min, 17.3 h."""
    unit, length = next(
        ((u, n) for u, n in (("h", 3600), ("min", 60)) if seconds >= 2 * n), ("s", 1)
    )
    return f"{seconds / length:,.1f} {unit}"


def tar_bytes(entries: Iterable[ShardEntry]) -> int:
    """What the files of these shards take."""
    return sum(entry["bytes"] for entry in entries)


def backend_uses(rows: Iterable[Row]) -> list[tuple[BackendUse, int]]:
    """Each way in which a stage has worked with the number of its clips, in the order of the
    journey.
    """
    found: Counter[BackendUse] = Counter()
    for row in rows:
        found.update(_use(stage, made) for stage, made in row.stages.items())
    return sorted(found.items(), key=lambda item: (stage_position(item[0][0]), item))


def backends(rows: Iterable[Row], stage: str) -> set[str]:
    """Those that made this stage's part of the clips."""
    return {str(row.stages.get(stage, {}).get("backend", "")) for row in rows}


def rules(dataset: Dataset) -> list[AppliedRule]:
    """Each rule's reason, measure and bounds in words, its subset or None, and the clips that it
    took out.
    """
    measures = {measure.path: measure for measure in dataset.measures if not measure.span}
    lost = Counter(loss.reason for loss in dataset.losses)
    return [
        {
            "reason": rule["reason"],
            "measure": measures[rule["metric"]],
            "bound": bound(rule),
            "subset": rule.get("subset"),
            "lost": lost[rule["reason"]],
        }
        for rule in dataset.rules
    ]


def bound(rule: Mapping[str, Any]) -> str:
    """In words: at least 8 and at most 20, and measured at all."""
    ends = [f"at {end} {rule[end]}" for end in ("least", "most") if rule.get(end) is not None]
    return " and ".join(ends) + (", and measured at all" if rule.get("required") else "")


def _use(stage: str, made: Mapping[str, Any]) -> BackendUse:
    weights = sorted((str(name), str(licence)) for name, licence in made.get("weights", {}).items())
    return BackendUse(
        stage, str(made.get("backend", "?")), str(made.get("version", "?")), tuple(weights)
    )
