"""Does a driving twin still match its target: same motion, another person?

Measured per twin (`swap`, `style`) against the target, frame by frame at the same index. Lengths
are interocular distances.

- identity, identity_driving, identity_share: how far a face recogniser sees somebody else
  (datagen.agree.identity)
- motion: mean distance of the 478 points, less what is always the same in the head's frame;
  mouth_motion, eyes_motion: of those alone
- landmarks, mouth, eyes: the same with what is always the same, which is another build of the face
- pose_deg: mean angle between the head rotations
- gaze_deg: mean angle between the gazes over time, each against its own neutral, with the target's
  head removed from both; gaze_offset_deg: the angle between the neutrals, which is how the detector
  takes the look, not the eyes' doing
- mouth_r, blink_r, brow_r, frown_r: Pearson correlation over time of the openness of mouth and
  eyes, of the brows' height and of the gap between them; null where the target hardly moves
- flicker: mean |frame - next frame|, grey, of the twin / of the target
- shape: mean |log| ratio of face-shape proportions; colour: distance of mean face colour in CIELAB
- shape_and_colour: exp(-(shape / 0.04 + colour / 15) / 2): 1 = the same by both; no recogniser
- coverage: share of the target's face frames in which the twin shows a face
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from datagen.agree.identity import LOOKS, Looks, identity_measures
from datagen.core.files import canonical
from datagen.core.json import JsonObject
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.recognising_stage import RecognisingStage
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh
from datagen.vision.regions import face_colour
from datagen.vision.similarity import COLOUR_UNIT, SHAPE_UNIT, compare, shape_change

MEASURED = ["landmarks", "mouth", "eyes", "pose_deg", "gaze_deg", "gaze_offset_deg"]
MEASURED += ["motion", "mouth_motion", "eyes_motion", "mouth_r", "blink_r", "brow_r", "frown_r"]
MEASURED += ["shape", "colour", "shape_and_colour"]
MEASURED += ["identity", "identity_driving", "identity_share"]


@dataclass
class VideoStatistics:
    """What passes by of one video: flicker, mean face colour and the frames with the numbers
    `shown`, gathered while its frames stream through.
    """

    shown: Sequence[int] = ()
    steps: list[float] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    pictures: dict[int, np.ndarray] = field(default_factory=dict)
    _last: np.ndarray | None = None

    def watch(self, frames: Iterable[np.ndarray], landmarks: np.ndarray) -> Iterator[np.ndarray]:
        for index, (rgb, points) in enumerate(zip(frames, landmarks, strict=True)):
            self._step(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
            if index in self.shown:
                self.pictures[index] = rgb
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
class Agreement(RecognisingStage):
    """FaceMesh and a face recogniser on every twin, against the target."""

    name = "agree"
    version = 2
    inputs = ("clips", "faces", "swap", "style")

    twins: tuple[str, ...] = ("swap", "style")

    def weights(self) -> dict[str, str]:
        return {"mediapipe": version("mediapipe"), **super().weights()}

    @cached_property
    def mesh(self) -> FaceMesh:
        return FaceMesh()

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        target = Faces.load(clip.path("faces"))
        own = VideoStatistics(evenly(LOOKS, np.flatnonzero(target.found)))
        for _ in own.watch(video.frames(clip.path("clips")), target.landmarks):
            pass
        metrics = {twin: self._twin(clip.path(twin), target, own) for twin in self.twins}
        (workdir / "agree.json").write_text(canonical(metrics))
        return Artifact(workdir / "agree.json", metrics)

    def _twin(self, path: Path, target: Faces, own: VideoStatistics) -> JsonObject:
        twin = VideoStatistics(own.shown)
        self.mesh.reset()
        seen = Faces.of(self.mesh(rgb) for rgb in twin.watch(video.frames(path), target.landmarks))
        both = seen.found & target.found
        metrics: JsonObject = {
            "coverage": round(float(both.sum() / max(target.found.sum(), 1)), 4),
            "flicker": round(twin.flicker / max(own.flicker, 0.05), 3),
        }
        if not both.any():
            return metrics | dict.fromkeys(MEASURED)
        a, b = target.landmarks[both].astype(np.float64), seen.landmarks[both].astype(np.float64)
        fps = video.probe(path).fps
        metrics |= _look(a, b, float(np.linalg.norm(twin.colour - own.colour)))
        metrics |= compare(a, b, np.flatnonzero(both) / fps)
        return metrics | self._identity((own, target), (twin, seen), fps)

    def _identity(
        self, own: tuple[VideoStatistics, Faces], twin: tuple[VideoStatistics, Faces], fps: float
    ) -> JsonObject:
        """Of the frames that were kept and show both faces."""
        shown = [index for index in own[0].shown if twin[1].found[index]]
        if not shown:
            return dict.fromkeys(("identity", "identity_driving", "identity_share"))
        looks = [
            Looks.of(self.tells_apart, [seen.pictures[i] for i in shown], faces.landmarks[shown])
            for seen, faces in (own, twin)
        ]
        return identity_measures(looks[0], looks[1], np.array(shown) / fps, self.tells_apart)


def _look(target: np.ndarray, twin: np.ndarray, colour: float) -> JsonObject:
    """How differently faces are built and coloured, by their points [T, 478, 3] px."""
    shape = shape_change(target, twin)
    both = np.exp(-(shape / SHAPE_UNIT + colour / COLOUR_UNIT) / 2)
    return {
        "shape": round(shape, 4),
        "colour": round(colour, 2),
        "shape_and_colour": round(float(both), 4),
    }
