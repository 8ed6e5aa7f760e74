"""Skin tones and soft masks of a frame. Colours are LAB, planes float32 in 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from datagen.vision import geometry as g
from datagen.vision import mesh

# share of the difference in L, a, b that skin takes over: the light stays
TONE = np.array([0.6, 1, 1], np.float32)
# LAB deviation from the mean skin that still counts as skin
SPREAD = np.array([44, 11, 11], np.float32)
MOST_CHROMA = 13.0  # LAB steps that the colour may go


def tones_at(lab: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Mean colours float32 [N, 3] of the surroundings, CELL px wide, of points [N, 2+] px."""
    coarse = cv2.resize(lab, None, fx=1 / mesh.CELL, fy=1 / mesh.CELL, interpolation=cv2.INTER_AREA)
    return mesh.sample(coarse, points[:, :2] / mesh.CELL - mesh.HALF[:2])


def likeness(lab: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """How like skin of this mean colour each pixel is: 0 to 1, float32 [H, W]."""
    table = -0.5 * ((np.arange(256)[:, None] - mean) / SPREAD) ** 2
    odd = cv2.transform(cv2.LUT(lab, table[None].astype(np.float32)), np.ones((1, 3), np.float32))
    return cv2.blur(np.clip(2.2 * cv2.exp(odd) - 0.1, 0, 1), (5, 5))


def inside_of(
    points: np.ndarray, rings: Sequence[tuple[list[int], float]], size: tuple[int, ...]
) -> np.ndarray:
    """1 within rings of points, each widened by half its margin (interocular distances), feathered:
    float32 [H, W].

    Where two rings lie in each other, the inner one is a hole.
    """
    eyes = float(g.interocular(points))
    mask = np.zeros(size, np.uint8)
    outlines = [np.round(points[ring, :2] * 16).astype(np.int32) for ring, _ in rings]
    cv2.fillPoly(mask, outlines, 255, cv2.LINE_AA, 4)
    for outline, (_, margin) in zip(outlines, rings, strict=True):
        if margin:
            cv2.polylines(mask, [outline], True, 255, max(round(margin * eyes), 1), cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), 0.03 * eyes).astype(np.float32) / 255


def colour_step(donor: np.ndarray, own: np.ndarray) -> np.ndarray:
    """From one's own LAB colour to the donor's, as it would look in one's own light: in the dark
    all is paler.
    """
    lightness = own[0] + TONE[0] * (donor[0] - own[0])
    paler = np.clip(lightness / max(float(donor[0]), 1), 0.4, 1)
    wanted = np.concatenate([donor[:1], 128 + paler * (donor[1:] - 128)])
    apart = wanted - own
    apart[1:] *= MOST_CHROMA / max(MOST_CHROMA, float(np.hypot(*apart[1:])))
    return apart.astype(np.float32)


def chroma(lab: np.ndarray) -> float:
    """Of an 8-bit LAB colour."""
    return float(np.hypot(lab[1] - 128, lab[2] - 128))


def layered(plane: np.ndarray) -> np.ndarray:
    """[H, W] -> [H, W, 3]: NumPy is many times faster on equal shapes than on a last axis of 3."""
    return cv2.merge([plane, plane, plane])


def halved(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def gauss(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-(distance**2) / (2 * width**2))


def distances(points: np.ndarray, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """From each of the points [N, 3] to those with these indices, seen from the front: [N, M]."""
    return np.linalg.norm(points[:, None, :2] - points[None, indices, :2], axis=-1)
