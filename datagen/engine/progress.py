"""A progress bar with rate and remaining time; where there is no terminal, a line now and then."""

from __future__ import annotations

import sys
import time
from collections import Counter

from tqdm import tqdm

from datagen.engine.pipeline import Outcome


class Progress:
    """Counts settled clips on stderr. `every_s` is the pause between lines where stderr is no
    terminal.
    """

    def __init__(self, total: int, unit: str = "clip", every_s: float = 15.0, enabled: bool = True):
        self._terminal = sys.stderr.isatty()
        self._every, self._last = every_s, time.monotonic()
        self._counts: Counter[str] = Counter()
        quiet = not enabled or not self._terminal
        self._bar = tqdm(
            total=total, unit=f" {unit}", dynamic_ncols=True, disable=quiet, smoothing=0.1
        )
        self._lines = enabled and not self._terminal
        self._total, self._done, self._started = total, 0, time.monotonic()
        self._unit = unit

    def grow(self, count: int) -> None:
        """A video turned out to hold this many clips more than one (or one fewer)."""
        self._total += count
        self._bar.total = self._total
        self._bar.refresh()

    def settle(self, outcome: Outcome) -> None:
        self.count(outcome.name)

    def say(self, sentence: str) -> None:
        """A line above the bar."""
        self._bar.write(sentence, file=sys.stderr)

    def count(self, name: str) -> None:
        """One more with this outcome."""
        self._counts[name] += 1
        self._done += 1
        self._bar.set_postfix_str(
            ", ".join(f"{n} {c}" for n, c in sorted(self._counts.items())), refresh=False
        )
        self._bar.update(1)
        if self._lines and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = self._done / max(elapsed, 1e-9)
        remaining = tqdm.format_interval((self._total - self._done) / rate)
        return (
            f"{self._done}/{self._total} {self._unit}s, {60 * rate:.1f} a minute, {remaining} to go"
        )
