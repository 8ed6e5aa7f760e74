"""The default gaze: iris geometry on FaceMesh points; needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.gaze.stage import GazeStage
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.vision.iris import from_camera


@dataclass
class IrisGaze(GazeStage):
    """Iris geometry on FaceMesh points; needs no download. Yaw is good to some degrees, pitch is
    coarse.
    """

    def camera(self, clip: Path, faces: Faces) -> np.ndarray:
        points = faces.landmarks[faces.found].astype(np.float64)
        return (
            from_camera(points, geometry.head_rotation(points)) if len(points) else np.empty((0, 3))
        )

    def measure(self, faces: Faces, times: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of the shard's faces.npz, of points alone."""
        return self.fields(faces, times, self.camera(Path(), faces))
