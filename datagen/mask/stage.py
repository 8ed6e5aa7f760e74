"""What every mask backend shares: a backend says what is person and what is face, here they become
a video.

mask.mp4 is grey: 0 background, 128 person, 255 face. Compression moves the levels by a few steps,
so read it with thresholds: person where > 64, face where > 192 (`split`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.media import video
from datagen.vision.faces import Faces
from datagen.vision.segmentation import FACE, PERSON


@dataclass
class MaskStage(Stage):
    """clip -> mask.mp4, and person_share and face_share of the frame's area, means over the
    frames.
    """

    name = "mask"
    version = 1
    inputs = ("clips", "faces")
    encodes = True

    @property
    def at_once(self) -> int:
        """Frames that `regions` is given."""
        return 1

    def begin(self) -> None:  # noqa: B027  most remember nothing
        """Forget the clip before."""

    @abstractmethod
    def regions(self, frames: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(person, face) bool [N, H, W] of frames RGB uint8 [N, H, W, 3] and their points [N, 478,
        3] px, NaN where no face was found.
        """

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        faces = Faces.load(clip.path("faces"))
        fps = round(video.probe(clip.path("clips")).fps)
        self.begin()
        shares = []
        with video.Writer(workdir / "mask.mp4", fps, crf=12) as writer:
            for person, face in self._every(clip.path("clips"), faces):
                shares.append((person.mean(), face.mean()))
                grey = np.where(face, FACE, np.where(person, PERSON, 0)).astype(np.uint8)
                writer.write(cv2.merge([grey] * 3))
        person_share, face_share = np.mean(shares, axis=0)
        metrics = {
            "person_share": round(float(person_share), 4),
            "face_share": round(float(face_share), 4),
        }
        return Artifact(workdir / "mask.mp4", metrics)

    def _every(self, clip: Path, faces: Faces) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(person with face, face) bool [H, W] of every frame in turn."""
        frames = zip(video.frames(clip), faces.landmarks, strict=True)
        while some := list(islice(frames, self.at_once)):
            pictures, points = zip(*some, strict=True)
            person, face = self.regions(np.stack(pictures), np.stack(points))
            yield from zip(person | face, face, strict=True)
