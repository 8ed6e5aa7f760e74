"""Spectacles, drawn on the skin: their rims keep clear of what moves with the lids."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.sources.rendering.astronaut import SIZE

_EYES = ((468, 234, -1), (473, 454, 1))  # iris, edge of the face, side in the picture
_FINE = 4  # bits of the fractions of a pixel in OpenCV's drawing


@dataclass(frozen=True)
class Spectacles:
    """A frame, in px of the picture."""

    thick: float = 0.0  # of the rims; 0 for none
    wide: float = 37.0  # half a lens
    high: float = 29.0
    square: float = 2.0  # 2 for ellipses, more for corners
    wing: float = 0.0  # how far the outer corners are drawn up
    colour: tuple[int, int, int] = (30, 26, 24)  # RGB


def wear(rgb: np.ndarray, points: np.ndarray, frame: Spectacles) -> np.ndarray:
    """The face float32 RGB [512, 512, 3] with spectacles, for its points [478, 3] px."""
    if not frame.thick:
        return rgb
    rims = np.zeros((SIZE, SIZE), np.float32)
    inner = []
    for iris, edge, side in _EYES:
        lens = _lens(points[iris, :2] + [3.0 * side, 5.0], side, frame)
        _line(rims, lens, frame.thick, closed=True)
        outer = lens[np.argmax(side * lens[:, 0] - 0.5 * lens[:, 1])]
        _line(rims, np.stack([outer, [points[edge, 0] + 3 * side, outer[1] - 4]]), frame.thick)
        inner.append(lens[np.argmin(side * lens[:, 0] + 0.4 * lens[:, 1])])
    middle = np.mean(inner, axis=0) - [0, 3]
    _line(rims, np.stack([inner[0], middle, inner[1]]), frame.thick)
    rims = cv2.GaussianBlur(rims, (0, 0), 0.6)
    shadow = cv2.GaussianBlur(np.roll(rims, 3, axis=0), (0, 0), 2.2)
    gloss = np.clip(np.roll(rims, 1, axis=0) - np.roll(rims, -1, axis=0), -1, 0)
    colour = np.array(frame.colour, np.float32) - 60 * gloss[..., None]
    rgb = rgb * (1 - 0.35 * shadow[..., None])
    return rgb + rims[..., None] * (colour - rgb)


def _lens(centre: np.ndarray, side: int, frame: Spectacles) -> np.ndarray:
    """The rim of one lens, px [72, 2]."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    across, down = (
        np.sign(f) * np.abs(f) ** (2 / frame.square) for f in (np.cos(angle), np.sin(angle))
    )
    lifted = frame.wing * np.clip(side * across, 0, 1) ** 2 * np.clip(0.4 - down, 0, 1)
    taper = 1 - 0.08 * np.clip(down, 0, 1)
    return centre + np.stack([frame.wide * across * taper, frame.high * down - lifted], -1)


def _line(mask: np.ndarray, line: np.ndarray, thick: float, closed: bool = False) -> None:
    path = [np.rint(line * 2**_FINE).astype(np.int32)]
    cv2.polylines(mask, path, closed, 1.0, max(round(thick), 1), cv2.LINE_AA, _FINE)
