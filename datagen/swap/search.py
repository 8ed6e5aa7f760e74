"""The weakest change of a head's build after which a recogniser sees somebody else, found on a few
frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from datagen.swap.skull import Skull
from datagen.vision import geometry as g
from datagen.vision.drift import EYES, LIPS, watched
from datagen.vision.identity import FaceRecogniser, distance
from datagen.vision.landmarks import FaceMesh

WEAKEST, STRONGEST = 0.7, 1.5  # times the seeded build
TRIES = 4  # of strengths for one build
CURVE = 0.75  # the distance grows with the strength to this power, or so
SHORT = 0.03  # that the most different of all may lack of what is wanted
AS_DONOR = 0.85  # of the way to the donor: enough where the recogniser hardly tells the two apart
OVER = 0.035  # by which a distance may lie over what is wanted before it is worth another try


class Swaps(Protocol):
    """What puts another face into a frame: the search changes its build."""

    skull: Skull | None

    def __call__(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray: ...

    def placed(self, points: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Found:
    """A build at a strength, and how far from the target the recogniser sees the twin."""

    skull: Skull
    strength: float
    distance: float


class Recogniser:
    """How far twins of a few frames lie from their targets. RGB uint8 [N, H, W, 3], points px [N,
    478, 3].
    """

    def __init__(self, descriptor: FaceRecogniser, pictures: np.ndarray, points: np.ndarray):
        self.frames = list(zip(pictures, points, strict=True))
        self._describe = descriptor.describe
        self._own = [self._describe(rgb, face) for rgb, face in self.frames]

    def __call__(self, swaps: Swaps, count: int | None = None) -> float:
        """Mean distance over the first `count` frames (all)."""
        found = []
        for (rgb, face), own in list(zip(self.frames, self._own, strict=True))[:count]:
            found.append(distance(self._describe(swaps(rgb, face), swaps.placed(face)), own))
        return float(np.mean(found))

    def to(self, other: np.ndarray) -> float:
        """Mean distance from the targets to another descriptor [128]."""
        return float(np.mean([distance(own, other) for own in self._own]))


def promising(swaps: Swaps, skulls: Sequence[Skull], apart: Recogniser) -> list[Found]:
    """The builds at full strength, by one frame, the most different first."""
    tried = []
    for skull in skulls:
        swaps.skull = skull
        tried.append(Found(skull, 1.0, apart(swaps, 1)))
    return sorted(tried, key=lambda found: -found.distance)


def tuned(swaps: Swaps, start: Found, wanted: float, apart: Recogniser) -> Found:
    """`start` at the strength that is just enough, up to `STRONGEST`. Leaves `swaps` so."""
    strength = _next(start, wanted)
    enough: Found | None = None
    found = start
    for _ in range(TRIES):
        swaps.skull = start.skull * strength
        found = Found(start.skull, strength, apart(swaps))
        if found.distance >= wanted and (enough is None or strength < enough.strength):
            enough = found
        following = _next(found, wanted)
        settled = wanted <= found.distance <= wanted + OVER or abs(following - strength) < 0.03
        if settled or (enough and following >= enough.strength):
            break
        strength = following
    best = enough or found
    swaps.skull = best.skull * best.strength
    return best


def somebody_else(
    swaps: Swaps, skulls: Sequence[Skull], wanted: float, apart: Recogniser, donor: np.ndarray
) -> Iterator[Found]:
    """Builds of which the twin is somebody else, each at its weakest strength. Leaves `swaps` so.

    Where none gets as far as is wanted, the most different, if it gets nearly there, or nearly as
    far from the target as the donor's descriptor [128] lies, who is somebody else.
    """
    least = min(wanted - SHORT, AS_DONOR * apart.to(donor))
    short: list[Found] = []
    enough = False
    for start in promising(swaps, skulls, apart):
        found = tuned(swaps, start, wanted, apart)
        if found.distance >= wanted:
            enough = True
            yield found
        else:
            short.append(found)
    best = max(short, key=lambda found: found.distance, default=None)
    if best is not None and not enough and best.distance >= least:
        swaps.skull = best.skull * best.strength
        yield best


def settled(mesh: FaceMesh, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Points [N, 478, 3] px of pictures that lie far apart in time: each is shown twice, for
    FaceMesh to follow.
    """
    return watched(mesh, (rgb for rgb in pictures for _ in range(2)))[1::2]


def stray(own: np.ndarray, twin: np.ndarray) -> float:
    """How far a twin's points [N, 478, 3] px move for themselves, in interocular distances: 0.02 is
    2 %.

    What is always the same in the head's frame is another build, not motion, and does not count.
    The worst of
    all points, lips and eyes. Infinite where the twin has no face and the target has, 0 without
    any.
    """
    known = ~np.isnan(own[:, 0, 0])
    if not known.any():
        return 0.0
    own, twin = own[known], twin[known]
    if np.isnan(twin).any():
        return float("inf")
    apart = (
        (twin - own)[..., :2] @ g.head_rotation(own)[:, :2, :2] / g.interocular(own)[:, None, None]
    )
    apart = np.linalg.norm(apart - np.median(apart, axis=0), axis=-1)
    return max(float(apart[:, part].mean()) for part in (slice(None), LIPS, EYES))


def _next(found: Found, wanted: float) -> float:
    """The strength at which the distance should be a little more than is wanted."""
    needed = (wanted + 0.4 * OVER) / max(found.distance, 1e-3)
    return float(np.clip(found.strength * needed ** (1 / CURVE), WEAKEST, STRONGEST))
