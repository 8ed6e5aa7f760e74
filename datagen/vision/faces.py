"""A clip's face over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core import npz as arrays
from datagen.vision import geometry
from datagen.vision.landmarks import FaceMesh


@dataclass(frozen=True)
class Faces:
    """What is known of a clip's face over time; rows without a face are NaN and have confidence
    0.
    """

    boxes: np.ndarray  # float32 [T, 4] xyxy px
    landmarks: np.ndarray  # float32 [T, 478, 3] px: x right, y down, z away from the camera
    confidence: np.ndarray  # float32 [T]

    @property
    def found(self) -> np.ndarray:
        """bool [T]"""
        return self.confidence > 0

    @classmethod
    def of(cls, points: Iterable[np.ndarray | None]) -> Faces:
        rows = [
            np.full((geometry.POINTS, 3), np.nan, np.float32) if p is None else p for p in points
        ]
        landmarks = np.stack(rows) if rows else np.empty((0, geometry.POINTS, 3), np.float32)
        found = ~np.isnan(landmarks[:, 0, 0])
        return cls(geometry.box(landmarks).astype(np.float32), landmarks, found.astype(np.float32))

    @classmethod
    def load(cls, path: Path) -> Faces:
        found = arrays.load(path)
        return cls(found["boxes"], found["landmarks"], found["confidence"])

    def save(self, path: Path, **more: Any) -> None:
        """`more` is what only its own readers look for."""
        landmarks = (
            np.round(self.landmarks * 64) / 64
        )  # finer than any detector, and compresses to half
        np.savez_compressed(
            path, boxes=self.boxes, landmarks=landmarks, confidence=self.confidence, **more
        )


def track(mesh: FaceMesh, frames: Iterable[np.ndarray]) -> Faces:
    """The face of RGB uint8 frames of one clip."""
    mesh.reset()
    return Faces.of(mesh(rgb) for rgb in frames)
