"""Does a driving twin still match its target: same motion, another look?

Measured per twin (`swap`, `style`) against the target, frame by frame at the same index:

- landmarks: mean distance of the 478 points / interocular distance (should stay small); mouth,
  eyes: of those alone
- pose_deg: mean angle between the head rotations
- gaze_deg: mean angle between the gazes over time, each against its own neutral, with the target's
  head removed from
  both; gaze_offset_deg: the angle between the neutrals, which is how the detector takes the look,
  not the eyes' doing
- mouth_r, blink_r: Pearson correlation over time of the openness; null where the target hardly
  moves
- flicker: mean |frame - next frame|, grey, of the twin / of the target
- shape: mean |log| ratio of face-shape proportions; colour: distance of mean face colour in CIELAB
  (should rise)
- similarity: exp(-(shape / 0.04 + colour / 15) / 2): 1 = same person and look, by shape and colour
  alone
- coverage: share of the target's face frames in which the twin shows a face
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from datagen.core.files import canonical
from datagen.core.json import JsonObject
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.media import video
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh
from datagen.vision.regions import face_colour
from datagen.vision.similarity import COLOUR_UNIT, SHAPE_UNIT, compare, shape_change

MEASURED = ["landmarks", "mouth", "eyes", "pose_deg", "gaze_deg", "gaze_offset_deg"]
MEASURED += ["mouth_r", "blink_r", "shape", "colour", "similarity"]


@dataclass
class VideoStatistics:
    """What passes by of one video: flicker and mean face colour, gathered while its frames stream
    through.
    """

    steps: list[float] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    _last: np.ndarray | None = None

    def watch(self, frames: Iterable[np.ndarray], landmarks: np.ndarray) -> Iterator[np.ndarray]:
        for rgb, points in zip(frames, landmarks, strict=True):
            self._step(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
            if not np.isnan(points[0, 0]):
                self.colours.append(face_colour(rgb, points))
            yield rgb

    def _step(self, grey: np.ndarray) -> None:
        if self._last is not None:
            self.steps.append(float(cv2.absdiff(grey, self._last).mean()))
        self._last = grey

    @property
    def flicker(self) -> float:
        return float(np.mean(self.steps)) if self.steps else 0.0

    @property
    def colour(self) -> np.ndarray:
        return np.mean(self.colours, axis=0)


@dataclass
class Agreement(Stage):
    """FaceMesh on every twin against the target's own landmarks."""

    name = "agree"
    version = 1
    inputs = ("clips", "faces", "swap", "style")

    twins: tuple[str, ...] = ("swap", "style")

    def weights(self) -> dict[str, str]:
        return {"mediapipe": version("mediapipe")}

    @cached_property
    def mesh(self) -> FaceMesh:
        return FaceMesh()

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        target = Faces.load(clip.path("faces"))
        own = VideoStatistics()
        for _ in own.watch(video.frames(clip.path("clips")), target.landmarks):
            pass
        metrics = {twin: self._twin(clip.path(twin), target, own) for twin in self.twins}
        (workdir / "agree.json").write_text(canonical(metrics))
        return Artifact(workdir / "agree.json", metrics)

    def _twin(self, path: Path, target: Faces, own: VideoStatistics) -> JsonObject:
        look = VideoStatistics()
        self.mesh.reset()
        seen = Faces.of(self.mesh(rgb) for rgb in look.watch(video.frames(path), target.landmarks))
        both = seen.found & target.found
        flicker = look.flicker / max(own.flicker, 0.05)
        coverage = both.sum() / max(target.found.sum(), 1)
        metrics: JsonObject = {
            "coverage": round(float(coverage), 4),
            "flicker": round(flicker, 3),
        }
        if not both.any():
            return metrics | dict.fromkeys(MEASURED)
        a, b = target.landmarks[both].astype(np.float64), seen.landmarks[both].astype(np.float64)
        shape, colour = shape_change(a, b), float(np.linalg.norm(look.colour - own.colour))
        similarity = np.exp(-(shape / SHAPE_UNIT + colour / COLOUR_UNIT) / 2)
        metrics |= {
            "shape": round(shape, 4),
            "colour": round(colour, 2),
            "similarity": round(float(similarity), 4),
        }
        return metrics | compare(a, b, np.flatnonzero(both) / video.probe(path).fps)
