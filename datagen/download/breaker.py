"""When the host refuses several times in a row: wait, try one video, then go on or wait longer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from datagen.download.answers import Answer


class SystemClock:
    """The time in seconds, and sleeping; tests replace it."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class CircuitBreaker:
    """Stops downloads while the host refuses them.

    Closed, it lets everything through. After `after` faults in a row it opens: nothing starts for
    `wait_s`, then twice as long each time; at least as long as the host asks, at most `max_wait_s`.
    Then one video is tried: success closes the breaker, another fault opens it again. After
    `openings` openings without a success it is `spent`. An answer about the video itself (removed,
    private) says nothing about the host and changes nothing.
    """

    clock: SystemClock
    after: int = 5
    wait_s: float = 60.0
    max_wait_s: float = 3600.0
    openings: int = 6
    row: int = 0  # faults in a row
    opened: int = 0  # openings in a row, without a success in between
    until: float = field(default=0.0, init=False)

    @property
    def is_closed(self) -> bool:
        return self.opened == 0

    @property
    def spent(self) -> bool:
        return self.opened >= self.openings

    def delay(self) -> float:
        """Seconds until a download may start."""
        return max(0.0, self.until - self.clock.now()) if self.opened else 0.0

    def works(self) -> None:
        """A video was downloaded."""
        self.row = self.opened = 0

    def take(self, answer: Answer, opened: int | None = None) -> bool:
        """Count an attempt that failed; True if that opened the breaker.

        `opened` is the value that it had when the attempt began.
        """
        if not answer.is_trouble:
            return False
        self.row += 1
        if opened is not None and opened < self.opened:  # it was under way when the breaker opened
            self._wait(answer.retry_after or 0.0)
            return False
        if self.is_closed and self.row < self.after:
            return False
        self._wait(max(self.wait_s * 2**self.opened, answer.retry_after or 0.0))
        self.opened += 1
        return True

    def _wait(self, seconds: float) -> None:
        self.until = max(self.until, self.clock.now() + min(seconds, self.max_wait_s))
