"""The face as a region of the picture, and its colour."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.vision import geometry

ABOVE, BELOW = 0.4, 0.1  # of the height of the squared face box: what drives above and below it


def face_polygon(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """bool [H, W]: inside the face oval of points [478, 2+] px; empty where the points are NaN."""
    mask = np.zeros(shape[:2], np.uint8)
    oval = points[geometry.OVAL, :2]
    if not np.isnan(oval).any():
        cv2.fillPoly(mask, [np.round(oval * 16).astype(np.int32)], 1, shift=4)
    return mask.astype(bool)


def face_colour(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Mean CIELAB (L 0..100, a, b) inside the face oval; on a quarter of the pixels each way."""
    small = cv2.resize(rgb, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    inside = face_polygon(small.shape, points[:, :2] / 4)
    colours = small[inside] if inside.any() else small.reshape(-1, 3)
    mean = np.float32(colours.mean(axis=0) / 255).reshape(1, 1, 3)
    return cv2.cvtColor(mean, cv2.COLOR_RGB2LAB)[0, 0]


def kept_boxes(boxes: np.ndarray, side: int) -> np.ndarray:
    """Face boxes [n, 4] made square, with ABOVE and BELOW: whole px int [n, 4] of frames of `side`
    px. What lies outside does not drive.
    """
    left, top, right, bottom = boxes.T.astype(np.float64)
    taller = (bottom - top) - (right - left)
    wider, higher = np.floor(np.maximum(taller, 0) / 2), np.floor(np.maximum(-taller, 0) / 2)
    left, right, top, bottom = left - wider, right + wider, top - higher, bottom + higher
    height = bottom - top
    kept = np.stack([left, top - ABOVE * height, right, bottom + BELOW * height], axis=1)
    return np.clip(kept, 0, side).astype(int)


def face_alone(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A square frame RGB uint8 [S, S, 3] with points [478, 2+] px as it drives: grey, black outside
    the face.
    """
    left, top, right, bottom = kept_boxes(geometry.box(points)[None], len(rgb))[0]
    alone = np.zeros_like(rgb)
    grey = cv2.cvtColor(rgb[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    alone[top:bottom, left:right] = grey[..., None]
    return alone
