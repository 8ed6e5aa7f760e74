"""Which part of a picture is a face's skin, as far as its points tell. Planes are float32 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from datagen.vision import geometry as g

EARS = 0.1  # of the face's own size that its skin goes on beside it
FOREHEAD = 0.25  # interocular distances that it may be higher than the face points say
NECK = 1.1  # interocular distances of neck below the jaw
NECK_SIDES = [172, 397]
SOCKETS = {  # the outline of all that lies between lids, brow and nose
    # fmt: off
    "right": [35, 31, 228, 229, 230, 231, 232, 233, 244, 189, 221, 222, 223, 224, 225, 113, 226],
    "left": [265, 261, 448, 449, 450, 451, 452, 453, 464, 413, 441, 442, 443, 444, 445, 342, 446],
    # fmt: on
}


def skin_area(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Face, ears and neck of points [478, 3] px, fading at their edge: [H, W]."""
    eyes = float(g.interocular(points))
    oval = points[g.OVAL, :2]
    down = g.head_rotation(points)[:2, 1]
    above = np.clip(((oval.mean(0) - oval) @ down)[:, None] / (1.2 * eyes), 0, 1)
    face = oval + EARS * (oval - oval.mean(0)) - FOREHEAD * eyes * above**2 * down
    jaw = points[NECK_SIDES, :2]
    jaw = jaw.mean(0) + 0.85 * (jaw - jaw.mean(0))
    neck = np.concatenate([jaw, (jaw + NECK * eyes * down)[::-1]])
    mask = np.zeros(size, np.uint8)
    for outline in (face, neck):
        cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), max(0.09 * eyes, 0.5)).astype(np.float32) / 255


def sockets(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Lids and what is around them, with the eyes themselves: [H, W]."""
    return filled(points, [SOCKETS["right"], SOCKETS["left"]], size, 0.03)


def filled(
    points: np.ndarray, rings: Sequence[Sequence[int]], size: tuple[int, ...], feather: float
) -> np.ndarray:
    """1 within rings of points, each on its own, with an edge `feather` interocular distances soft:
    [H, W].
    """
    mask = np.zeros(size, np.uint8)
    for ring in rings:
        cv2.fillPoly(mask, [cv2.convexHull(_fixed(points[list(ring), :2]))], 255, cv2.LINE_AA, 4)
    width = max(feather * float(g.interocular(points)), 0.5)
    return cv2.GaussianBlur(mask, (0, 0), width).astype(np.float32) / 255


def _fixed(outline: np.ndarray) -> np.ndarray:
    """px with four bits below the pixel, as OpenCV draws."""
    return np.round(outline * 16).astype(np.int32)
