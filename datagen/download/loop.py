"""The download loop: one thread starts, waits, stops and records; the others only fetch."""

from __future__ import annotations

import queue
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError, halting
from datagen.download.answers import Answer, causes, classify
from datagen.download.breaker import CircuitBreaker, SystemClock
from datagen.download.check import VideoFacts, inspect
from datagen.download.manifest import AccessRoute
from datagen.download.pace import DiskBudget, OverDiskBudget, RateLimiter
from datagen.download.shelf import PARTS, RawVideoFolder
from datagen.engine.progress import Progress
from datagen.sources.listed.raw import safe_name

Fetch = Callable[[str, Path, Callable[[str, int], None]], tuple[Path, dict[str, Any]]]
TRIES_IN_A_RUN = 2  # of a video that the host blocked


class Stopped(Exception):
    """The run ended while this video was being downloaded."""


@dataclass(frozen=True)
class FetchedVideo:
    """A complete, checked file below the parts folder."""

    part: Path
    facts: VideoFacts
    info: dict[str, Any]


@dataclass
class Downloader:
    """Downloads videos, `workers` at a time; the thread that calls `run` records the results."""

    fetch: Fetch
    raw_folder: RawVideoFolder
    breaker: CircuitBreaker
    rate_limiter: RateLimiter
    disk_budget: DiskBudget
    progress: Progress
    clock: SystemClock
    route: AccessRoute
    workers: int = 1
    sentence: str = ""  # why it stopped early
    tries: Counter[str] = field(default_factory=Counter)
    _jobs: queue.Queue[str | None] = field(default_factory=queue.Queue)
    _results: queue.Queue[tuple[str, FetchedVideo | BaseException]] = field(
        default_factory=queue.Queue
    )
    _stop: threading.Event = field(default_factory=threading.Event)
    _in_flight: int = 0
    # video -> the breaker's openings when it started
    _began: dict[str, int] = field(default_factory=dict)

    def run(self, videos: list[str]) -> None:
        """Download all of them, as far as host and disk allow.

        However it ends, finished downloads are recorded.
        """
        waiting = deque(videos)
        self._parts.mkdir(parents=True, exist_ok=True)
        for _ in range(min(self.workers, len(videos))):
            threading.Thread(target=self._work, daemon=True).start()
        try:
            while (waiting and not self.sentence) or self._in_flight:
                self._step(waiting)
        finally:
            self._stop.set()
            for _ in range(self.workers):
                self._jobs.put(None)
            shutil.rmtree(self._parts, ignore_errors=True)

    def _step(self, waiting: deque[str]) -> None:
        """Start the next video, or wait for a result or a pause to end."""
        self._stop_if_exhausted()
        delay = max(self.breaker.delay(), self.rate_limiter.delay())
        most = self.workers if self.breaker.is_closed else 1
        if self.sentence or not waiting or self._in_flight >= most:
            if self._in_flight:
                self._take(*self._results.get(), waiting)
        elif delay and self._in_flight:
            try:
                self._take(*self._results.get(timeout=delay), waiting)
            except queue.Empty:
                return
        elif delay:
            self.clock.sleep(delay)
        else:
            self.rate_limiter.start()
            self._in_flight += 1
            video = waiting.popleft()
            self._began[video] = self.breaker.opened
            self._jobs.put(video)

    def _stop_if_exhausted(self) -> None:
        if self.sentence:
            return
        if self.disk_budget.is_full:
            self.sentence = (
                f"stopped: there are {self.disk_budget.used / 1e9:.1f} GB of raw files, and "
                "--max-gb has no room for the next."
            )
        elif self.breaker.spent:
            self.sentence = (
                f"stopped: the host refused {self.breaker.row} videos in a row and after "
                f"{self.breaker.opened} pauses "
                "(the last reason is above); wait some hours, or try --cookies or another --proxy."
            )

    def _take(self, video: str, result: FetchedVideo | BaseException, waiting: deque[str]) -> None:
        self._in_flight -= 1
        if isinstance(result, FetchedVideo):
            self.breaker.works()
            size = self.raw_folder.add(video, result.part, result.facts, **_of_host(result.info))
            self.disk_budget.settle(video, size)
            self.progress.count("kept")
            return
        self.disk_budget.settle(video)
        if isinstance(result, OverDiskBudget | Stopped):
            return
        if sentence := next(filter(None, map(halting, causes(result))), None):
            raise UserError(sentence)
        self._answer(video, classify(result), waiting)

    def _answer(self, video: str, answer: Answer, waiting: deque[str]) -> None:
        self.raw_folder.manifest.answered(video, answer, self.route)
        self.raw_folder.accounts.settle(video, answer.outcome, answer.reason)
        if self.breaker.take(answer, self._began.pop(video)) and not self.breaker.spent:
            self.progress.say(
                f"the host refuses ({answer.reason}): waiting {self.breaker.delay():.0f} s"
            )
        self.tries[video] += 1
        if answer.outcome == "blocked" and self.tries[video] < TRIES_IN_A_RUN:
            waiting.append(video)
        else:
            self.progress.count(answer.outcome)

    @property
    def gave_up(self) -> bool:
        """Whether the run stopped because the host kept refusing."""
        return self.breaker.spent

    @property
    def _parts(self) -> Path:
        return self.raw_folder.folder / PARTS

    def _work(self) -> None:
        """One worker thread: takes a video, returns a checked file or an error."""
        while (video := self._jobs.get()) is not None and not self._stop.is_set():
            try:
                self._results.put((video, self._attempt(video)))
            except BaseException as error:  # whatever it is, it is this video's result
                self._results.put((video, error))

    def _attempt(self, video: str) -> FetchedVideo:
        folder = self._parts / safe_name(video)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

        def watch(file: str, size: int) -> None:
            if self._stop.is_set():
                raise Stopped
            self.disk_budget.take(video, file, size)

        path, info = self.fetch(video, folder, watch)
        return FetchedVideo(path, inspect(path, info.get("duration")), info)


def _of_host(info: Mapping[str, object]) -> dict[str, object]:
    """The part of the host's metadata that the manifest keeps."""
    names = {"format_id": "format", "upload_date": "uploaded", "duration": "announced"}
    return {
        name: info[key]
        for key, name in names.items()
        if isinstance(info.get(key), str | int | float)
    }
