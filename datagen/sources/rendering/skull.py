"""The form of a face: what each proportion does to the points of the base, and the warp."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.blank import dense
from datagen.vision.geometry import LEFT_BROW, LEFT_EYE, OUTER_LIPS, OVAL, RIGHT_BROW, RIGHT_EYE

BRIDGE = 6  # on the nose between the eyes, the still middle of the face
_EYES = ((468, 105, -1), (473, 334, 1))  # iris, brow, side in the picture
_NOSE = [1, 2, 4, 5, 19, 94, 98, 327, 129, 358, 48, 278, 64, 294, 168, 197, 195, 122, 351]


@dataclass(frozen=True)
class Shape:
    """Shares of the base's own proportions (0 = as she is); tilts in degrees, up at the temples."""

    width: float = 0.0  # of the face
    temples: float = 0.0  # width of the forehead
    cheeks: float = 0.0  # fullness
    jaw: float = 0.0  # width of the lower face
    chin: float = 0.0  # its length
    point: float = 0.0  # narrowness of the chin
    nose: float = 0.0  # width
    nose_length: float = 0.0
    bridge: float = 0.0  # width of the nose between the eyes
    nose_tip: float = 0.0  # how low it hangs
    crook: float = 0.0  # of the nose, to the right in the picture
    mouth: float = 0.0  # width
    mouth_drop: float = 0.0  # how far it lies below the nose
    lips: float = 0.0  # fullness
    skew: float = 0.0  # of the mouth, down to the right
    brows: float = 0.0  # height
    brow_tilt: float = 0.0
    brow_gap: float = 0.0  # between the brows
    uneven: float = 0.0  # how much higher the right one is in the picture
    eyes: float = 0.0  # spacing
    eye_size: float = 0.0
    eye_open: float = 0.0  # height of the opening
    eye_tilt: float = 0.0


