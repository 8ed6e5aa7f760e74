"""The one loop: clips x stages, on Ray or here, every clip accounted for."""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from datagen.core.errors import UserError
from datagen.engine.clip import Clip
from datagen.engine.executors import Executor
from datagen.engine.ledger import CLASSES, Ledger, RunCounts
from datagen.engine.pipeline import Outcome, Pipeline, run_clip_safely, split_clips
from datagen.engine.progress import Progress
from datagen.engine.store import Store

# a clip that kills its worker is soon known; machines come and go without its doing, but it may be
# what kills them
TRIES = {"crashed": 2, "transient": 3, "lost": 5}


@dataclass
class RunResult:
    """What a run did: its books, and where the time went."""

    books: RunCounts = field(default_factory=RunCounts)
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> s, computed in this run
    computed: Counter[str] = field(default_factory=Counter)  # stage -> number of artifacts made
    wall: float = 0.0
    start_seconds: float = 0.0  # of the wall time, what Ray took to start


@dataclass
class Scheduler:
    """Feeds clips to a pool and settles what comes back. Holds no more than the clips in flight."""

    pipeline: Pipeline
    store: Store
    executor: Executor
    ledger: Ledger
    progress: Progress
    result: RunResult = field(default_factory=RunResult)
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)  # (key, outcome)
    ready: deque[Outcome] = field(default_factory=deque)  # waiting for a worker
    flying: int = 0
    most_waiting: int = (
        1  # more, where stages differ in needs: one kind of worker must not starve for another
    )

    def run(self, clips: Iterable[Clip]) -> RunResult:
        """All of them, each once; asked of the store in this order."""
        started = time.perf_counter()
        planned = iter(clips)
        try:
            while self._feed(planned) or self.flying:
                for outcome in self.executor.wait():
                    self.flying -= 1
                    self._take(outcome)
        finally:
            self.result.wall = time.perf_counter() - started
        return self.result

    def _feed(self, planned: Iterator[Clip]) -> bool:
        """Give every free worker a clip; what the store already answers is settled on the way."""
        while True:
            outcome = next(
                (waiting for waiting in self.ready if self.executor.room(waiting.needs)), None
            )
            if outcome is not None:
                self.ready.remove(outcome)
                self.executor.submit(outcome.clip, outcome.needs)
                self.flying += 1
            elif self.ready and len(self.ready) >= self.most_waiting:
                return True
            elif (clip := next(planned, None)) is not None:
                self._plan(1)
                self._take(run_clip_safely(clip, self.pipeline, self.store, lambda stage: False))
            else:
                return bool(self.ready)

    def _plan(self, count: int) -> None:
        self.result.books.planned += count
        self.ledger.append("planned", count=count)

    def _take(self, outcome: Outcome) -> None:
        for stage in outcome.computed:
            self.result.computed[stage] += 1
            before = self.result.seconds.get(stage, 0.0)
            self.result.seconds[stage] = before + outcome.records[stage].seconds
        if outcome.computed and outcome.name in ("waiting", "split"):
            records = {stage: outcome.records[stage].key for stage in outcome.computed}
            self.ledger.append("made", key=outcome.clip.key, records=records, **outcome.costs())
        if outcome.name == "waiting":
            self.ready.append(outcome)
        elif outcome.name == "split":
            self._split(outcome)
        elif outcome.name == "halt":
            raise UserError(outcome.reason)
        elif outcome.name in TRIES:
            self._again(outcome)
        else:
            self._settle(outcome)

    def _split(self, outcome: Outcome) -> None:
        clips = split_clips(outcome)
        self._plan(len(clips) - 1)
        self.progress.grow(len(clips) - 1)
        for clip in clips:
            self._take(run_clip_safely(clip, self.pipeline, self.store, lambda stage: False))

    def _again(self, outcome: Outcome) -> None:
        tried = (outcome.clip.key, outcome.name)
        self.tries[tried] += 1
        if self.tries[tried] < TRIES[outcome.name]:
            self._take(Outcome(replace(outcome.clip, artifacts={}), "waiting"))
        else:
            self._settle(Outcome(outcome.clip, "failed", outcome.reason, outcome.detail))

    def _settle(self, outcome: Outcome) -> None:
        assert outcome.name in CLASSES, outcome.name
        for name in TRIES:
            self.tries.pop((outcome.clip.key, name), None)
        self.result.books.settle(outcome.name, outcome.reason)
        self.ledger.append("clip", **outcome.event())
        self.progress.settle(outcome)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: cleanly, with the books printed."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
