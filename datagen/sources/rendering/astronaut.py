"""The one picture that the embedded sample is made from: NASA's portrait of Eileen Collins, in
scikit-image's wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from datagen.vision.geometry import EYE_CORNERS, OVAL, head_rotation
from datagen.vision.landmarks import FaceMesh

SIZE = 512
_SCALE = 2.1  # her face, 92 px wide in the original, becomes 193 px wide
_FACE = np.array([225.0, 124.0], np.float32)  # its centre in the original, px
_CENTRE = np.array([256.0, 248.0], np.float32)  # where that comes to lie


@dataclass(frozen=True)
class Base:
    """The levelled crop and what is where in it; masks are float32 [512, 512] in 0..1."""

    rgb: (
        np.ndarray
    )  # float32 [512, 512, 3] in 0..255; colours of the person continue outside of her
    points: np.ndarray  # float32 [478, 3] px
    rotation: np.ndarray  # float32 [3, 3], head -> camera
    alpha: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    suit: np.ndarray


@cache
def base() -> Base:
    """The base of all people; computed once in a process."""
    crop = _sharpened(_levelled())
    points = FaceMesh()(crop)
    assert points is not None
    alpha = _matte(crop)
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    skin = _skin(lab, points, alpha)
    across = np.abs(np.arange(SIZE, dtype=np.float32) - points[152, 0])
    collar = (
        points[152, 1] - 75 + 70 * (1 - _soft(across, 85, 20))
    )  # at the sides the collar stands higher
    suit = alpha * (1 - skin) * _below(collar, 12)
    hair = alpha * (1 - skin) * (1 - suit)
    rgb = _continued(crop.astype(np.float32), alpha)
    return Base(rgb, points, head_rotation(points), alpha, skin, hair, suit)


def _levelled() -> np.ndarray:
    """The crop round the head, eyes level, RGB uint8 [512, 512, 3]."""
    from skimage.data import astronaut

    picture = astronaut()
    corners = [corner for side in ("right", "left") for corner in EYE_CORNERS[side]]
    points = FaceMesh()(_placed(picture, 0.0))
    assert points is not None
    right, left = points[corners[:2], :2].mean(0), points[corners[2:], :2].mean(0)
    return _placed(picture, float(np.arctan2(left[1] - right[1], left[0] - right[0])))


def _placed(picture: np.ndarray, roll: float) -> np.ndarray:
    turn = _SCALE * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    matrix = np.column_stack([turn, _CENTRE - turn @ _FACE])
    placed = cv2.warpAffine(
        picture, matrix, (SIZE, SIZE), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(placed)


def _sharpened(rgb: np.ndarray, amount: float = 0.6) -> np.ndarray:
    return cv2.addWeighted(rgb, 1 + amount, cv2.GaussianBlur(rgb, (0, 0), 2.2), -amount, 0)


def _matte(rgb: np.ndarray) -> np.ndarray:
    """Share of the person in each pixel: the segmentation drawn to the picture's edges, at the
    shoulders keyed.
    """
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    with SelfieSegmentation(model_selection=0) as segmenter:
        coarse = segmenter.process(rgb).segmentation_mask.astype(np.float32)
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    head = _soft(
        guided(coarse, np.ascontiguousarray(lab[..., 0] / 100), radius=7, epsilon=3e-4), 0.55, 0.5
    )
    low = _below(_CENTRE[1] + 20, 8)
    return np.clip(head + low * (_keyed(lab, coarse) - head), 0, 1)


def _keyed(lab: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The segmentation, near its edge decided by unlikeness to the wall behind: the collar's ring
    has fine detail.
    """
    wall = (cv2.dilate(coarse, np.ones((9, 9))) < 0.05).astype(np.float32)
    near = cv2.GaussianBlur(lab * wall[..., None], (0, 0), 12) / (
        cv2.GaussianBlur(wall, (0, 0), 12)[..., None] + 1e-3
    )
    unlike = _soft(np.linalg.norm((lab - near) * [0.8, 1, 1], axis=-1), 15, 16)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (19, 19))
    inner, outer = cv2.erode(coarse, kernel), cv2.dilate(coarse, np.ones((7, 7)))
    matte = np.where(inner > 0.9, 1, unlike * _soft(outer, 0.6, 0.5)).astype(np.float32)
    return cv2.GaussianBlur(matte, (0, 0), 0.8)


