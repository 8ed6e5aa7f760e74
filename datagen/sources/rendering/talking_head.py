"""A portrait that talks: expression drawn in the portrait's plane, then the head turned in
depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import cv2
import numpy as np

from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.eyes import Eye, iris_offset, millimetre
from datagen.sources.rendering.look import Look, look_of
from datagen.sources.rendering.motion import Motion
from datagen.sources.rendering.mouth import Mouth
from datagen.sources.rendering.person import Person
from datagen.sources.rendering.skull import outline
from datagen.vision.geometry import OVAL, direction

_STEP = 4  # px between the samples of the displacement field
_DEPTH_GAIN = (
    1.3  # FaceMesh's nose stands 0.48 of the face's width before the ears, a person's about 0.65
)
_ROUNDS = 8  # of the fixed-point search that inverts it


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Head -> camera [3, 3] of angles in degrees; the inverse of datagen.vision.geometry.angles."""
    z = -direction(np.deg2rad([yaw, pitch]))
    x = np.array([np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll)), 0.0])
    x[2] = -(x @ z) / z[2]
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


class TalkingHead:
    """`render(motion, index)` is a frame; the portrait itself is the pose of all angles 0."""

    def __init__(self, person: Person):
        look = look_of(person)
        points = look.points
        portrait = np.rint(look.rgb).astype(np.uint8)
        drawn = (person.iris, person.skin[0] / 80, person.lashes, person.lid)
        self.eyes = [Eye(points, side, *drawn) for side in ("right", "left")]
        self.mouth = Mouth(portrait, points)
        lids = np.maximum.reduce([eye.hole(SIZE, SIZE) for eye in self.eyes])
        self.skin = cv2.inpaint(
            _lids(portrait, lids), self.mouth.hole(SIZE, SIZE), 3, cv2.INPAINT_TELEA
        )
        self.alpha = np.rint(look.alpha * 255).astype(np.uint8)
        self.background = np.rint(look.background).astype(np.uint8)
        self.millimetre = millimetre(points)
        self.depth, self.weight = _depth(look), _weight(look)
        self.pivot = np.array([points[6, 0], points[152, 1] - 30, self.depth.max() * 0.9])
        y, x = np.mgrid[0:SIZE:_STEP, 0:SIZE:_STEP].astype(np.float32)
        self.grid = np.stack([x, y], axis=-1)

    def frames(self, motion: Motion) -> Iterator[np.ndarray]:
        for index in range(len(motion)):
            yield self.render(motion, index)

    def render(self, motion: Motion, index: int) -> np.ndarray:
        """Frame `index` of the motion, RGB uint8 [512, 512, 3]."""
        turn = rotation(motion.head_yaw[index], motion.head_pitch[index], motion.head_roll[index])
        shift = np.array([motion.shift_x[index], motion.shift_y[index]])
        face = self._face(motion, index, turn)
        layers, field = np.dstack([face, self.alpha]), self._map(turn, shift)
        moved = cv2.remap(layers, field, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        share = moved[..., 3:].astype(np.float32) / 255
        return np.rint(
            self.background + share * (moved[..., :3] - self.background.astype(np.float32))
        ).astype(np.uint8)

    def _face(self, motion: Motion, index: int, turn: np.ndarray) -> np.ndarray:
        """The expression, not yet turned, RGB uint8 [512, 512, 3]."""
        canvas = self.skin.copy()
        yaw, pitch = motion.gaze_yaw[index], motion.gaze_pitch[index]
        for eye in self.eyes:
            offset = self._in_portrait(
                iris_offset(yaw, pitch, turn) * self.millimetre, eye.middle, turn
            )
            eye.draw(canvas, self.skin, offset, motion.blink[index], pitch)
        self.mouth.draw(canvas, self.skin, motion.mouth[index], motion.smile[index])
        return canvas

    def _in_portrait(self, offset: np.ndarray, place: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """The step in the portrait's plane that the turned head shows as `offset` px, near `place`
        [2].
        """
        slope = self._slope(place)
        plane = turn[:2, :2] + np.outer(turn[:2, 2], slope)
        return np.linalg.solve(plane, offset[:2])

    def _slope(self, place: np.ndarray, reach: int = 4) -> np.ndarray:
        """Change of depth by x and y at `place`, over `reach` cells each way."""
        column, row = (place / _STEP).round().astype(int)
        right, left = self.depth[row, [column + reach, column - reach]]
        below, above = self.depth[[row + reach, row - reach], column]
        return np.array([right - left, below - above]) / (2 * reach * _STEP)

    def _map(self, turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Where each pixel of the turned head lies in the portrait, float32 [512, 512, 2]."""
        source = self.grid.copy()
        layers = np.dstack([self.depth, self.weight])
        for _ in range(_ROUNDS):
            here = cv2.remap(
                layers, source / _STEP, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            arm = np.dstack(
                [source - np.float32(self.pivot[:2]), here[..., 0] - np.float32(self.pivot[2])]
            )
            move = arm @ np.float32(turn[:2] - np.eye(3)[:2]).T + np.float32(shift)
            source = self.grid - here[..., 1:] * move
        return _upsampled(source - self.grid)


def at_rest(person: Person) -> np.ndarray:
    """A still of somebody who looks ahead and does nothing, RGB uint8 [512, 512, 3]."""
    still = {curve.name: np.zeros(1) for curve in fields(Motion) if curve.name != "fps"}
    return TalkingHead(person).render(Motion(25.0, **still), 0)


def _lids(portrait: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The skin of the lids in place of the eyes: the mean of what is round about, lashes left
    out.
    """
    rgb = portrait.astype(np.float32)
    bright = cv2.GaussianBlur(rgb.mean(-1), (0, 0), 1) / 255
    weight = (1 - hole) * bright**4
    total = cv2.GaussianBlur(weight, (0, 0), 7)[..., None]
    mean = cv2.GaussianBlur(rgb * weight[..., None], (0, 0), 7) / (total + 1e-6)
    share = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 1.2)[..., None]
    return np.rint(rgb + share * (mean - rgb)).astype(np.uint8)


def _upsampled(coarse: np.ndarray) -> np.ndarray:
    """Displacement at every `_STEP`-th pixel -> absolute map [512, 512, 2]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    field = cv2.remap(
        coarse, x / _STEP, y / _STEP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return field + np.dstack([x, y])


def _depth(look: Look) -> np.ndarray:
    """Depth px [128, 128] at every fourth pixel: the face's points, the hair's outline as far back
    as the ears.
    """
    from scipy.interpolate import RBFInterpolator

    points = look.points
    back = float(points[[127, 356, 234, 454], 2].mean())
    hair = outline(look.alpha, points[6, :2])
    frame = np.array([[x, y] for x in range(0, SIZE, 73) for y in (0, 440, 511)], float)
    neck = points[152, :2] + np.array([[dx, 45] for dx in (-60, -20, 20, 60)])
    chosen = points[0:468:3]
    xy = np.concatenate([chosen[:, :2], hair, neck, frame])
    z = _DEPTH_GAIN * np.concatenate(
        [chosen[:, 2], np.full(len(hair) + len(neck) + len(frame), back)]
    )
    y, x = np.mgrid[0:SIZE:_STEP, 0:SIZE:_STEP]
    surface = RBFInterpolator(xy, z, kernel="linear", smoothing=1.0)(
        np.stack([x.ravel(), y.ravel()], -1).astype(float)
    )
    return cv2.GaussianBlur(surface.reshape(x.shape).astype(np.float32), (0, 0), 2.5)


def _weight(look: Look) -> np.ndarray:
    """1 where the picture turns with the head, 0 at the shoulders, [128, 128]."""
    points = look.points
    head = np.concatenate([points[OVAL, :2], outline(look.alpha, points[6, :2])])
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(head).astype(np.int32)), 1)
    away = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    t = np.clip(1 - away / 60, 0, 1)
    soft = cv2.GaussianBlur((t * t * (3 - 2 * t)).astype(np.float32), (0, 0), 4)
    return np.ascontiguousarray(soft[::_STEP, ::_STEP])
