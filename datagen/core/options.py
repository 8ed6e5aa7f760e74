"""Numbers that a backend's options give: refused in one sentence before any work."""

from __future__ import annotations

import math

from datagen.core.errors import UserError


def refuse_number(option: str, value: object, least: float, most: float = math.inf) -> None:
    """UserError where the option is no number from `least` to `most`."""
    match value:
        case bool():
            fits = False
        case int() | float():
            fits = math.isfinite(value) and least <= value <= most
        case _:
            fits = False
    if not fits:
        raise UserError(f"{option} is {value!r}: a number {_range(least, most)} is expected.")


def refuse_count(option: str, value: object, least: int) -> None:
    """UserError where the option is no whole number from `least`."""
    if type(value) is not int or value < least:
        raise UserError(f"{option} is {value!r}: a whole number from {least} is expected.")


def _range(least: float, most: float) -> str:
    return f"from {least:g}" + (f" to {most:g}" if math.isfinite(most) else "")
