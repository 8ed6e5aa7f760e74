"""Frames of any size on a canvas that SDXL takes, and back: aspect kept, nothing cut off."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MULTIPLE = 8  # px of a latent


@dataclass(frozen=True)
class Canvas:
    """For frames of height x width px: scaled to a longer side of `side` px (None: not at all),
    then padded at the right and the bottom with their last pixels to whole latents.
    """

    height: int
    width: int
    side: int | None = None

    @property
    def scaled(self) -> tuple[int, int]:
        """(height, width) of the picture on the canvas."""
        scale = self.side / max(self.height, self.width) if self.side else 1.0
        return max(round(self.height * scale), 1), max(round(self.width * scale), 1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the canvas."""
        height, width = (-(-length // MULTIPLE) * MULTIPLE for length in self.scaled)
        return height, width

    def put(self, rgb: np.ndarray) -> np.ndarray:
        """RGB uint8 [height, width, 3] -> uint8 [*size, 3]"""
        picture = _resized(rgb, self.scaled)
        below, right = (whole - part for whole, part in zip(self.size, self.scaled, strict=True))
        return (
            cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
            if below or right
            else picture
        )

    def take(self, rgb: np.ndarray) -> np.ndarray:
        """RGB uint8 [*size, 3] -> uint8 [height, width, 3]"""
        height, width = self.scaled
        return _resized(np.ascontiguousarray(rgb[:height, :width]), (self.height, self.width))


def _resized(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if rgb.shape[:2] == size:
        return rgb
    shrinks = size[0] < rgb.shape[0]
    return cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
