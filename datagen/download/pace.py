"""Limits of a run: pauses between videos, videos per hour, bytes on disk."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

from datagen.download.breaker import SystemClock

HOUR = 3600.0


class RateLimiter:
    """Says when the next video may start. `before` are starts of earlier runs, s since 1970."""

    def __init__(
        self,
        clock: SystemClock,
        sleep: float,
        max_sleep: float,
        per_hour: int | None,
        before: Iterable[float] = (),
    ):
        self._clock, self._sleep, self._per_hour = clock, (sleep, max(sleep, max_sleep)), per_hour
        self._starts = deque(sorted(at for at in before if at > clock.now() - HOUR))
        self._next = 0.0

    def delay(self) -> float:
        """Seconds until the next video may start."""
        now = self._clock.now()
        while self._starts and self._starts[0] <= now - HOUR:
            self._starts.popleft()
        wait = self._next - now
        if self._per_hour and len(self._starts) >= self._per_hour:
            wait = max(wait, self._starts[-self._per_hour] + HOUR - now)
        return max(0.0, wait)

    def start(self) -> None:
        """Note that a video starts now. The pause after it is random, to avoid a regular rhythm."""
        self._starts.append(self._clock.now())
        self._next = self._clock.now() + random.uniform(*self._sleep)


class OverDiskBudget(Exception):
    """This video does not fit into the disk space that the run may use."""


@dataclass
class DiskBudget:
    """Bytes of raw files on disk, partial ones included; safe for several threads."""

    limit: int | None
    used: int = 0
    closed: bool = False  # set once a video did not fit
    _under_way: dict[str, dict[str, int]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def is_full(self) -> bool:
        return self.closed or (self.limit is not None and self.used >= self.limit)

    def take(self, video: str, file: str, size: int) -> None:
        """Note the size, or announced size, of a partial file; raises OverDiskBudget."""
        with self._lock:
            self._under_way.setdefault(video, {})[file] = size
            total = self.used + sum(sum(files.values()) for files in self._under_way.values())
        if self.limit is not None and total > self.limit:
            self.closed = True
            raise OverDiskBudget

    def settle(self, video: str, size: int = 0) -> None:
        """Note that the video is done or given up; `size` bytes of it stay on disk."""
        with self._lock:
            self._under_way.pop(video, None)
            self.used += size
