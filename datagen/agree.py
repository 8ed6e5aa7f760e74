"""Does a driving twin still match its target: same motion, another look?

Measured per twin (`swap`, `style`) against the target, frame by frame at the same index:

- landmarks: mean distance of the 478 points / interocular distance (should stay small); mouth, eyes: of those alone
- pose_deg: mean angle between the head rotations
- gaze_deg: mean angle between the gazes over time, each against its own neutral, with the target's head removed from
  both; gaze_offset_deg: the angle between the neutrals, which is how the detector takes the look, not the eyes' doing
- mouth_r, blink_r: Pearson correlation over time of the openness; null where the target hardly moves
- flicker: mean |frame - next frame|, grey, of the twin / of the target
- shape: mean |log| ratio of face-shape proportions; colour: distance of mean face colour in CIELAB (should rise)
- similarity: exp(-(shape / 0.04 + colour / 15) / 2): 1 = same person and look, by shape and colour alone
- coverage: share of the target's face frames in which the twin shows a face
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen import geometry
from datagen.clip import Artefact, Clip
from datagen.core.files import canonical
from datagen.drift import EYES, LIPS
from datagen.faces import Faces
from datagen.gaze.curve import SMOOTHING_S, smoothed
from datagen.gaze.iris import eye_in_head
from datagen.gaze.stage import open_eyes
from datagen.landmarks import FaceMesh
from datagen.media import video
from datagen.mesh import shape_ratios
from datagen.regions import face_colour
from datagen.stage import Stage

MEASURED = ["landmarks", "mouth", "eyes", "pose_deg", "gaze_deg", "gaze_offset_deg"]
MEASURED += ["mouth_r", "blink_r", "shape", "colour", "similarity"]
SHAPE_UNIT, COLOUR_UNIT = 0.04, 15.0


@dataclass
class Look:
    """What passes by of one video: flicker and mean face colour, gathered while its frames stream through."""

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

    def __call__(self, clip: Clip, workdir: Path) -> Artefact:
        target = Faces.load(clip.path("faces"))
        own = Look()
        for _ in own.watch(video.frames(clip.path("clips")), target.landmarks):
            pass
        metrics = {twin: self._twin(clip.path(twin), target, own) for twin in self.twins}
        (workdir / "agree.json").write_text(canonical(metrics))
        return Artefact(workdir / "agree.json", metrics)

    def _twin(self, path: Path, target: Faces, own: Look) -> dict[str, Any]:
        look = Look()
        self.mesh.reset()
        seen = Faces.of(self.mesh(rgb) for rgb in look.watch(video.frames(path), target.landmarks))
        both = seen.found & target.found
        flicker = look.flicker / max(own.flicker, 0.05)
        coverage = both.sum() / max(target.found.sum(), 1)
        metrics: dict[str, Any] = {"coverage": round(float(coverage), 4), "flicker": round(flicker, 3)}
        if not both.any():
            return metrics | dict.fromkeys(MEASURED)
        a, b = target.landmarks[both].astype(np.float64), seen.landmarks[both].astype(np.float64)
        shape, colour = shape_change(a, b), float(np.linalg.norm(look.colour - own.colour))
        similarity = np.exp(-(shape / SHAPE_UNIT + colour / COLOUR_UNIT) / 2)
        metrics |= {"shape": round(shape, 4), "colour": round(colour, 2), "similarity": round(float(similarity), 4)}
        return metrics | compare(a, b, np.flatnonzero(both) / video.probe(path).fps)


def compare(target: np.ndarray, twin: np.ndarray, times: np.ndarray) -> dict[str, float | None]:
    """Agreement over time of points [T, 478, 3] px of the same moments, at `times` s."""
    distance = np.linalg.norm(twin[..., :2] - target[..., :2], axis=-1) / geometry.interocular(target)[:, None]
    turned = geometry.head_rotation(target)
    gaze, offset = _gaze(target, twin, turned, times)
    return {
        "landmarks": round(float(distance.mean()), 4),
        "mouth": round(float(distance[:, LIPS].mean()), 4),
        "eyes": round(float(distance[:, EYES].mean()), 4),
        "pose_deg": round(float(_turn(turned, geometry.head_rotation(twin)).mean()), 2),
        "gaze_deg": gaze,
        "gaze_offset_deg": offset,
        "mouth_r": _correlation(geometry.mouth_openness(target), geometry.mouth_openness(twin), 0.01),
        "blink_r": _correlation(geometry.eye_openness(target).mean(-1), geometry.eye_openness(twin).mean(-1), 0.02),
    }


def _gaze(
    target: np.ndarray, twin: np.ndarray, turned: np.ndarray, times: np.ndarray
) -> tuple[float | None, float | None]:
    """(mean angle over time with neutrals removed, angle between the neutrals) in degrees, of open eyes."""
    opened = open_eyes(target, 0.7, 0.12) & open_eyes(twin, 0.7, 0.12)
    if not opened.any():
        return None, None
    own, other = (smoothed(times[opened], eye_in_head(p, turned)[opened], SMOOTHING_S) for p in (target, twin))
    offset = np.median(other - own, axis=0)
    angles = _angle(geometry.direction(own), geometry.direction(other - offset))
    return round(float(angles.mean()), 2), round(float(np.rad2deg(np.linalg.norm(offset))), 2)


def shape_change(target: np.ndarray, twin: np.ndarray) -> float:
    """Mean |log ratio| of the face-shape proportions, medians over time, of points [T, 478, 3] px."""
    return float(np.abs(np.log(_proportions(twin) / _proportions(target))).mean())


def _proportions(points: np.ndarray) -> np.ndarray:
    return np.median([shape_ratios(p) for p in points], axis=0)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors [..., 3]."""
    return np.rad2deg(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees of the rotation that leads from a to b [..., 3, 3]."""
    trace = np.einsum("tij,tij->t", a, b)
    return np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def _correlation(a: np.ndarray, b: np.ndarray, least_sd: float) -> float | None:
    if len(a) < 3 or a.std() < least_sd:
        return None
    if b.std() == 0:
        return 0.0
    return round(float(np.corrcoef(a, b)[0, 1]), 4)
