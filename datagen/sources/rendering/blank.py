"""The portrait made a blank face: at rest, without brows, folds and hair, skin over the skull."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from datagen.sources.rendering.astronaut import SIZE, base
from datagen.vision.geometry import LEFT_BROW, LEFT_EYE, OUTER_LIPS, OVAL, RIGHT_BROW, RIGHT_EYE

# What a smile has moved, px of the base: back to rest.
_REST = {61: (9, 13), 291: (-9, 14), 17: (0, 1), 0: (0, -1), 205: (4, 9), 425: (-4, 9)}
_REST |= {50: (1, 5), 280: (-1, 5), 129: (2, 1), 358: (-2, 1), 57: (7, 12), 287: (-7, 13)}
_STILL = [2, 1, 4, 6, 168, 152, 148, 377, 176, 400, 172, 397, 132, 361, 33, 133, 263, 362, 145, 374]
_STILL += [105, 334, 234, 454, 10, 18, 200, 13, 14, 187, 411]
_FOLD = ([129, 203, 206, 216, 212], [358, 423, 426, 436, 432])  # from the nose to beside the mouth
_BAG = ([33, 110, 24, 22, 112, 243], [263, 339, 254, 252, 341, 463])  # under the eyes
_SKULL = ((254.0, 200.0), (100.0, 106.0))  # centre and half axes of its upper half, px
EARS = ((157.0, 228.0), (351.0, 228.0))  # their middles, px


@dataclass(frozen=True)
class Blank:
    """The bare head and its clothes; masks are float32 [512, 512] in 0..1."""

    rgb: np.ndarray  # float32 [512, 512, 3] in 0..255
    points: np.ndarray  # float32 [478, 3] px
    alpha: np.ndarray
    skin: np.ndarray
    suit: np.ndarray


@cache
def blank() -> Blank:
    """Computed once in a process."""
    source = base()
    points, field = _at_rest(source.points)
    rgb, alpha, skin, suit, hair = (
        cv2.remap(layer, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for layer in (source.rgb, source.alpha, source.skin, source.suit, source.hair)
    )
    rgb = _smooth(rgb, points)
    skull = _skull(points)
    head = np.maximum(skull, _ears())
    bare = np.clip(skin * _within(points), 0, 1)  # what shows skin, the fringe's edge left out
    rgb = _bald(rgb, bare, head)
    y = np.arange(SIZE, dtype=np.float32)[:, None]
    low = np.clip((y - 250) / 20, 0, 1)  # the hair ends above
    alpha = np.maximum(alpha * low, head)
    return Blank(rgb, points, alpha, np.maximum(skin, head), suit)


def filled(polygon: np.ndarray, blur: float) -> np.ndarray:
    """Mask [512, 512] of the polygon [N, 2] px, softened."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), blur)


