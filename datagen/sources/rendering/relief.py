"""Light and shade of a face's parts: what stands out is lit from above, what lies deep is dark."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from datagen.sources.rendering.astronaut import SIZE

_LIGHT = (0.25, 1.0)  # how much a slope to the left and one upwards brighten
_SLOPE, _HEIGHT = (
    0.11,
    0.06,
)  # share of the lightness that the steepest slope and the height itself make


@dataclass(frozen=True)
class Relief:
    """How far each part stands out against the base's own, -1 .. 1."""

    ridge: float = 0.0  # below the brows
    sockets: float = 0.0  # of the eyes
    bridge: float = 0.0
    tip: float = 0.0  # of the nose
    wings: float = 0.0
    bones: float = 0.0  # of the cheeks
    hollows: float = 0.0  # below them
    muzzle: float = 0.0  # round the mouth
    under_lip: float = 0.0
    chin: float = 0.0
    cleft: float = 0.0  # of the chin
    temples: float = 0.0
    jowls: float = 0.0
    pouches: float = 0.0  # below the eyes


# landmarks (their mean is the middle of one bump), step from there and half axes in px
_BUMPS: dict[str, list[tuple[list[int], tuple[int, int], tuple[int, int]]]] = {
    "ridge": [([105], (2, 4), (32, 9)), ([334], (-2, 4), (32, 9))],
    "sockets": [
        ([193, 133], (0, -4), (11, 15)), ([417, 362], (0, -4), (11, 15)),
        ([159], (-4, -13), (24, 8)), ([386], (4, -13), (24, 8)),
    ],
    "bridge": [([168], (0, 4), (9, 24)), ([197], (0, 4), (9, 22))],
    "tip": [([4], (0, -2), (13, 12))],
    "wings": [([129], (3, 0), (8, 9)), ([358], (-3, 0), (8, 9))],
    "bones": [([117, 50], (-6, 0), (28, 14)), ([346, 280], (6, 0), (28, 14))],
    "hollows": [([207, 213], (-4, -10), (20, 28)), ([427, 433], (4, -10), (20, 28))],
    "muzzle": [([0], (0, 0), (34, 20))],
    "under_lip": [([18], (0, 2), (22, 7))],
    "chin": [([199], (0, 6), (24, 16))],
    "cleft": [([199], (0, 6), (5, 11))],
    "temples": [([21], (14, 12), (16, 30)), ([251], (-14, 12), (16, 30))],
    "jowls": [([210], (-2, 8), (15, 20)), ([430], (2, 8), (15, 20))],
    "pouches": [([145], (0, 13), (24, 7)), ([374], (0, 13), (24, 7))],
}  # fmt: skip


def shading(points: np.ndarray, relief: Relief) -> np.ndarray:
    """Factors of the face's lightness, float32 [512, 512] round 1, for points [478, 3] px."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    shade = np.ones((SIZE, SIZE), np.float32)
    for part in fields(relief):
        amount = getattr(relief, part.name)
        for index, step, (across, down) in _BUMPS[part.name] if amount else ():
            px, py = points[index, :2].mean(0) + step
            u, v = (x - np.float32(px)) / across, (y - np.float32(py)) / down
            height = np.exp(-0.5 * (u * u + v * v))
            # what rises to the right faces left, what rises downwards faces up
            slope = -(_LIGHT[0] * u + _LIGHT[1] * v) * height / 0.61
            shade += amount * (_SLOPE * slope + _HEIGHT * height)
    return np.where(shade > 1, 1 + 0.4 * (shade - 1), np.maximum(shade, 0.7))
