"""What every gaze backend shares: a backend says where the eyes look from the camera, the rest
follows from it.

Leaves the clip's faces.npz as it goes into the shard: boxes float32 [T, 4] xyxy px, landmarks
float32 [T, 478, 2] px, confidence float32 [T], gaze float32 [T, 2] (yaw, pitch) radians
eye-in-head, NaN where unknown, head float32 [T, 3] (yaw, pitch, roll) radians, eyes float32 [T]
openness.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from datagen.core.options import refuse_number
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.gaze import megactor
from datagen.media import video
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.vision.gaze_signal import SMOOTHING_S, amplitude, gaze_map, smoothed, spread
from datagen.vision.iris import in_head, open_eyes

RULES = (None, "megactor")


@dataclass
class GazeStage(Stage):
    """Eyes that are not open enough are unknown. `rule` adds a statistic for comparison; it decides
    nothing here.
    """

    name = "gaze"
    version = 2
    inputs = ("clips", "faces")
    tells_camera: ClassVar[bool] = (
        False  # whether the metrics say the gaze with the head's turn in it, too
    )

    open_share: float = 0.7
    open_least: float = 0.12
    rule: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise UserError(f"gaze.rule is {self.rule!r}: null or megactor is expected.")
        refuse_number("gaze.open_share", self.open_share, 0)
        refuse_number("gaze.open_least", self.open_least, 0)

    def parameters(self) -> JsonObject:
        """Without a rule as before there were any: the store's keys stay the same."""
        parameters = super().parameters()
        if self.rule is None:
            del parameters["rule"]
        return parameters

    @abstractmethod
    def camera(self, clip: Path, faces: Faces) -> np.ndarray:
        """Unit vectors in camera coordinates float64 [N, 3] of the N frames of the video that show
        the face.
        """

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        faces = Faces.load(clip.path("faces"))
        times = np.arange(len(faces.found)) / video.probe(clip.path("clips")).fps
        camera = self.camera(clip.path("clips"), faces)
        fields = self.fields(faces, times, camera)
        np.savez_compressed(workdir / "faces.npz", **fields)  # type: ignore[arg-type]
        return Artifact(workdir / "faces.npz", self.metrics(faces, times, camera, fields["gaze"]))

    def fields(self, faces: Faces, times: np.ndarray, camera: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of the shard's faces.npz, of a clip whose frames are shown at `times` s."""
        count = len(faces.found)
        gaze, head = (
            np.full((count, 2), np.nan, np.float32),
            np.full((count, 3), np.nan, np.float32),
        )
        eyes = np.full(count, np.nan, np.float32)
        points = faces.landmarks[faces.found].astype(np.float64)
        if len(points):
            rotation = geometry.head_rotation(points)
            head[faces.found] = geometry.angles(rotation)
            eyes[faces.found] = geometry.eye_openness(points).mean(-1)
            seen = in_head(camera, rotation)
            seen[~open_eyes(points, self.open_share, self.open_least)] = np.nan
            gaze[faces.found] = seen
            gaze = smoothed(times, gaze, SMOOTHING_S)
        return {
            "boxes": faces.boxes,
            "landmarks": faces.landmarks[..., :2],
            "confidence": faces.confidence,
            "gaze": gaze,
            "head": head,
            "eyes": eyes,
        }

    def metrics(
        self, faces: Faces, times: np.ndarray, camera: np.ndarray, gaze: np.ndarray
    ) -> JsonObject:
        """amplitude_deg, coverage (share of frames whose gaze is known), yaw and pitch [p5, median,
        p95], map.
        """
        known = ~np.isnan(gaze).any(-1)
        metrics: JsonObject = {
            "amplitude_deg": round(amplitude(times, gaze), 2),
            "coverage": round(float(known.mean()), 4),
        }
        if known.any():
            metrics |= spread(gaze[known])
            if self.tells_camera:
                seen = geometry.direction_angles(camera[known[faces.found]])
                metrics |= {f"camera_{name}": values for name, values in spread(seen).items()}
        if self.rule == "megactor":
            every = np.full((len(faces.found), 2), np.nan)
            every[faces.found] = geometry.direction_angles(camera)
            metrics |= megactor.statistic(every)
        return metrics | {"map": gaze_map(gaze[known])}
