"""What the ledger adds to the index: the sources of lost clips, their records, and the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError
from datagen.core.text import text_of
from datagen.engine.ledger import read_ledger
from datagen.stats.trust import number, whole


@dataclass(frozen=True)
class Cost:
    """The cost of a stage's artifacts for these shards, whichever run of the store made them."""

    artifacts: int = 0
    seconds: float = 0.0
    bytes: int = 0
    unknown: int = 0  # artifacts whose cost is not in the ledger

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            *(
                mine + theirs
                for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
            )
        )


@dataclass(frozen=True)
class LostClip:
    """A planned clip that is not in the shards."""

    key: str
    outcome: str
    reason: str
    stage: str = ""
    detail: str = ""
    source: str = ""
    seconds: float | None = None  # length of its part of the source, if known
    records: Mapping[str, str] = field(default_factory=dict)  # stage -> key in the store


@dataclass(frozen=True)
class RunHistory:
    """The run that made the shards; `found` is False if the ledger does not have it."""

    losses: tuple[LostClip, ...]
    costs: Mapping[str, Cost] = field(default_factory=dict)
    found: bool = False


@dataclass(frozen=True)
class LedgerEvent:
    """An event of the ledger about a clip, or the start of a run."""

    event: str
    run: str
    key: str = ""
    outcome: str = ""
    reason: str = ""
    stage: str = ""
    detail: str = ""
    source: str = ""
    output: str = ""
    seconds: float | None = None
    records: Mapping[str, str] = field(default_factory=dict)
    # stage -> cost of what was made in this event
    made: Mapping[str, Cost] = field(default_factory=dict)


def history(ledger: Path, folder: Path, index: Mapping[str, Any]) -> RunHistory:
    """Find the run that made these shards: the last with exactly the outcomes of the index."""
    lost = {row["key"]: row for row in index["rejects"]}
    fates = {key: ("kept", "") for entry in index["shards"] for key in entry["keys"]}
    fates |= {key: (row["outcome"], row["reason"]) for key, row in lost.items()}
    run = _run(ledger, folder, fates)
    if run is None:
        return RunHistory(tuple(_loss(row, None) for row in lost.values()))
    events, costs = _accounts(ledger, run, fates)
    return RunHistory(
        tuple(_loss(row, events.get(key)) for key, row in lost.items()), costs, found=True
    )


def _run(ledger: Path, folder: Path, fates: Mapping[str, tuple[str, str]]) -> str | None:
    """The last run with exactly these outcomes; one that wrote into this folder comes first.

    Runs of single stages are not considered.
    """
    found: dict[bool, str] = {}
    for output, run, outcomes in _runs(ledger):
        if outcomes == fates:
            found[output == str(folder.absolute())] = run
    return found.get(True, found.get(False))


def _runs(ledger: Path) -> Iterator[tuple[str, str, dict[str, tuple[str, str]]]]:
    """(output, run, key -> (outcome, reason)) of every run."""
    output, current, outcomes = "", "", dict[str, tuple[str, str]]()
    for event in _events(ledger):
        if event.run != current:
            yield output, current, outcomes
            output, current, outcomes = event.output, event.run, {}
        if event.event == "clip":
            is_whole = event.outcome != "kept" or "agree" in event.records
            outcomes[event.key] = (
                (event.outcome, event.reason) if is_whole else ("kept", "by a single stage")
            )
    yield output, current, outcomes


def _accounts(
    ledger: Path, run: str, fates: Mapping[str, object]
) -> tuple[dict[str, LedgerEvent], dict[str, Cost]]:
    """(the run's event for each clip, the cost of its artifacts, each counted once)."""
    # a video's key is that of its shots without the number
    videos = fates.keys() | {key.rpartition("-")[0] for key in fates}
    made: dict[tuple[str, str], Cost] = {}
    used: set[tuple[str, str]] = set()
    events: dict[str, LedgerEvent] = {}
    for event in _events(ledger):
        made |= {(stage, event.records[stage]): cost for stage, cost in event.made.items()}
        if event.run == run or (event.event == "made" and event.key in videos):
            used.update(event.records.items())
        if event.run == run and event.event == "clip":
            events[event.key] = event
    costs: dict[str, Cost] = {}
    for stage, key in used:
        costs[stage] = costs.get(stage, Cost()) + made.get((stage, key), Cost(1, unknown=1))
    return events, costs


def _events(ledger: Path) -> Iterator[LedgerEvent]:
    """The events of clips and starts of runs.

    Malformed events are skipped: the ledger only adds detail.
    """
    if not ledger.is_file():
        return
    for event in read_ledger(ledger):
        if event["event"] in ("start", "clip", "made"):
            try:
                parsed = _ledger_event(event)
            except (KeyError, TypeError, AttributeError, IndexError, UserError):
                continue
            yield parsed


def _ledger_event(event: Mapping[str, Any]) -> LedgerEvent:
    if event["event"] == "start":
        return LedgerEvent("start", event["run"], output=text_of(event.get("output", "")))
    source, span = event.get("source", {}), event.get("span")
    records = {text_of(stage): text_of(key) for stage, key in event["records"].items()}
    sizes = event.get("bytes", {})
    return LedgerEvent(
        event=event["event"],
        run=event["run"],
        key=text_of(event["key"]),
        **{name: text_of(event.get(name, "")) for name in ("outcome", "reason", "stage", "detail")},
        source=text_of(source.get("path") or source.get("name", "")),
        seconds=number(span[1], "span") - number(span[0], "span") if span else None,
        records=records,
        made={
            stage: Cost(1, number(seconds, "seconds", 0), whole(sizes[stage], "bytes"))
            for stage, seconds in event.get("seconds", {}).items()
            if stage in records and stage in sizes
        },
    )


def _loss(row: Mapping[str, str], event: LedgerEvent | None) -> LostClip:
    event = event or LedgerEvent("clip", "")
    stage = row["stage"] or event.stage
    key = text_of(row["key"])
    return LostClip(
        key,
        row["outcome"],
        row["reason"],
        stage,
        event.detail,
        event.source,
        event.seconds,
        event.records,
    )
