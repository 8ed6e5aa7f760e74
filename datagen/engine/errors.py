"""Mistakes that a user can mend."""

from __future__ import annotations

import errno

# What stops a whole run: nothing can be written until somebody mends it.
HALTING = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "it is read-only"}


class UserError(Exception):
    """One sentence: what was found, what was expected, what to do. Commands print it and end with exit code 2."""


def halting(error: BaseException) -> str | None:
    """One sentence if this error means that nothing can be written, else None."""
    number = getattr(error, "errno", None)
    if not isinstance(error, OSError) or number not in HALTING:
        return None
    where = f" ({error.filename})" if error.filename else ""
    return f"stopped, {HALTING[number]}{where}: mend that and run the same command again."
