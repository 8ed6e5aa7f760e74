"""Person and face in a picture, and their levels in mask.mp4."""

from __future__ import annotations

from typing import Any

import numpy as np

PERSON, FACE = 128, 255


def split(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(person, face) bool [..., H, W] from mask.mp4's grey levels [..., H, W]; the face is part of
    the person.
    """
    return grey > 64, grey > 192


class PersonSegmenter:
    """MediaPipe's selfie segmentation; of the frames of one clip it smooths over time."""

    def __init__(self, threshold: float = 0.5):
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        self.threshold = threshold
        self._model: Any = SelfieSegmentation(model_selection=0)

    def reset(self) -> None:
        """Forget the clip before."""
        self._model.reset()

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """bool [H, W]: the person in an RGB uint8 frame [H, W, 3]."""
        return self._model.process(rgb).segmentation_mask > self.threshold
