"""When the host says no several times in a row: wait, then try one, then go on or wait longer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from datagen.download.answers import Answer


class SystemClock:
    """The time of day in seconds, and waiting; tests bring their own."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class CircuitBreaker:
    """Closed, it lets all through. After `after` troubles in a row it opens: nothing starts for
    `wait_s`, twice that the next time, and not less than the host asks for, but at most
    `max_wait_s`. Then one may try; a video that comes closes it, trouble opens it again. An answer
    about the video itself (removed, private) says nothing about the host, which may refuse only
    what is there, and changes nothing. At the opening number `openings` without a video in between
    it is `spent`.
    """

    clock: SystemClock
    after: int = 5
    wait_s: float = 60.0
    max_wait_s: float = 3600.0
    openings: int = 6
    row: int = 0
    opened: int = 0  # in a row, without a video in between
    until: float = field(default=0.0, init=False)

    @property
    def is_closed(self) -> bool:
        return self.opened == 0

    @property
    def spent(self) -> bool:
        return self.opened >= self.openings

    def delay(self) -> float:
        """Seconds until something may start."""
        return max(0.0, self.until - self.clock.now()) if self.opened else 0.0

    def works(self) -> None:
        """A video came."""
        self.row = self.opened = 0

    def take(self, answer: Answer, opened: int | None = None) -> bool:
        """An answer without a video; True if that opened the breaker. `opened`: as it was when the
        attempt began.
        """
        if not answer.is_trouble:
            return False
        self.row += 1
        if opened is not None and opened < self.opened:  # it was on its way when the breaker opened
            self._wait(answer.retry_after or 0.0)
            return False
        if self.is_closed and self.row < self.after:
            return False
        self._wait(max(self.wait_s * 2**self.opened, answer.retry_after or 0.0))
        self.opened += 1
        return True

    def _wait(self, seconds: float) -> None:
        self.until = max(self.until, self.clock.now() + min(seconds, self.max_wait_s))
