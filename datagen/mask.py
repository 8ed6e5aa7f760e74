"""Who is where in every frame: the person and the face.

    python -m datagen.mask --input raw/

mask.mp4 is grey: 0 background, 128 person, 255 face. Compression moves the levels by a few steps, so read it with
thresholds: person where > 64, face where > 192 (`split`).
"""

from __future__ import annotations

from datagen.engine.cli import run_as_command

run_as_command(__name__, "mask")

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen import video
from datagen.clip import Artefact, Clip
from datagen.faces import Faces
from datagen.regions import face_polygon
from datagen.stage import Stage

PERSON, FACE = 128, 255


def split(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(person, face) bool [..., H, W] from mask.mp4's grey levels [..., H, W]; the face is part of the person."""
    return grey > 64, grey > 192


@dataclass
class PolygonMask(Stage):
    """Person by MediaPipe selfie segmentation, face by the landmarks' oval; needs no download."""

    name = "mask"
    version = 1
    inputs = ("clips", "faces")
    encodes = True

    person_threshold: float = 0.5

    @cached_property
    def segmenter(self) -> Any:
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        return SelfieSegmentation(model_selection=0)

    def weights(self) -> dict[str, str]:
        return {"mediapipe": version("mediapipe")}

    def person(self, rgb: np.ndarray) -> np.ndarray:
        """bool [H, W] of an RGB uint8 frame."""
        return self.segmenter.process(rgb).segmentation_mask > self.person_threshold

    def __call__(self, clip: Clip, workdir: Path) -> Artefact:
        faces = Faces.load(clip.path("faces"))
        fps = round(video.probe(clip.path("clips")).fps)
        self.segmenter.reset()
        shares = []
        with video.Writer(workdir / "mask.mp4", fps, crf=12) as writer:
            for rgb, points in zip(video.frames(clip.path("clips")), faces.landmarks, strict=True):
                face = face_polygon(rgb.shape, points)
                person = self.person(rgb) | face
                shares.append((person.mean(), face.mean()))
                grey = np.where(face, FACE, np.where(person, PERSON, 0)).astype(np.uint8)
                writer.write(cv2.merge([grey] * 3))
        person_share, face_share = np.mean(shares, axis=0)
        metrics = {"person_share": round(float(person_share), 4), "face_share": round(float(face_share), 4)}
        return Artefact(workdir / "mask.mp4", metrics)
