"""The default swap: landmark mesh, colour transfer and blending; needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from datagen.core import npz as arrays
from datagen.core.errors import Reject
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.media import video
from datagen.swap.swapper import Swapper
from datagen.swap.twin import Swap
from datagen.vision import mesh
from datagen.vision.drift import drift, strongest_below, watched
from datagen.vision.landmarks import FaceMesh

STRENGTHS = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1)  # that are tried, of the outline's way
TRIED_FRAMES = 8


@dataclass
class LandmarkSwap(Swap):
    """Swaps by a landmark mesh.

    `shape` and `colour` say how far the face's outline and the skin's colour go towards the
    donor's; 0 is not at all. The outline goes less far, and the donor's features get more
    transparent, where the face points would stray by more than `drift` interocular distances from
    the target's.
    """

    version: ClassVar[int] = 3

    shape: float = 1.0
    colour: float = 0.85
    drift: float = 0.0185  # `agree`'s figure lies up to 0.0015 above what a few frames say

    def weights(self) -> dict[str, str]:
        return {
            "mediapipe": version("mediapipe"),
            **super().weights(),
        }  # finds the donor's points and measures drift

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh()

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        donor = self.donor(clip)
        source, path = clip.path("clips"), workdir / "swapped.mp4"
        fps = video.fps_of(source)
        points = mesh.steady(arrays.load(clip.path("faces"))["landmarks"], float(fps))
        known = ~np.isnan(points).any((1, 2))
        if not known.any():
            raise Reject("no_face", "no frame has face points")
        swapper = Swapper(
            donor, np.median(mesh.frontal(points[known]), axis=0), self.shape, self.colour
        )
        shown = evenly(TRIED_FRAMES, np.flatnonzero(known))
        metrics = self._temper(swapper, video.at_indices(source, shown), points[shown])
        with video.Writer(path, fps, metadata=mark(self, "another face put in")) as writer:
            for rgb, face, is_known in zip(video.frames(source), points, known, strict=True):
                writer.write(swapper(rgb, face) if is_known else rgb)
        return Artifact(path, {"donor": donor.name, **metrics})

    def _temper(
        self, swapper: Swapper, pictures: np.ndarray, points: np.ndarray
    ) -> dict[str, float]:
        """Make the swapper as strong as `drift` allows on these frames; what it then does to
        them.
        """
        swapped: dict[float, list[np.ndarray]] = {}
        own = watched(self._mesh, pictures)

        def drift_of(strength: float) -> float:
            swapper.shape, swapper.paint = self.shape * strength, strength**0.5
            swapped[strength] = [
                swapper(rgb, face) for rgb, face in zip(pictures, points, strict=True)
            ]
            return drift(self._mesh, swapped[strength], own)

        strength, found = strongest_below(self.drift, STRENGTHS, drift_of)
        swapper.shape, swapper.paint = self.shape * strength, strength**0.5
        changes = [
            swapper.change(*frame)
            for frame in zip(pictures, swapped[strength], points, strict=True)
        ]
        outline, colour = np.mean(changes, axis=0).round(4).tolist()
        taken = {
            "shape": round(swapper.shape, 3),
            "paint": round(swapper.paint, 3),
            "drift": round(found, 4),
        }
        return {**taken, "shape_change": outline, "colour_change": colour}
