"""A few of many, spread evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def evenly(count: int, frames: Sequence[int] | np.ndarray) -> list[int]:
    """`count` of these frames, or all if they are fewer, spread over their whole length."""
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [int(frames[place]) for place in places]
