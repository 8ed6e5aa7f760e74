"""Mistakes that a user can mend."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

# What stops a whole run: nothing can be written until somebody mends it.
HALTING = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "it is read-only",
}


class UserError(Exception):
    """One sentence: what was found, what was expected, what to do. Commands print it and end with
    exit code 2.
    """


def halting(error: BaseException) -> str | None:
    """One sentence if this error means that nothing can be written, else None."""
    number = getattr(error, "errno", None)
    if not isinstance(error, OSError) or number not in HALTING:
        return None
    where = f" ({error.filename})" if error.filename else ""
    return f"stopped, {HALTING[number]}{where}: mend that and run the same command again."


@contextlib.contextmanager
def interruption_kept() -> Iterator[None]:
    """Ctrl-C stays one where a library's `finally` fails on the way out and hides it behind its own
    error.
    """
    try:
        yield
    except Exception as error:
        if _follows_interruption(error):
            raise KeyboardInterrupt from error
        raise


def _follows_interruption(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt was being handled when this error, or one that led to it, was
    raised.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, KeyboardInterrupt):
            return True
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
    return False


class Reject(Exception):
    """A rule or a measurement says no: the clip is `filtered`. The first word is the reason, the
    rest is detail.
    """

    outcome = "filtered"

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return type(self), (self.reason, self.detail)


class Invalid(Reject):
    """The input is no usable video: the clip is `invalid`."""

    outcome = "invalid"


class Transient(Exception):
    """Something outside failed for now (network, memory): worth another try."""
