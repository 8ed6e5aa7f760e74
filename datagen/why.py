"""The history of one clip: its source, its stages and measurements, its outcome.

python -m datagen.why KEY        a key, or a part of a key or path
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.cli import command
from datagen.core.errors import UserError
from datagen.core.text import line_of
from datagen.options import REQUIRED, option

if TYPE_CHECKING:
    from datagen.engine.store import Store


@dataclass
class WhyOptions:
    key: str = option(
        REQUIRED, "a clip's key, or a part of it or of its file's name", positional=True
    )
    store: str = option("data/store", "the store of the run")


@command("datagen/why", WhyOptions)
def main(cfg: Any) -> int:
    from datagen.job import ledger_path

    path = ledger_path(cfg.store)
    if not path.exists():
        raise UserError(f"{path} does not exist: name the --store of the run.")
    histories = find(path, str(cfg.key))
    if not histories:
        raise UserError(f"no clip {cfg.key!r} in {path}: give a key, or a part of a file's name.")
    if len(histories) > 1:
        print(f"{len(histories)} clips match {cfg.key!r}:")
        for key, events in sorted(histories.items()):
            print(line_of(f"  {key}: {verdict(events[-1])}"))
        return 0
    from datagen.engine.store import Store

    (events,) = histories.values()
    for line in story(events, Store(cfg.store)):
        print(line_of(line))
    return 0


def find(ledger: Path, wanted: str) -> dict[str, list[dict[str, Any]]]:
    """Clip events by key: of the clip with that key, else of all whose key or path contains it."""
    from datagen.engine.ledger import read_ledger

    histories: dict[str, list[dict[str, Any]]] = {}
    for event in read_ledger(ledger):
        if event["event"] == "clip" and (
            wanted in event["key"] or wanted in str((event.get("source") or {}).get("path", ""))
        ):
            histories.setdefault(event["key"], []).append(event)
    return {wanted: histories[wanted]} if wanted in histories else histories


def story(events: list[dict[str, Any]], store: Store) -> Iterator[str]:
    """The last run's stages, one per line, and a line for each earlier run."""
    from datagen.stages import stage_position

    last = events[-1]
    span = f", {last['span'][0]:.2f} to {last['span'][1]:.2f} s" if last.get("span") else ""
    source = ", ".join(
        f"{k} {v}" for k, v in (last.get("source") or {}).items() if not isinstance(v, dict | list)
    )
    yield f"{last['key']}"
    yield f"  from {source}{span}"
    records = last.get("records") or {}
    for stage in sorted(records, key=stage_position):
        yield from _stage(stage, str(records[stage]), store)
    yield f"  => {verdict(last)}"
    for event in events[:-1]:
        yield f"  earlier, {event.get('at')}: {verdict(event)}"


def verdict(event: dict[str, Any]) -> str:
    detail = (
        f" ({detail[0]})" if (detail := (event.get("detail") or "").strip().splitlines()) else ""
    )
    reason = f": {event['reason']}" if event.get("reason") else ""
    at = f" at {event['stage']}" if event["outcome"] != "kept" and event.get("stage") else ""
    return f"{event['outcome']}{at}{reason}{detail}"


def _stage(stage: str, key: str, store: Store) -> Iterator[str]:
    try:
        record = store.read(stage, key)
    except (OSError, ValueError, TypeError):
        yield f"  {stage:<7} {key[:12]} is no longer in the store"
        return
    numbers = ", ".join(_flat(record.metrics))
    yield f"  {stage:<7} {key[:12]} {record.seconds:6.2f} s  {numbers or record.reason}"


LONG = {("", "fingerprints"), ("", "identity"), ("", "map")}  # that nobody reads


def _flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from () if name == "truth" else _flat(value, f"{prefix}{name}.")
        elif (prefix, name) not in LONG:
            yield f"{prefix}{name} {value}"


if __name__ == "__main__":
    main()
