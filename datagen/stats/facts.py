"""Facts of a dataset that the page and the card both show, in the same words."""

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
    """A duration in the most readable unit: 33.9 s, 5.2 min, 17.3 h."""
    unit, length = next(
        ((u, n) for u, n in (("h", 3600), ("min", 60)) if seconds >= 2 * n), ("s", 1)
    )
    return f"{seconds / length:,.1f} {unit}"


def tar_bytes(entries: Iterable[ShardEntry]) -> int:
    """The total size of these shards."""
    return sum(entry["bytes"] for entry in entries)


def backend_uses(rows: Iterable[Row]) -> list[tuple[BackendUse, int]]:
    """Every way in which a stage was run, with its number of clips, in pipeline order."""
    found: Counter[BackendUse] = Counter()
    for row in rows:
        found.update(_use(stage, made) for stage, made in row.stages.items())
    return sorted(found.items(), key=lambda item: (stage_position(item[0][0]), item))


def backends(rows: Iterable[Row], stage: str) -> set[str]:
    """The backends that ran this stage."""
    return {str(row.stages.get(stage, {}).get("backend", "")) for row in rows}


def rules(dataset: Dataset) -> list[AppliedRule]:
    """Every rule of the selection and the subsets, with the number of clips that it removed."""
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
    """A rule's bounds in words: at least 8 and at most 20, and measured at all."""
    ends = [f"at {end} {rule[end]}" for end in ("least", "most") if rule.get(end) is not None]
    return " and ".join(ends) + (", and measured at all" if rule.get("required") else "")


def _use(stage: str, made: Mapping[str, Any]) -> BackendUse:
    weights = sorted((str(name), str(licence)) for name, licence in made.get("weights", {}).items())
    return BackendUse(
        stage, str(made.get("backend", "?")), str(made.get("version", "?")), tuple(weights)
    )
