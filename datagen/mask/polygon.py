"""The default mask: the person by MediaPipe, the face by its landmarks; needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

import numpy as np

from datagen.core.options import refuse_number
from datagen.mask.stage import MaskStage
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import PersonSegmenter


@dataclass
class PolygonMask(MaskStage):
    """Person by MediaPipe selfie segmentation, face by the landmarks' oval; needs no download."""

    person_threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_number("mask.person_threshold", self.person_threshold, 0)  # above 1: FaRL alone

    @cached_property
    def segmenter(self) -> PersonSegmenter:
        return PersonSegmenter(self.person_threshold)

    def weights(self) -> dict[str, str]:
        return {"mediapipe": version("mediapipe")}

    def begin(self) -> None:
        self.segmenter.reset()

    def person(self, rgb: np.ndarray) -> np.ndarray:
        """bool [H, W] of an RGB uint8 frame."""
        return self.segmenter(rgb)

    def regions(self, frames: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        face = np.stack(
            [face_polygon(rgb.shape, oval) for rgb, oval in zip(frames, points, strict=True)]
        )
        return np.stack([self.person(rgb) for rgb in frames]), face
