"""The frames in which FaRL's networks see a face: a similarity by five points, and what is far bent
into the picture.

As facer does it (transform.py, face_parsing/farl.py); its pixels' middles lie half a pixel beside
ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datagen.vision import geometry

# middles of the person's right and left eye, tip of the nose, right and left corner of the mouth;
# of 512
TEMPLATE = np.array([(196, 226), (316, 226), (256, 286), (220, 360.4), (292, 360.4)])
NOSE, MOUTH = 1, (61, 291)
# share of the half frame, from its edge inwards, into which lapa's frame bends all that lies
# outside
BENT = 0.8
FURTHEST = 0.999  # of that share, where the bent picture still has a place in the clip


@dataclass(frozen=True)
class HeadFrame:
    """p in the clip (px, x right, y down) lies at `matrix` (p, 1) in the frame, whose sides go from
    -1 to 1.
    """

    SIDE: ClassVar[int] = 448  # px

    matrix: np.ndarray  # float64 [2, 3]
    bent: float = 0.0

    def into(self, height: int, width: int) -> np.ndarray:
        """Where in the clip (-1 to 1) each of the frame's pixels is, float32 [SIDE, SIDE, 2]."""
        turn, shift = self.matrix[:, :2], self.matrix[:, 2]
        places = (_unbent(_grid(self.SIDE, self.SIDE), self.bent) - shift) @ np.linalg.inv(turn).T
        return (places / (width, height) * 2 - 1).astype(np.float32)

    def back(self, height: int, width: int) -> np.ndarray:
        """Where in the frame (-1 to 1) each of the clip's pixels is, float32 [height, width, 2]."""
        pixels = (_grid(height, width) + 1) / 2 * (width, height)
        return _bent(pixels @ self.matrix[:, :2].T + self.matrix[:, 2], self.bent).astype(
            np.float32
        )


def five(points: np.ndarray) -> np.ndarray:
    """float64 [5, 2] px of points [478, 2+]: eyes, nose, corners of the mouth, the person's right
    one first.
    """
    eyes = [points[list(geometry.EYE_CORNERS[side]), :2].mean(0) for side in ("right", "left")]
    return np.stack([*eyes, points[NOSE, :2], *points[list(MOUTH), :2]]).astype(np.float64)


def lapa(points: np.ndarray) -> HeadFrame:
    """farl/lapa/448: the five points on the template; what is outside is bent in, so that the whole
    clip is seen.
    """
    return HeadFrame(_similarity(five(points), TEMPLATE / 256 - 1), BENT)


def celebm(points: np.ndarray) -> HeadFrame:
    """farl/celebm/448: the square about eyes and mouth in which FFHQ and CelebA-HQ cut their faces;
    nothing is bent.
    """
    right, left, _, *mouth = five(points)
    eyes, across = (right + left) / 2, left - right
    down = np.mean(mouth, axis=0) - eyes
    axis = across - (-down[1], down[0])
    axis *= max(2.0 * np.linalg.norm(across), 1.8 * np.linalg.norm(down)) / np.linalg.norm(axis)
    middle, half = eyes + 0.1 * down, float(axis @ axis)
    turn = np.array([axis, (-axis[1], axis[0])]) / half
    return HeadFrame(np.concatenate([turn, -(turn @ middle)[:, None]], axis=1))


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64 [2, 3]: the turn, scale and shift that bring source [N, 2] nearest to target [N,
    2].
    """
    a, b = source - source.mean(0), target - target.mean(0)
    along, across = (
        (a * b).sum() / (a * a).sum(),
        (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / (a * a).sum(),
    )
    turn = np.array([(along, -across), (across, along)])
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], axis=1)


def _grid(height: int, width: int) -> np.ndarray:
    """Middles of pixels, sides from -1 to 1, float64 [height, width, 2]."""
    x, y = ((np.arange(count) + 0.5) / count * 2 - 1 for count in (width, height))
    return np.stack(np.meshgrid(x, y), axis=-1)


def _bent(places: np.ndarray, share: float) -> np.ndarray:
    """Beyond 1 - share by tanh, so that all stays within -1 to 1."""
    if not share:
        return places
    over = np.maximum(np.abs(places) - (1 - share), 0) / share
    return np.sign(places) * (np.minimum(np.abs(places), 1 - share) + np.tanh(over) * share)


def _unbent(places: np.ndarray, share: float) -> np.ndarray:
    """The inverse of `_bent`."""
    if not share:
        return places
    over = np.clip((np.abs(places) - (1 - share)) / share, 0, FURTHEST)
    return np.sign(places) * (np.minimum(np.abs(places), 1 - share) + np.arctanh(over) * share)
