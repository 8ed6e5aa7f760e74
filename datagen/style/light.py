"""The light of a clip: one fixed tone curve for all its frames, so that dark and bright clips are
drawn alike.
"""

from __future__ import annotations

import cv2
import numpy as np

SKIN = 0.6  # brightness that the middle of the picture, mostly skin, is brought to


def exposure(frames: np.ndarray) -> np.ndarray:
    """Tone curve uint8 [256] for cv2.LUT from a few RGB uint8 frames [N, H, W, 3], a face in their
    middle.
    """
    height, width = frames.shape[1:3]
    middle = frames[:, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    luma = np.stack([cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY) for rgb in middle])
    low, skin, high = np.percentile(luma, (1, 60, 99.5))
    low, high = 0.6 * low, high + 25  # not to the ends: noise is stretched with the picture
    gamma = np.log(SKIN) / np.log(np.clip((skin - low) / (high - low), 0.05, 0.95))
    tones = np.clip((np.arange(256) - low) / (high - low), 0, 1) ** np.clip(gamma, 0.6, 1.4)
    return np.round(255 * (0.02 + 0.96 * tones)).astype(np.uint8)
