"""Which other build of the head, and how strong: the weakest after which a recogniser sees somebody
else, of several the one that keeps the target's motion best. Found on a few frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from datagen.swap.skull import Skull
from datagen.swap.trial import COMPARED, Kept, Trial

WEAKEST, STRONGEST = 0.6, 1.5  # times the seeded build
TRIES = 4  # of strengths for one build
CURVE = 0.75  # the distance grows with the strength to this power, or so
SHORT = 0.1  # of distance, that is as bad as a correlation of 0
OVER = 0.035  # that a distance may lie from what is wanted before it is worth another try


class Swaps(Protocol):
    """What puts another face into a frame: the search changes its build."""

    skull: Skull | None

    def __call__(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray: ...

    def placed(self, points: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Found:
    """A build at a strength: how far from the target the recogniser sees the twin, and how well it
    keeps the motion.
    """

    skull: Skull
    strength: float
    distance: float
    kept: Kept = Kept(0.0, 0.0)

    def flaws(self, wanted: float, drift: float) -> float:
        """To be compared: the smaller the better."""
        short = max(wanted - self.distance, 0.0) / SHORT
        return short + max(self.kept.drift / drift - 1, 0.0) + self.kept.lost


def somebody_else(
    swaps: Swaps, skulls: Sequence[Skull], most: int, wanted: float, drift: float, trial: Trial
) -> Found:
    """The first build that lies far enough and keeps the motion, of the `most` most different, else
    the best of these. Leaves `swaps` so.

    wanted: the recogniser's distance; drift: interocular distances that points may move for
    themselves.
    """
    tried = []
    for start in promising(swaps, skulls, trial)[:most]:
        found = tuned(swaps, start, wanted, trial)
        tried.append(replace(found, kept=trial.kept(swaps)))
        if found.distance >= wanted - OVER and tried[-1].kept.is_good(drift):
            break
    far = [found for found in tried if found.distance >= wanted - 2 * OVER]
    best = min(far or tried, key=lambda found: found.flaws(wanted, drift))
    swaps.skull = best.skull * best.strength
    return best


def promising(swaps: Swaps, skulls: Sequence[Skull], trial: Trial) -> list[Found]:
    """The builds at full strength, by one frame, the most different first."""
    tried = []
    for skull in skulls:
        swaps.skull = skull
        tried.append(Found(skull, 1.0, trial.apart(swaps, swaps.placed, 1)))
    return sorted(tried, key=lambda found: -found.distance)


def tuned(swaps: Swaps, start: Found, wanted: float, trial: Trial) -> Found:
    """`start` at the strength that is just enough, up to `STRONGEST`. Leaves `swaps` so."""
    strength = _next(start, wanted)
    enough: Found | None = None
    found = start
    for _ in range(TRIES):
        swaps.skull = start.skull * strength
        found = Found(start.skull, strength, trial.apart(swaps, swaps.placed, COMPARED))
        if found.distance >= wanted and (enough is None or strength < enough.strength):
            enough = found
        following = _next(found, wanted)
        is_settled = wanted <= found.distance <= wanted + OVER or abs(following - strength) < 0.03
        if is_settled or (enough and following >= enough.strength):
            break
        strength = following
    best = enough or found
    swaps.skull = best.skull * best.strength
    return best


def _next(found: Found, wanted: float) -> float:
    """The strength at which the distance should be a little more than is wanted."""
    needed = (wanted + 0.4 * OVER) / max(found.distance, 1e-3)
    return float(np.clip(found.strength * needed ** (1 / CURVE), WEAKEST, STRONGEST))
