"""The few frames of a clip on which a twin is tried before all of it is made.

They are those that tell most: where brows, eyes and mouth of the clip's own track go farthest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datagen.core.spread import evenly
from datagen.media import video
from datagen.vision.drift import EYES, LIPS, watched
from datagen.vision.identity import FaceRecogniser, distance
from datagen.vision.landmarks import FaceMesh
from datagen.vision.similarity import EXPRESSION, LEAST, correlation, stray

EVEN = 4  # frames taken evenly over the clip, besides the telling ones
EXTREMES = 0.04, 0.96  # quantiles of what moves: beyond them lie the track's errors
MOVES = 1.5  # times what is motion in all frames: of the tried ones many are extremes
COMPARED = 3  # frames on which the recogniser is asked
# correlations over the tried frames that a good twin keeps; FaceMesh hardly follows a frown
WANTED = {"mouth_r": 0.95, "blink_r": 0.92, "brow_r": 0.8, "frown_r": 0.6}
Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]  # RGB uint8 frame, its points -> RGB uint8


@dataclass(frozen=True)
class Kept:
    """How well a twin keeps the target's motion on the tried frames."""

    drift: float  # interocular distances that the face points move for themselves
    lost: float  # by how much correlations of brows, eyes and mouth fall short, summed

    def is_good(self, drift: float) -> bool:
        return self.drift <= drift and self.lost <= 0


class Trial:
    """Frames RGB uint8 [N, H, W, 3], their points px [N, 478, 3], and what is seen in them."""

    def __init__(
        self,
        pictures: np.ndarray,
        points: np.ndarray,
        mesh: FaceMesh,
        recogniser: FaceRecogniser,
    ):
        self.frames = list(zip(pictures, points, strict=True))
        self.pictures, self.points = pictures, points
        self._mesh, self._recogniser = mesh, recogniser
        self._own = settled(mesh, pictures)
        shown = evenly(COMPARED + 2, range(len(pictures)))[1:-1] or [0]
        self._shown = [self.frames[index] for index in shown]
        self._who = [recogniser.describe(*frame) for frame in self._shown]

    @classmethod
    def of(
        cls, source: Path, points: np.ndarray, mesh: FaceMesh, recogniser: FaceRecogniser
    ) -> Trial:
        """Of a video with points [T, 478, 3] px, of which at least one frame's are known."""
        shown = telling(points)
        return cls(video.at_indices(source, shown), points[shown], mesh, recogniser)

    def half(self) -> Trial:
        """At half the size, where a swap costs a quarter and shows the same person."""
        small = [
            cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            for rgb in self.pictures
        ]
        points = self.points / 2
        points[..., :2] -= 0.25  # between the pixels
        return Trial(np.stack(small), points, self._mesh, self._recogniser)

    def apart(self, draw: Draw, placed: Callable[[np.ndarray], np.ndarray], count: int) -> float:
        """The recogniser's mean distance from target to twin, on the first `count` frames that it
        is shown; `placed` says where a target's points lie in the twin.
        """
        found = [
            distance(self._recogniser.describe(draw(rgb, face), placed(face)), who)
            for (rgb, face), who in list(zip(self._shown, self._who, strict=True))[:count]
        ]
        return float(np.mean(found))

    def kept(self, draw: Draw) -> Kept:
        """How well a twin keeps the motion."""
        twin = settled(self._mesh, (draw(rgb, face) for rgb, face in self.frames))
        known = ~np.isnan(self._own[:, 0, 0])
        if not known.any():
            return Kept(0.0, 0.0)
        own, twin = self._own[known], twin[known]
        if np.isnan(twin).any():
            return Kept(float("inf"), float("inf"))
        apart = stray(own, twin)
        drift = max(float(apart[:, part].mean()) for part in (slice(None), LIPS, EYES))
        return Kept(drift, lost(own, twin))


def lost(target: np.ndarray, twin: np.ndarray) -> float:
    """By how much the correlations of what moves fall short of `WANTED`, summed over brows, eyes
    and mouth of points [N, 478, 3] px; what hardly moves is not asked.
    """
    found = {
        name: correlation(measure(target), measure(twin), MOVES * LEAST[name])
        for name, measure in EXPRESSION.items()
    }
    return sum(max(WANTED[name] - r, 0.0) for name, r in found.items() if r is not None)


def telling(points: np.ndarray) -> list[int]:
    """Indices of frames of points [T, 478, 3] px, NaN where unknown: spread evenly, and the ends of
    what brows, eyes and mouth do.
    """
    known = np.flatnonzero(~np.isnan(points).any((1, 2)))
    chosen = set(evenly(EVEN, known))
    for measure in EXPRESSION.values():
        order = np.argsort(measure(points[known].astype(np.float64)), kind="stable")
        chosen |= {int(known[order[round(end * (len(known) - 1))]]) for end in EXTREMES}
    return sorted(int(index) for index in chosen)


def settled(mesh: FaceMesh, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Points [N, 478, 3] px of pictures that lie far apart in time: each is shown twice, so that
    FaceMesh follows.
    """
    return watched(mesh, (rgb for rgb in pictures for _ in range(2)))[1::2]
