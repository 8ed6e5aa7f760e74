"""Bends a frame so that the points of a face come to lie elsewhere; all else gives way smoothly."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from datagen.vision import geometry as g
from datagen.vision import mesh

CELLS = 14  # of the grid of displacements, to an interocular distance
WIDTHS = ((0.07, 1.0), (0.35, 0.015))  # interocular distances that a point reaches, its weight
ROUNDS = 2  # in which moves are sharpened
REST = 0.002  # weight of staying where it is

RIGID = [*g.RIGHT_EYE, *g.LEFT_EYE, *g.OUTER_LIPS, *g.INNER_LIPS, *g.RIGHT_BROW, *g.LEFT_BROW]


def warp(
    rgb: np.ndarray, points: np.ndarray, moves: np.ndarray, facing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 [H, W, 3] and its points [478, 3] px with each moved by `moves` [478, 2] px.

    `facing` [468] is how much each point faces the camera: of what lies one behind the other, the
    hidden has no say.
    """
    moved = points.copy()
    moved[:, :2] += moves
    height, width = rgb.shape[:2]
    weights = _weights(points, facing)
    given = _sharpened(moved, moves[: mesh.SURFACE], weights)
    cell = max(int(g.interocular(moved) / CELLS), 1)
    field = _field(moved, given, weights, (height, width), cell)
    where = pixels(height, width) - cv2.resize(field, None, fx=cell, fy=cell)[:height, :width]
    warped = cv2.remap(rgb, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped, moved


def _sharpened(moved: np.ndarray, moves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Moves [468, 2] px such that, smoothed as a field is, they are what was wanted of eyes, brows
    and lips. Else these would give way to what lies beside them, more or less as the head turns.
    """
    eyes = float(g.interocular(moved))
    at = (moved[: mesh.SURFACE, :2] / eyes).astype(np.float32)
    apart = ((at[RIGID, None] - at[None]) ** 2).sum(-1)
    felt = np.zeros_like(apart)
    for width, share in WIDTHS:
        pull = (share / width**2 * weights / eyes**2).astype(np.float32)
        felt += pull * np.exp(apart * np.float32(-0.5 / width**2))
    felt /= felt.sum(1, keepdims=True) + REST
    given = moves.astype(np.float32)
    for _ in range(ROUNDS):
        given[RIGID] += moves[RIGID] - felt @ given
    return given


def _field(
    moved: np.ndarray, moves: np.ndarray, weights: np.ndarray, size: tuple[int, int], cell: int
) -> np.ndarray:
    """Moves [468, 2] of points that lie at `moved` px as one field, px [H / cell, W / cell, 2]."""
    eyes = np.float32(g.interocular(moved))
    rows, columns = -(-size[0] // cell), -(-size[1] // cell)
    y, x = (
        (cell * np.arange(n, dtype=np.float32) + np.float32((cell - 1) / 2))[:, None] / eyes
        for n in (rows, columns)
    )
    centres = moved[: mesh.SURFACE, :2].astype(np.float32) / eyes
    felt = np.concatenate([[np.ones(len(moves)), *moves.T]]).astype(np.float32)
    pulls = weights / eyes**2
    down, across = [], []
    for width, share in WIDTHS:
        pull = (share / width**2 * pulls).astype(np.float32)
        down.append(_gauss(y - centres[:, 1], width) * pull)
        across.append(_gauss(x - centres[:, 0], width))
    # one product of matrices: weight and both moves below each other, both widths side by side
    wide = np.tile(felt, (1, len(WIDTHS)))[:, None]
    summed = (wide * np.hstack(down)).reshape(3 * rows, -1) @ np.hstack(across).T
    total, right, low = summed.reshape(3, rows, columns)
    total += REST
    return np.dstack([right / total, low / total])


def _weights(points: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """The visible area around each of the 468 points, px²."""
    faces = mesh.triangles()
    a, b, c = (points[faces[:, corner], :2] for corner in range(3))
    ab, ac = b - a, c - a
    area = np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 6
    around = sum(np.bincount(faces[:, corner], area, mesh.SURFACE) for corner in range(3))
    weights: np.ndarray = around * (np.clip((facing + 0.1) / 0.3, 0, 1) + 0.02)
    return weights


@lru_cache(maxsize=16)
def pixels(height: int, width: int) -> np.ndarray:
    """(x, y) of every pixel, float32 [H, W, 2]."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return np.dstack(np.meshgrid(x, y))


def _gauss(distance: np.ndarray, width: float) -> np.ndarray:
    result: np.ndarray = np.exp(distance * distance * np.float32(-0.5 / width**2))
    return result