def warp(points: np.ndarray, rim: np.ndarray, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """The points [478, 3] in this shape, and the map [512, 512, 2] px back into the base.

    `rim` px [N, 2] is where the hair ends: it follows the face.
    """
    from scipy.interpolate import RBFInterpolator

    moved, lift = points.copy(), _lift(points, shape)
    moved[:, :2] += displacement(points[:, :2], points, shape) + [0, lift]
    away = rim - points[BRIDGE, :2]
    edge = rim + away * [0.8, 0] * (shape.width + 0.5 * shape.temples) + [0, lift]
    corners = [[x, y] for x in (0, 171, 341, 511) for y in (0, 511)]
    frame = np.array(
        [*corners, [0, 400], [511, 400], [60, 350], [440, 350], [200, 420], [310, 420]]
    )
    lines = [*OVAL, *OUTER_LIPS, *RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE, *LEFT_EYE, *_NOSE]
    inner = np.unique([*lines, *range(0, 468, 9)])
    here = np.concatenate([moved[inner, :2], edge, frame])
    there = np.concatenate([points[inner, :2], rim, frame])
    y, x = np.mgrid[0:SIZE:8, 0:SIZE:8]
    grid = np.stack([x.ravel(), y.ravel()], -1).astype(float)
    coarse = RBFInterpolator(here, there - here, smoothing=1.5)(grid)
    return moved, dense(coarse.reshape(*x.shape, 2).astype(np.float32))


def displacement(xy: np.ndarray, points: np.ndarray, shape: Shape) -> np.ndarray:
    """What the shape does at places xy [N, 2] of the base with points [478, 3], px [N, 2]."""
    return _outline(xy, points, shape) + _middle(xy, points, shape) + _eyes(xy, points, shape)


def outline(alpha: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Where rays from the middle of the face upwards and sideways leave the hair, px [N, 2]."""
    angle = np.deg2rad(np.arange(-200, 21, 10))
    along = np.stack([np.cos(angle), np.sin(angle)], -1)
    ray = centre + np.arange(60, 240)[:, None, None] * along  # [R, N, 2]
    inside = cv2.remap(alpha, ray.astype(np.float32), None, cv2.INTER_LINEAR) > 0.5
    return ray[np.argmin(inside, axis=0), np.arange(len(angle))]


def _lift(points: np.ndarray, shape: Shape) -> float:
    """Rows by which a long face is moved up, so that the neck stays free."""
    chin = points[[152], :2]
    return -0.55 * float(displacement(chin, points, shape)[0, 1])


def _outline(xy: np.ndarray, points: np.ndarray, shape: Shape) -> np.ndarray:
    """Width at forehead, cheeks and jaw, length of the chin."""
    middle = points[BRIDGE, :2]
    dx, height = xy[:, 0] - middle[0], points[152, 1] - middle[1]
    down = (xy[:, 1] - middle[1]) / height
    wide = shape.width + shape.temples * _bump(down, -0.3, 0.4)
    wide = wide + shape.jaw * _bump(down, 0.85, 0.35) + shape.cheeks * _bump(down, 0.5, 0.25)
    wide = wide - shape.point * _bump(down, 1.05, 0.22)
    move = np.zeros_like(xy)
    move[:, 0] = dx * wide
    move[:, 1] = shape.chin * height * np.clip((down - 0.62) / 0.38, 0, 1.2) ** 1.5
    return move


def _middle(xy: np.ndarray, points: np.ndarray, shape: Shape) -> np.ndarray:
    """Nose and mouth."""
    nose, lips = points[2, :2], points[[13, 14], :2].mean(0)
    bridge, height = points[197, :2], points[152, 1] - points[BRIDGE, 1]
    dx = xy[:, 0] - nose[0]
    move = np.zeros_like(xy)
    move[:, 0] += shape.nose * dx * _near(xy, nose - [0, 8], 24, 22)
    move[:, 0] += shape.bridge * dx * _near(xy, bridge - [0, 10], 20, 30)
    move[:, 0] += shape.mouth * (xy[:, 0] - lips[0]) * _near(xy, lips, 54, 24)
    tip = points[4, :2]
    move[:, 1] += shape.nose_tip * height * _near(xy, tip, 13, 14)
    move[:, 0] += shape.crook * height * _near(xy, tip - [0, 6], 22, 26)
    move[:, 1] += shape.skew * (xy[:, 0] - lips[0]) * _near(xy, lips, 50, 26)
    fall = np.clip((xy[:, 1] - points[BRIDGE, 1]) / (nose[1] - points[BRIDGE, 1]), 0, 1)
    move[:, 1] += shape.nose_length * height * fall * fall * (3 - 2 * fall)
    drop = np.clip((xy[:, 1] - nose[1]) / (lips[1] - nose[1]), 0, 1)
    ebb = np.clip((points[152, 1] + 6 - xy[:, 1]) / (points[152, 1] - lips[1]), 0, 1)
    move[:, 1] += shape.mouth_drop * height * drop * ebb
    move[:, 1] += shape.lips * (xy[:, 1] - lips[1]) * _near(xy, lips, 44, 14) * 0.8
    return move


def _eyes(xy: np.ndarray, points: np.ndarray, shape: Shape) -> np.ndarray:
    """Eyes and brows, each side as a unit."""
    move = np.zeros_like(xy)
    for iris, brow, side in _EYES:
        eye = points[iris, :2]
        here, away = xy - eye, _near(xy, eye, 32, 20)
        move[:, 0] += shape.eyes * 88 * side * _near(xy, eye, 34, 34)
        move += shape.eye_size * here * away[:, None] * 1.2
        move[:, 1] += shape.eye_open * here[:, 1] * _near(xy, eye, 28, 14)
        move[:, 1] -= np.tan(np.deg2rad(shape.eye_tilt)) * side * here[:, 0] * away
        high = _near(xy, points[brow, :2], 36, 14)
        move[:, 1] -= (shape.brows + 0.5 * shape.uneven * side) * 45 * high
        move[:, 0] += shape.brow_gap * 88 * side * high
        move[:, 1] -= np.tan(np.deg2rad(shape.brow_tilt)) * side * here[:, 0] * high
    return move


def _bump(value: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.exp(-(((value - middle) / width) ** 2))


def _near(xy: np.ndarray, place: np.ndarray, across: float, down: float) -> np.ndarray:
    """1 at `place`, falling off with the given widths, [N]."""
    return np.exp(-((((xy - place) / [across, down]) ** 2).sum(-1)))