def _at_rest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points [478, 3] without the smile, and the map [512, 512, 2] back to those with it."""
    from scipy.interpolate import RBFInterpolator

    index = [*_REST, *_STILL]
    move = np.array([*_REST.values(), *[(0, 0)] * len(_STILL)], float)
    edge = [[x, y] for x in (0, 120, 390, 511) for y in (0, 160, 320, 511)]
    here = np.concatenate([points[index, :2], edge])
    moves = np.concatenate([move, np.zeros((len(edge), 2))])
    rested = points.copy()
    rested[:, :2] += RBFInterpolator(here, moves, smoothing=0.5)(points[:, :2].astype(float))
    y, x = np.mgrid[0:SIZE:8, 0:SIZE:8]
    grid = np.stack([x.ravel(), y.ravel()], -1).astype(float)
    back = RBFInterpolator(here + moves, -moves, smoothing=0.5)(grid)
    return rested, dense(back.reshape(*x.shape, 2).astype(np.float32))


def dense(coarse: np.ndarray) -> np.ndarray:
    """Displacement [64, 64, 2] at every eighth pixel -> absolute map [512, 512, 2]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    step = SIZE // coarse.shape[0]
    field = cv2.remap(coarse, x / step, y / step, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return field + np.stack([x, y], axis=-1)


def _smooth(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Without brows and the folds of the smile, float32 RGB [512, 512, 3]."""
    xy = points[:, :2]
    mask = np.zeros((SIZE, SIZE), np.float32)
    for fold in _FOLD:
        cv2.polylines(mask, [np.int32(xy[fold])], False, 1.0, 22)
    for bag in _BAG:
        cv2.polylines(mask, [np.int32(xy[bag] + [0, 8])], False, 0.7, 12)
    for brow in (RIGHT_BROW, LEFT_BROW):
        cv2.fillPoly(mask, [cv2.convexHull(np.int32(xy[brow]))], 1.0)
    mask = cv2.GaussianBlur(cv2.dilate(mask, np.ones((7, 7))), (0, 0), 3)
    holes = [filled(xy[ring], 1.0) for ring in (RIGHT_EYE, LEFT_EYE, OUTER_LIPS)]
    free = 1 - np.clip(np.maximum.reduce(holes) * 1.6, 0, 1)
    for eye in (RIGHT_EYE, LEFT_EYE):  # the lashes too
        free *= 1 - filled(xy[eye] + [0, -3], 3.0)
    grey = cv2.GaussianBlur(rgb.mean(-1), (0, 0), 1.2) / 255
    weight = (free * grey**6 + 1e-5)[..., None]
    mean = (
        cv2.GaussianBlur(rgb * weight, (0, 0), 11) / cv2.GaussianBlur(weight, (0, 0), 11)[..., None]
    )
    return rgb + (mask * free)[..., None] * (mean + 4.0 * grain(1)[..., None] - rgb)


def grain(seed: int, sigma: float = 1.0) -> np.ndarray:
    """Noise of pores, float32 [512, 512] with a spread of 1."""
    noise = np.random.default_rng(seed).normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma)
    return noise / noise.std()


def _within(points: np.ndarray) -> np.ndarray:
    """The face below the fringe and inside of the hair at its sides, [512, 512]."""
    oval = points[OVAL, :2].copy()
    middle = points[6, :2]
    oval = middle + (oval - middle) * 0.9
    oval[:, 1] = np.maximum(oval[:, 1], 166)
    return filled(oval, 4.0)


def _skull(points: np.ndarray) -> np.ndarray:
    """The head without its hair, from the jaw over the crown, [512, 512]."""
    (cx, cy), (rx, ry) = _SKULL
    angle = np.linspace(np.pi, 2 * np.pi, 60)
    top = np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], -1)
    low = points[[454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152], :2]
    left = points[[148, 176, 149, 150, 136, 172, 58, 132, 93, 234], :2]
    return filled(np.concatenate([top, low, left]), 1.2)


def _ears() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.float32)
    for (x, y), side in zip(EARS, (-1, 1), strict=True):
        shape = ((x + 3 * side, y), (22.0, 56.0), -9.0 * side)
        cv2.ellipse(mask, shape, 1.0, -1)
        lobe = ((x + 1 * side, y + 20), (15.0, 24.0), 0.0)
        cv2.ellipse(mask, lobe, 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), 1.2)


def _bald(rgb: np.ndarray, bare: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The skin carried on over `head` wherever hair was, darker to the sides of the dome."""
    sure = np.clip(bare * 2 - 1, 0, 1)
    fill = np.zeros_like(rgb)
    known = np.zeros((SIZE, SIZE, 1), np.float32)
    for sigma in (6, 14, 30, 60):
        weight = cv2.GaussianBlur(sure, (0, 0), sigma)[..., None]
        mean = cv2.GaussianBlur(rgb * sure[..., None], (0, 0), sigma) / np.maximum(weight, 1e-6)
        share = np.clip(weight / 0.12, 0, 1) * (1 - known)
        fill += share * mean
        known += share
    fill = fill / np.maximum(known, 1e-3)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    (cx, cy), (rx, ry) = _SKULL
    edge = np.clip(np.hypot((x - cx) / rx, np.minimum(y - cy, 0) / ry), 0, 1.15)
    fill *= (1.0 - 0.34 * edge**4 * np.clip((215 - y) / 40, 0.25, 1))[..., None]
    fill += 3.0 * grain(2)[..., None]
    for (ex, ey), side in zip(EARS, (-1, 1), strict=True):
        fill *= (1 - _concha(x, y, ex + 4 * side, ey, side))[..., None]
    where = np.clip(1.4 * cv2.GaussianBlur(1 - sure, (0, 0), 4) - 0.2, 0, 1) * cv2.dilate(
        head, np.ones((9, 9))
    )
    low = np.clip((262 - y) / 26, 0, 1)  # jaw and chin are hers
    return rgb + (where * low)[..., None] * (fill - rgb)


def _concha(x: np.ndarray, y: np.ndarray, ex: float, ey: float, side: int) -> np.ndarray:
    """Shade of the ear's hollow and of its fold against the cheek, [512, 512] in 0..1."""
    hollow = np.exp(-(((x - ex) / 4.5) ** 2) - ((y - ey) / 13) ** 2)
    rim = np.exp(-(((np.hypot((x - ex) / 8.5, (y - ey) / 23) - 0.8) / 0.16) ** 2))
    fold = np.exp(-(((x - ex + 9 * side) / 2.2) ** 2) - ((y - ey) / 24) ** 2)
    return np.clip(0.3 * hollow + 0.1 * rim + 0.22 * fold, 0, 0.8)
