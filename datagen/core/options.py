"""Numbers that a backend's options give: refused in one sentence before any work."""

from __future__ import annotations

import math
from typing import Any

from datagen.core.errors import UserError


def refuse_number(option: str, value: Any, least: float, most: float = math.inf) -> None:
    """UserError where the option is no number from `least` to `most`."""
    is_number = (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    )
    if not (is_number and least <= value <= most):
        raise UserError(f"{option} is {value!r}: a number {_range(least, most)} is expected.")


def refuse_count(option: str, value: Any, least: int) -> None:
    """UserError where the option is no whole number from `least`."""
    if type(value) is not int or value < least:
        raise UserError(f"{option} is {value!r}: a whole number from {least} is expected.")


def _range(least: float, most: float) -> str:
    return f"from {least:g}" + (f" to {most:g}" if math.isfinite(most) else "")
