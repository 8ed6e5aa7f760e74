"""A mouth that opens and closes: lips and jaw move, the upper teeth of the portrait stay where they
are.
"""

from __future__ import annotations

import cv2
import numpy as np

_UPPER = [61, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 291]
_LOWER = [61, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 291]
_OPEN = 0.14  # of the face's height: how far the jaw falls
_LIP, _ABOVE, _NECK = (
    14.0,
    20.0,
    40.0,
)  # px: lower lip that moves as one; skin above and below that gives way
_DARK, _TONGUE = np.array([44, 14, 16], np.float32), np.array([118, 52, 54], np.float32)
_SEAM = np.array([0.45, 0.58, 0.58], np.float32)  # how much darker the line between closed lips is


class Mouth:
    """The mouth of a portrait uint8 RGB [H, W, 3] whose lips the portrait shows parted."""

    def __init__(self, portrait: np.ndarray, points: np.ndarray):
        xy = points[:, :2]
        chin, nose = xy[152], xy[2]
        x0, x1 = int(xy[172, 0] - 20), int(xy[397, 0] + 20)
        y0, y1 = int(nose[1] - 6), min(int(chin[1] + _NECK + 6), portrait.shape[0])
        self.window = (slice(y0, y1), slice(x0, x1))
        self.y, self.x = (axis.astype(np.float32) for axis in np.mgrid[y0:y1, x0:x1])
        self.origin = x0
        self.corners, self.chin, self.fall = (
            xy[[61, 291]],
            float(chin[1]),
            _OPEN * float(chin[1] - xy[6, 1]),
        )
        columns = self.x[0]
        self.upper = _curve(xy[_UPPER], columns)
        self.lower = np.maximum(_curve(xy[_LOWER], columns), self.upper)
        across = np.abs(columns - xy[14, 0]) / (np.ptp(xy[[78, 308], 0]) / 2)
        self.dome = (np.clip(1 - across**2, 0, 1) ** 0.8).astype(np.float32)
        self.jaw = np.exp(-(((columns - chin[0]) / 80) ** 2)).astype(np.float32)
        self.teeth = self._teeth(portrait)

    def hole(self, height: int, width: int) -> np.ndarray:
        """Mask uint8 of what the portrait shows between the lips."""
        mask = np.zeros((height, width), np.uint8)
        parted = (
            (self.y > self.upper - 1.5)
            & (self.y < self.lower + 2.5)
            & (self.lower - self.upper > 1)
        )
        mask[self.window] = parted.astype(np.uint8)
        return mask

    def draw(self, canvas: np.ndarray, skin: np.ndarray, mouth: float, smile: float) -> None:
        """Into `canvas` (like `skin`, uint8 RGB): opening 0..1, width -1..1."""
        x, y = self._cornered(
            smile - 0.7 * mouth, 0.3 * self.fall * mouth
        )  # an opening mouth grows narrower
        gap, closing = self.lower - self.upper, 1 - mouth
        up = 0.4 * closing * gap - 1.5 * mouth * self.dome
        down = -0.6 * closing * gap + self.fall * mouth * self.dome
        rows = [self.upper, self.lower, up, down, self.fall * 0.85 * mouth * self.jaw]
        upper, lower, up, down, jaw = (self._at(row, x) for row in rows)
        source = _source_rows(y, upper, lower, up, down, jaw, self.chin)
        lips = cv2.remap(skin, x, source, cv2.INTER_LINEAR).astype(np.float32)
        edge_up, edge_down = upper + up, lower + down
        inside = np.clip(y - edge_up + 0.5, 0, 1) * np.clip(edge_down - y + 0.5, 0, 1)
        inside = (inside * np.clip((edge_down - edge_up) / 2 - 0.25, 0, 1))[..., None]
        seam = self._seam(x, y, (edge_up + edge_down) / 2) * np.exp(
            -(((edge_down - edge_up) / 4) ** 2)
        )
        lips *= 1 - seam[..., None] * _SEAM
        lips += inside * (self._inside(x, y, edge_up, edge_down) - lips)
        canvas[self.window] = np.clip(lips, 0, 255).astype(np.uint8)

    def _cornered(self, smile: float, drop: float) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel lies before the corners go 5 px outwards and 2 px up with the smile, and
        `drop` px down.
        """
        x, y = self.x, self.y
        for corner, outwards in zip(self.corners, (-1, 1), strict=True):
            near = np.exp(-(((self.x - corner[0]) / 24) ** 2) - ((self.y - corner[1]) / 18) ** 2)
            x, y = x - 5 * smile * outwards * near, y + (2 * smile - drop) * near
        return x.astype(np.float32), y.astype(np.float32)

    def _at(self, row: np.ndarray, x: np.ndarray) -> np.ndarray:
        """A curve over the columns, read at the positions x [h, w]."""
        line, columns = row[None].astype(np.float32), x - self.origin
        return cv2.remap(
            line, columns, np.zeros_like(x), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    def _seam(self, x: np.ndarray, y: np.ndarray, middle: np.ndarray) -> np.ndarray:
        """The line between closed lips."""
        (left, _), (right, _) = self.corners
        along = np.clip((x - left) / 12, 0, 1) * np.clip((right - x) / 12, 0, 1)
        return along * np.exp(-(((y - middle) / 1.4) ** 2))

    def _teeth(self, portrait: np.ndarray) -> np.ndarray:
        """The portrait's teeth, continued upwards and downwards, float32 RGB over the window."""
        rows = np.clip(self.y, self.upper + 2, np.maximum(self.lower - 3, self.upper + 2))
        return cv2.remap(portrait, self.x, rows.astype(np.float32), cv2.INTER_LINEAR).astype(
            np.float32
        )

    def _inside(
        self, x: np.ndarray, y: np.ndarray, edge_up: np.ndarray, edge_down: np.ndarray
    ) -> np.ndarray:
        """Teeth above, dark below, the tongue near the lower lip, the upper lip's shadow."""
        y0 = self.window[0].start
        teeth = cv2.remap(
            self.teeth, x - self.origin, y - y0, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        bottom = self._at(self.lower - 2.5, x)
        tongue = np.clip(1 - (edge_down - y) / (0.5 * self.fall), 0, 1)[..., None] ** 1.5
        cavity = _DARK + 0.7 * tongue * (_TONGUE - _DARK)
        below = np.clip((y - bottom) / 3 + 0.5, 0, 1)[..., None]
        shadow = 0.6 + 0.4 * np.clip((y - edge_up) / 5, 0, 1)[..., None]
        return (teeth + below * (cavity - teeth)) * shadow


def _source_rows(
    y: np.ndarray,
    upper: np.ndarray,
    lower: np.ndarray,
    up: np.ndarray,
    down: np.ndarray,
    jaw: np.ndarray,
    chin: float,
) -> np.ndarray:
    """Rows of the skin seen at each pixel when the lips move by `up` and `down` and the chin by
    `jaw`, px [h, w].
    """
    knots = [
        upper - _ABOVE,
        upper,
        lower,
        lower + _LIP,
        np.full_like(lower, chin),
        np.full_like(lower, chin + _NECK),
    ]
    moves = [0, up, down, down + 0.3 * np.maximum(jaw - down, 0), jaw, 0]
    here = [knot + move for knot, move in zip(knots, moves, strict=True)]
    source = y.copy()
    for i in range(5):
        share = (y - here[i]) / np.maximum(here[i + 1] - here[i], 1e-3)
        source = np.where(
            (share >= 0) & (share < 1), knots[i] + share * (knots[i + 1] - knots[i]), source
        )
    return source.astype(np.float32)


def _curve(points: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Row of the polyline [N, 2] at each column, smoothed; constant beyond its ends."""
    ordered = points[np.argsort(points[:, 0])]
    rows = np.interp(columns, ordered[:, 0], ordered[:, 1]).astype(np.float32)
    return cv2.GaussianBlur(rows[None], (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)[0]
