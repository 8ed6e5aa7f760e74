"""Stages that take no time, with faults to order: what a run must survive, without video."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.core.errors import Invalid, Reject, Transient
from datagen.engine.clip import Artifact, Clip
from datagen.engine.executors import LocalExecutor, RayExecutor
from datagen.engine.ledger import Ledger, read_ledger
from datagen.engine.pipeline import Pipeline
from datagen.engine.progress import Progress
from datagen.engine.scheduler import RunResult, Scheduler
from datagen.engine.stage import Needs, Stage
from datagen.engine.store import Store


@dataclass
class Text(Stage):
    """Writes the clip's key."""

    name = "source"
    version = 1

    def of_clip(self, clip: Clip) -> dict:
        return {"key": clip.key}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        (workdir / "text").write_text(clip.key)
        return Artifact(workdir / "text", {"length": len(clip.key)})


@dataclass
class Split(Stage):
    """One span for each letter after the last underscore."""

    name = "split"
    version = 1
    inputs = ("source",)

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        (workdir / "spans").write_text(clip.key)
        count = clip.key.split("_")[-1]
        return Artifact(
            workdir / "spans",
            {"spans": [[i, i + 1] for i in range(int(count))]} if count.isdigit() else {},
        )


@dataclass
class Upper(Stage):
    """Upper-cases the text; `faults` says what goes wrong for which key, `marks` counts the calls
    outside the store.
    """

    name = "upper"
    version = 1
    inputs = ("source",)

    faults: dict[str, str] = field(default_factory=dict)
    marks: str = ""
    suffix: str = ""

    def parameters(self) -> dict:
        return {"suffix": self.suffix}

    def of_clip(self, clip: Clip) -> dict:
        return {"span": clip.span}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        if self.marks:
            (Path(self.marks) / f"{clip.key}.{time.time_ns()}").touch()
        fail(self.faults.get(clip.key, ""), workdir)
        (workdir / "upper").write_text(clip.path("source").read_text().upper() + self.suffix)
        return Artifact(workdir / "upper", {"length": clip.metrics("source")["length"]})


@dataclass
class Twice(Stage):
    """Reads what `upper` made; may ask for workers of its own."""

    name = "twice"
    version = 1
    inputs = ("upper",)

    cpus: float = 1

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(cpus=self.cpus)

    def parameters(self) -> dict:
        return {}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        (workdir / "twice").write_text(clip.path("upper").read_text() * 2)
        return Artifact(workdir / "twice")


class Nothing:
    """No rules."""

    def verdict(self, stage: str, clip: Clip) -> Reject | None:
        return None


class Short:
    """Texts of more than five letters are out."""

    def verdict(self, stage: str, clip: Clip) -> Reject | None:
        if stage == "source" and clip.metrics("source")["length"] > 5:
            return Reject("long", "more than five letters")
        return None


def journey(rules=None, split: Stage | None = None, cpus: float = 1, **upper) -> Pipeline:
    return Pipeline(Text(), [Upper(**upper), Twice(cpus)], rules or Nothing(), split)


def clips(*keys: str) -> list[Clip]:
    return [Clip(key, {"name": "toy"}, span=(0.0, 1.0)) for key in keys]


def run(
    tmp_path: Path,
    journey: Pipeline,
    planned: list[Clip],
    workers: int = 0,
    deadline: float = 60.0,
    name: str = "store",
    **ray: Any,
) -> tuple[RunResult, dict[str, dict[str, Any]]]:
    """Runs and returns (work, outcome events by key); without workers, and options of Ray, it is
    the local runner.
    """
    store = Store(str(tmp_path / name))
    on_ray = bool(workers or ray)
    pool = (
        RayExecutor(journey, store, tmp_path, workers or None, deadline, ray)
        if on_ray
        else LocalExecutor(journey, store)
    )
    ledger = Ledger(tmp_path / f"{name}.jsonl", os.urandom(4).hex())
    try:
        work = Scheduler(journey, store, pool, ledger, Progress(0, enabled=False)).run(planned)
    finally:
        pool.close()
        ledger.close()
    events = [
        e for e in read_ledger(ledger.path) if e["event"] == "clip" and e["run"] == ledger.run
    ]
    assert len(events) == work.books.planned - work.books.pending
    return work, {event["key"]: event for event in events}


def artifacts(tmp_path: Path, name: str = "store") -> dict[str, bytes]:
    """Relative path -> bytes of what a store holds besides its own records and the scratch of
    killed workers.
    """
    files = [f for f in (tmp_path / name).rglob("*") if f.is_file() and f.name != "done.json"]
    paths = {f.relative_to(tmp_path / name).as_posix(): f for f in files}
    return {path: f.read_bytes() for path, f in paths.items() if not path.startswith("tmp/")}


def fail(fault: str, workdir: Path) -> None:
    (workdir / "half").write_text("half written")
    match fault:
        case "raise":
            raise ValueError("a bug")
        case "exit":
            sys.exit(0)
        case "kill":
            os._exit(7)
        case "loop":
            while True:
                time.sleep(0.05)
        case "reject":
            raise Reject("ugly", "no beauty")
        case "invalid":
            raise Invalid("damaged", "no end")
        case "transient":
            raise Transient("try later")
        case "full":
            raise OSError(28, "No space left on device")
