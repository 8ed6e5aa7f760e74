"""An eye that looks and blinks: an eyeball drawn behind an opening, the skin of the lids drawn over
it.
"""

from __future__ import annotations

import cv2
import numpy as np

from datagen.vision.geometry import LEFT_EYE, RIGHT_EYE, direction

IRIS_RADIUS = 5.85  # mm, that of nearly every adult
CENTRE_DEPTH = 5.0  # mm from the middle of the eye's corners backwards to the centre of the eyeball
IRIS_DISTANCE = 10.0  # mm from that centre forwards to the middle of the iris

_CONTOURS = {"right": RIGHT_EYE, "left": LEFT_EYE}
_IRISES = {"right": 468, "left": 473}
# the portrait smiles with narrowed eyes: share of the opening by which the upper lid is raised
_WIDE = 0.09
_LID, _BAG = 15.0, 10.0  # px above and below the opening over which the skin gives way


def millimetre(points: np.ndarray) -> float:
    """Pixels for a millimetre in the portrait, from the size of the irises."""
    rims = [
        np.linalg.norm(points[i + 1 : i + 5, :2] - points[i, :2], axis=-1).mean()
        for i in _IRISES.values()
    ]
    return float(np.mean(rims)) / IRIS_RADIUS


def iris_offset(yaw: float, pitch: float, turn: np.ndarray) -> np.ndarray:
    """Where the iris lies from the middle of the corners after the head's rotation `turn` [3, 3],
    mm [3].
    """
    gaze = direction(np.deg2rad([yaw, pitch]))
    return turn @ (np.array([0, 0, CENTRE_DEPTH]) + IRIS_DISTANCE * gaze)


class Eye:
    """One eye of a portrait; positions in px of the portrait."""

    def __init__(
        self,
        points: np.ndarray,
        side: str,
        iris: tuple[int, int, int],
        light: float,
        lashes: float = 0.72,
        lid: float = 0.0,
    ):
        """`light` 0..1 is that of the face: the white of the eye is in the same shade.

        `lashes` 0..1 is their darkness, `lid` the share of the opening by which the upper lid
        hangs lower than the portrait's.
        """
        self.lashes, self.lid = lashes, lid
        contour = points[_CONTOURS[side], :2]
        self.iris = np.array(iris, np.float32)
        self.white = np.array([226, 217, 212], np.float32) * (0.72 + 0.28 * light)
        self.middle = contour[[0, 8]].mean(0)
        self.radius = millimetre(points) * IRIS_RADIUS
        low, high = np.floor(contour.min(0) - [8, 26]), np.ceil(contour.max(0) + [8, 16])
        (x0, y0), (x1, y1) = low.astype(int), high.astype(int)
        self.window = (slice(y0, y1), slice(x0, x1))
        self.y, self.x = (axis.astype(np.float32) for axis in np.mgrid[y0:y1, x0:x1])
        columns = self.x[0]
        self.upper = _curve(contour[:9], columns)
        self.lower = np.maximum(
            _curve(contour[[8, 9, 10, 11, 12, 13, 14, 15, 0]], columns), self.upper
        )
        self.ends = contour[[0, 8], 0]  # outer, inner

    def hole(self, height: int, width: int) -> np.ndarray:
        """Mask uint8 of what the portrait shows between the lids, with the lashes; the skin is
        continued over it.
        """
        mask = np.zeros((height, width), np.uint8)
        between = (self.y > self.upper - 6) & (self.y < self.lower + 2.5)
        beside = np.abs(self.x - self.ends.mean()) < np.ptp(self.ends) / 2 + 6
        mask[self.window] = (between & beside).astype(np.uint8)
        return mask

    def draw(
        self, canvas: np.ndarray, skin: np.ndarray, iris: np.ndarray, blink: float, pitch: float
    ) -> None:
        """Into `canvas` (like `skin`, uint8 RGB): iris at `iris` px from the corners' middle, lids
        at `blink` 0..1.
        """
        # the lids follow a look up or down
        drop = np.clip(-0.02 * pitch - _WIDE + self.lid, -0.4, 0.3)
        gap = self.lower - self.upper
        lower = self.lower + gap * (0.06 - 0.012 * pitch - 0.15 * blink)
        upper = np.minimum(self.upper + gap * (1 - (1 - blink) * (1 - drop)), lower)
        lids = cv2.remap(skin, self.x, self._source_rows(upper, lower), cv2.INTER_LINEAR).astype(
            np.float32
        )
        ball = self._ball(self.middle + iris, upper)
        inside = np.clip(self.y - upper + 0.5, 0, 1) * np.clip(lower - self.y + 0.5, 0, 1)
        inside = inside * np.clip((lower - upper) * 1.5, 0, 1)
        eye = lids + inside[..., None] * (ball - lids)
        eye *= 1 - self._lashes(upper, lower)[..., None]
        canvas[self.window] = np.clip(eye, 0, 255).astype(np.uint8)

    def _source_rows(self, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Rows of the skin seen at each pixel: the lid is stretched from its fold, the bag under
        the eye likewise.
        """
        top, bottom = self.upper - _LID, self.lower + _BAG
        lid = top + (self.y - top) * _LID / (upper - top)
        bag = bottom - (bottom - self.y) * _BAG / (bottom - lower)
        rows = np.where(
            self.y < upper,
            np.where(self.y > top, lid, self.y),
            np.where(self.y < bottom, bag, self.y),
        )
        return rows.astype(np.float32)

    def _ball(self, centre: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """White, iris, pupil and the light in it, float32 RGB."""
        dx, dy = (self.x - centre[0]) / self.radius, (self.y - centre[1]) / self.radius
        r = np.hypot(dx, dy)
        edge = 1.4 / self.radius  # softness
        across = (self.x - self.ends.mean()) / (np.ptp(self.ends) / 2)
        white = self.white * (1 - 0.28 * across**2)[..., None]
        inner = np.exp(-(((self.x - self.ends[1]) / 3.5) ** 2))[..., None]
        colour = white + inner * (0.82 * self.white * [1, 0.72, 0.68] - white)
        ring = (
            self.iris
            * (0.72 + 0.5 * r * (1 - _step(r, 0.86, 0.3)) - 0.35 * _step(r, 0.9, 0.25))[..., None]
        )
        colour = colour + (1 - _step(r, 1.0, edge))[..., None] * (ring - colour)
        colour = colour * (1 - 0.9 * (1 - _step(r, 0.4, edge)))[..., None]
        shade = 0.5 + 0.5 * np.clip((self.y - upper) / (0.75 * self.radius), 0, 1)
        glint = np.exp(-((dx + 0.3) ** 2 + (dy + 0.3) ** 2) / 0.025)[..., None]
        return colour * shade[..., None] + 200 * glint

    def _lashes(self, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Darkness 0..1 along the edges of the lids, none beyond the corners."""
        low, high = self.ends.min(), self.ends.max()
        along = np.clip((self.x - low + 2) / 5, 0, 1) * np.clip((high + 2 - self.x) / 5, 0, 1)
        return along * (
            self.lashes * np.exp(-(((self.y - upper + 0.6) / 1.5) ** 2))
            + 0.2 * np.exp(-((self.y - lower) ** 2))
        )


def _curve(points: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Row of the polyline [N, 2] at each column, smoothed; constant beyond its ends."""
    ordered = points[np.argsort(points[:, 0])]
    rows = np.interp(columns, ordered[:, 0], ordered[:, 1]).astype(np.float32)
    return cv2.GaussianBlur(rows[None], (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)[0]


def _step(value: np.ndarray, middle: float, width: float) -> np.ndarray:
    t = np.clip((value - middle) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
