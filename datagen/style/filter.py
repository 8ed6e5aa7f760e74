"""The styled twin by image filters, without weights: every frame drawn in one look."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen.core.seeds import seed_of
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.engine.stage import Stage
from datagen.media import video
from datagen.style.light import exposure
from datagen.style.looks import LOOKS
from datagen.vision.drift import drift, first_below, watched
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh

TRIED_FRAMES = 8


@dataclass
class FilterStyle(Stage):
    """Draws every frame of a clip in one look: the first, in an order hashed from its key, in which
    its face stays.

    A face stays where a few frames' face points move by no more than `drift` interocular distances;
    if none does, the best look is taken.
    """

    looks: tuple[str, ...] = tuple(LOOKS)
    seed: int = 0
    drift: float = 0.027  # `agree`'s figure lies up to 0.003 above what a few frames say

    name = "style"
    version = 3
    inputs = ("clips", "faces")
    encodes = True
    not_in_key = ("looks", "seed")  # they choose: the order of choice is in `of_clip`

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks = (self.looks,) if isinstance(self.looks, str) else tuple(self.looks)
        unknown = [look for look in self.looks if look not in LOOKS]
        if unknown or not self.looks:
            raise ValueError(f"style.looks: {unknown or 'empty'}; choose from {', '.join(LOOKS)}")

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {"looks": sorted(self.looks, key=lambda look: seed_of(self.seed, clip.key, look))}

    def weights(self) -> dict[str, str]:
        return {"mediapipe": version("mediapipe")}  # measures drift

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh()

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        source, path = clip.path("clips"), workdir / "styled.mp4"
        found = Faces.load(clip.path("faces")).found
        shown = evenly(
            TRIED_FRAMES, np.flatnonzero(found) if found.any() else np.arange(len(found))
        )
        pictures = video.at_indices(source, shown)
        curve = exposure(pictures)
        name, strayed = self._choose(clip, pictures, curve)
        fps = video.fps_of(source)
        with video.Writer(path, fps, metadata=mark(self, "redrawn by image filters")) as writer:
            for rgb in video.frames(source):
                writer.write(LOOKS[name](cv2.LUT(rgb, curve)))
        return Artifact(path, {"look": name, "drift": strayed})

    def _choose(
        self, clip: Clip, pictures: np.ndarray, curve: np.ndarray
    ) -> tuple[str, float | None]:
        """The look for a clip of which these are a few frames, and its drift (None: no face)."""
        own = watched(self._mesh, pictures)

        def drift_of(name: str) -> float:
            return drift(self._mesh, (LOOKS[name](cv2.LUT(rgb, curve)) for rgb in pictures), own)

        name, strayed = first_below(self.drift, self.of_clip(clip)["looks"], drift_of)
        return name, round(strayed, 4) if np.isfinite(strayed) else None
