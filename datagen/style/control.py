"""What a ControlNet is shown of a frame: white lines on black."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from datagen.vision import geometry as g

# RGB uint8 [H, W, 3] and points [478, 3] px (NaN without a face) -> RGB uint8 [H, W, 3]
Control = Callable[[np.ndarray, np.ndarray], np.ndarray]
CLOSED = (g.OVAL, g.RIGHT_EYE, g.LEFT_EYE, g.OUTER_LIPS, g.INNER_LIPS, g.RIGHT_BROW, g.LEFT_BROW)


def canny(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Edges, with the thresholds that the published canny ControlNets show in their examples."""
    return cv2.merge([cv2.Canny(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 100, 200)] * 3)


def landmarks(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Outlines of face, brows, eyes and lips, and the irises; black without a face."""
    picture = np.zeros_like(rgb)
    if np.isnan(points).any():
        return picture
    width = max(round(max(rgb.shape) / 256), 1)
    at = np.round(points[:, :2] * 16).astype(np.int32)  # four bits below the pixel
    for outline in CLOSED:
        cv2.polylines(picture, [at[outline]], True, (255, 255, 255), width, cv2.LINE_AA, shift=4)
    for centre in (g.RIGHT_IRIS, g.LEFT_IRIS):
        radius = np.linalg.norm(
            points[centre + 1 : centre + 5, :2] - points[centre, :2], axis=-1
        ).mean()
        cv2.circle(
            picture,
            at[centre].tolist(),
            round(16 * float(radius)),
            (255, 255, 255),
            -1,
            cv2.LINE_AA,
            shift=4,
        )
    return picture


CONTROLS: dict[str, Control] = {control.__name__: control for control in (canny, landmarks)}
