"""How far a twin's face points stray from the target's, from a few frames: what `agree` measures,
before it is written.

FaceMesh tracks the frames in their order, twin and target alike: on a single picture it lands
elsewhere than after the frame before, by as much as what is to be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from datagen.vision import geometry as g
from datagen.vision.landmarks import FaceMesh

LIPS = g.OUTER_LIPS + g.INNER_LIPS
EYES = g.RIGHT_EYE + g.LEFT_EYE
Choice = TypeVar("Choice")


def watched(mesh: FaceMesh, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Points float64 [N, 478, 3] px of RGB uint8 pictures in their order, NaN where no face is
    found.
    """
    mesh.reset()
    found = [mesh(rgb) for rgb in pictures]
    return np.stack(
        [np.full((g.POINTS, 3), np.nan) if p is None else p.astype(np.float64) for p in found]
    )


def drift(mesh: FaceMesh, pictures: Iterable[np.ndarray], points: np.ndarray) -> float:
    """Mean distance from the target's `points` [N, 478, 3] px over its interocular distance: 0.02
    is 2 %.

    The worst of all points, lips and eyes. Infinite where the twin has no face and the target has,
    0 without any.
    """
    twin, known = watched(mesh, pictures), ~np.isnan(points[:, 0, 0])
    if not known.any():
        return 0.0
    apart = (
        np.linalg.norm((twin - points)[known, :, :2], axis=-1)
        / g.interocular(points[known])[:, None]
    )
    worst = max(float(apart[:, part].mean()) for part in (slice(None), LIPS, EYES))
    return float("inf") if np.isnan(worst) else worst


def first_below(
    limit: float, choices: Sequence[Choice], drift_of: Callable[[Choice], float]
) -> tuple[Choice, float]:
    """The first choice whose drift is not above the limit, else the least of all; and its drift."""
    tried: list[tuple[Choice, float]] = []
    for choice in choices:
        tried.append((choice, drift_of(choice)))
        if tried[-1][1] <= limit:
            return tried[-1]
    return min(tried, key=lambda pair: pair[1])