def _skin(lab: np.ndarray, points: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Face, neck and ear lobes, by place and by nearness to the colour of the cheeks."""
    cheeks = lab[
        points[[50, 280, 205, 425], 1].astype(int), points[[50, 280, 205, 425], 0].astype(int)
    ]
    away = np.abs(lab - cheeks.mean(0)) / np.array([60, 22, 22], np.float32)
    likely = _soft(1 - away.max(-1), 0.3, 0.4)
    place = np.zeros((SIZE, SIZE), np.float32)
    oval = points[OVAL, :2].copy()
    cv2.fillPoly(place, [np.int32(oval)], 1.0)
    place = cv2.dilate(place, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (45, 45)))
    inside = np.zeros_like(place)  # eyes, lips and brows are no cheek colour, yet the face's
    cv2.fillPoly(inside, [np.int32(oval + (points[6, :2] + [0, 55] - oval) * 0.16)], 1.0)
    inside *= _below(points[[52, 282], 1].mean() - 14, 8)
    lightness = np.ascontiguousarray(lab[..., 0] / 100)
    place *= _below(
        points[[52, 282], 1].mean() - 18, 16
    )  # the fringe has the colour of skin here and there
    throat = np.zeros_like(place)  # in the chin's shadow, above the black collar
    cv2.fillConvexPoly(
        throat,
        np.int32(points[[172, 397, 365, 136], :2] + [[0, 0], [0, 0], [16, 64], [-16, 64]]),
        1.0,
    )
    throat = cv2.GaussianBlur(throat, (0, 0), 3) * _soft(lab[..., 0], 24, 14)
    mask = np.maximum.reduce(
        [likely * cv2.GaussianBlur(place, (0, 0), 4), cv2.GaussianBlur(inside, (0, 0), 3), throat]
    )
    return np.clip(guided(mask, lightness, 5, 1e-3), 0, 1) * alpha


def _continued(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person's colours carried on outwards, so that a soft edge shows none of the old
    background.
    """
    weight = (cv2.erode(alpha, np.ones((5, 5))) > 0.95).astype(np.float32)[..., None]
    result, known = rgb * weight, weight
    for sigma in (1, 2, 4, 8, 16, 32, 64):
        wide = cv2.GaussianBlur(rgb * weight, (0, 0), sigma)
        share = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
        result = np.where(known > 0, result, wide / np.maximum(share, 1e-6))
        known = np.maximum(known, (share > 0.02).astype(np.float32))
    return result.astype(np.float32)


def guided(mask: np.ndarray, guide: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """`mask` with the edges of `guide`; both float32 [H, W].  (He et al., Guided image filtering,
    2010)
    """
    size = (2 * radius + 1, 2 * radius + 1)
    mean, mean_guide = cv2.blur(mask, size), cv2.blur(guide, size)
    slope = cv2.blur(mask * guide, size) - mean * mean_guide
    slope /= cv2.blur(guide * guide, size) - mean_guide**2 + epsilon
    offset = mean - slope * mean_guide
    return cv2.blur(slope, size) * guide + cv2.blur(offset, size)


def _soft(value: np.ndarray, middle: float | np.ndarray, width: float) -> np.ndarray:
    """Smooth step of `value` from 0 to 1, `width` wide round `middle`."""
    t = np.clip((value - middle) / width + 0.5, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _below(y: float | np.ndarray, width: float) -> np.ndarray:
    """Mask [512, 512]: 0 above row `y` (one, or one for each column), 1 below, a soft step
    between.
    """
    rows = np.repeat(np.arange(SIZE, dtype=np.float32)[:, None], SIZE, axis=1)
    return _soft(rows, y, width)
