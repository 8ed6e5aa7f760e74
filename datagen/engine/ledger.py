"""Append-only record of what happened to every clip: one JSON object per line, whole lines only.

Events: `start` (run, command, output), `planned` (count), `clip` (an outcome, see `Outcome`),
`made` (what was computed before a clip moved on to other workers, or became its shots), `end` (the
books). A line cut off by a crash is skipped when reading and closed before the next is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core.files import canonical
from datagen.core.json import JsonObject
from datagen.core.limits import lines

DUPLICATE = "duplicate"  # found when all clips are known: the clip was counted as kept before
CLASSES = ("kept", "filtered", "invalid", "failed")


@dataclass
class RunCounts:
    """planned = kept + filtered + invalid + failed + pending, always."""

    planned: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    def settle(self, outcome: str, reason: str = "") -> None:
        assert outcome in CLASSES, outcome
        self.classes[outcome] += 1
        if outcome != "kept":
            self.reasons[outcome, reason] += 1

    def move(self, reason: str) -> None:
        """A kept clip turns out to be filtered after all (a duplicate)."""
        self.classes["kept"] -= 1
        self.settle("filtered", reason)

    @property
    def pending(self) -> int:
        return self.planned - sum(self.classes.values())

    def line(self) -> str:
        """planned N = kept a + filtered b + invalid c + failed d (+ pending e)"""
        parts = [f"{name} {self.classes[name]}" for name in CLASSES]
        if self.pending:
            parts.append(f"pending {self.pending}")
        return f"planned {self.planned} = " + " + ".join(parts)

    def to_json(self) -> JsonObject:
        reasons: dict[str, dict[str, int]] = {}
        for (outcome, reason), count in sorted(self.reasons.items()):
            reasons.setdefault(outcome, {})[reason] = count
        return {
            "planned": self.planned,
            **{name: self.classes[name] for name in CLASSES},
            "reasons": reasons,
        }


class Ledger:
    """Appends events to one file; a `run` id marks the events of one run."""

    def __init__(self, path: Path, run: str):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.run = run
        self._file = path.open(
            "ab", buffering=0
        )  # what a full disk refuses is not tried again when it is closed
        if path.stat().st_size and not _ends_with_newline(path):
            self._file.write(b"\n")

    def append(self, event: str, **fields: Any) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = canonical({"event": event, "run": self.run, "at": at, **fields}) + "\n"
        data = line.encode()
        while data:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        self._file.close()


def read_ledger(path: Path) -> Iterator[JsonObject]:
    """Events in order; lines that are no whole JSON object (a crash cut them) are skipped."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in lines(file):
            if event := _event(line):
                yield event


class Rows(Mapping[str, JsonObject]):
    """The last `clip` event of each clip of a run, by key, in order of key. Only where they stand
    is kept in memory.
    """

    def __init__(self, path: Path, run: str):
        self.path, own = path, f'"run":{json.dumps(run)}'.encode()
        places: dict[str, int] = {}
        at = 0
        with path.open("rb") as file:
            for line in lines(file):
                if (
                    own in line
                    and (event := _event(line))
                    and event["event"] == "clip"
                    and event["run"] == run
                ):
                    places[event["key"]] = at
                at += len(line)
        self._places = dict(sorted(places.items()))

    def __getitem__(self, key: str) -> JsonObject:
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return json.loads(file.readline())

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Settled:
    """Keys of clips that earlier runs came to an end with, whatever has changed since; eight bytes
    each.
    """

    def __init__(self, path: Path):
        found = array("Q")
        if path.exists():
            with path.open("rb") as file:
                for line in lines(file):
                    if (
                        b'"event":"clip"' in line
                        and b'"outcome":"failed"' not in line
                        and (event := _event(line))
                    ):
                        found.append(_short(event["key"]))
        self._hashes = np.unique(np.array(found, np.uint64))

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, key: str) -> bool:
        wanted = np.uint64(_short(key))
        at = int(np.searchsorted(self._hashes, wanted))
        return at < len(self._hashes) and bool(self._hashes[at] == wanted)


def _short(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest(), "big"
    )


def _event(line: bytes) -> JsonObject | None:
    """A whole line of ours."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_ours = (
        isinstance(event, dict)
        and isinstance(event.get("event"), str)
        and isinstance(event.get("run"), str)
    )
    return event if is_ours and _is_told(event) else None


def _is_told(event: JsonObject) -> bool:
    """Whether the event says what is read of it, in the right form."""
    if event["event"] == "planned":
        return type(event.get("count")) is int
    if event["event"] != "clip":
        return True
    words, span = (
        [event.get(name) for name in ("key", "outcome", "reason", "detail", "stage")],
        event.get("span"),
    )
    objects = [event.get(name) for name in ("source", "records")]
    return (
        all(word is None or isinstance(word, str) for word in words)
        and isinstance(event.get("key"), str)
        and event.get("outcome") in CLASSES
        and all(value is None or isinstance(value, dict) for value in objects)
        and (
            span is None
            or (isinstance(span, list) and len(span) == 2 and set(map(type, span)) <= {int, float})
        )
    )


def unfinished(path: Path) -> RunCounts | None:
    """The books of the last run, where that was cut off before its end; else None."""
    books: RunCounts | None = None
    for event in read_ledger(path):
        if event["event"] == "start":
            books = RunCounts()
        elif books is not None and event["event"] == "planned":
            books.planned += event["count"]
        elif books is not None and event["event"] == "clip" and event.get("reason") == DUPLICATE:
            books.move(DUPLICATE)
        elif books is not None and event["event"] == "clip":
            books.settle(event["outcome"], event.get("reason", ""))
        elif event["event"] == "end":
            books = None
    return books


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
