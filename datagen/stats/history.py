"""What the ledger adds to the index: where lost clips came from, what the store has of them, and what it all cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.engine.ledger import read_ledger
from datagen.stats.rows import text_of


@dataclass(frozen=True)
class Cost:
    """What a stage made for these shards, in this run or an earlier one of the same store."""

    artefacts: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.artefacts + other.artefacts, self.seconds + other.seconds, self.bytes + other.bytes)


@dataclass(frozen=True)
class Loss:
    """One clip that was planned and is not in the shards."""

    key: str
    outcome: str
    reason: str
    stage: str = ""
    detail: str = ""
    source: str = ""
    seconds: float | None = None  # of the source that it stands for, where known
    records: Mapping[str, str] = field(default_factory=dict)  # stage -> key in the store


@dataclass(frozen=True)
class History:
    """`found` is False where the ledger does not know these shards."""

    losses: tuple[Loss, ...]
    costs: Mapping[str, Cost] = field(default_factory=dict)
    found: bool = False


def history(ledger: Path, index: Mapping[str, Any]) -> History:
    """The run that made the shards of this index: the last that accounts for exactly its clips."""
    lost = {row["key"]: row for row in index["rejects"]}
    wanted = {key for entry in index["shards"] for key in entry["keys"]} | lost.keys()
    run = _run(ledger, wanted)
    if run is None:
        return History(tuple(_loss(row, {}) for row in lost.values()))
    made: dict[tuple[str, str], Cost] = {}  # every artefact once, whatever run made it
    used: set[tuple[str, str]] = set()
    told: dict[str, dict[str, Any]] = {}
    videos = wanted | {key.rpartition("-")[0] for key in wanted}  # a video's key is that of its shots without number
    for event in read_ledger(ledger):
        records = event.get("records", {})
        for stage, seconds in event.get("seconds", {}).items():
            size = event.get("bytes", {}).get(stage, 0)
            made[stage, records[stage]] = Cost(1, seconds, size)
        if event["event"] == "made" and event["key"] in videos:
            used.update(records.items())
        if event["run"] != run:
            continue
        used.update(records.items())
        if event["event"] == "clip" and event["key"] in lost:
            told[event["key"]] = event
    costs: dict[str, Cost] = {}
    for stage, key in used & made.keys():
        costs[stage] = costs.get(stage, Cost()) + made[stage, key]
    return History(tuple(_loss(row, told.get(key, {})) for key, row in lost.items()), costs, found=True)


def _run(ledger: Path, wanted: set[str]) -> str | None:
    """The last run whose clip events have exactly these keys."""
    found, keys, current = None, set[str](), None
    for event in read_ledger(ledger):
        if event["run"] != current:
            found = current if keys == wanted else found
            keys, current = set(), event["run"]
        if event["event"] == "clip":
            keys.add(event["key"])
    return current if keys == wanted else found


def _loss(row: Mapping[str, Any], event: Mapping[str, Any]) -> Loss:
    source, span = event.get("source", {}), event.get("span")
    return Loss(
        key=text_of(row["key"]),
        outcome=text_of(row["outcome"]),
        reason=text_of(row["reason"]),
        stage=text_of(row.get("stage") or event.get("stage", "")),
        detail=text_of(event.get("detail", "")),
        source=text_of(source.get("path") or source.get("name", "")),
        seconds=span[1] - span[0] if span else None,
        records=event.get("records", {}),
    )
