"""Bends driving frames into another person's face shape, which a swap does not change.

A face's shape is where its points lie when it looks straight ahead with its mouth closed: relative
to the middle of the eyes, in units of the distance from there to the upper lip. The points of a
turned or tilted face move by the difference of two shapes, turned alike.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datagen.vision import geometry
from datagen.vision.mirror import MIRRORED
from training.data.decode import Unreadable
from training.data.index import ShardIndex
from training.data.record import ClipReader, FaceTrack

STEADIEST = 5  # frames whose mean is the shape
OPEN = 2.0  # rad of head rotation that count as much as a mouth open by one unit
STRAIGHT = np.array(
    [0.2, 0.25]
)  # rad of yaw and pitch: a clip that is always turned further has no shape
SHUT = 0.15  # units: nor has one whose mouth is always open further
SIDEWAYS = 0.3  # the least cosine of yaw that a width is divided by
TRIED = 8  # donors in turn, until one has a shape
LENDERS = 1000  # donors at most, spread over the shards; each takes 8 kB of memory
REACH = 0.06  # of the picture's side: how far a point moves what is around it
COARSE = 25  # points of a field each way
CORNERS = [corner for eye in geometry.EYE_CORNERS.values() for corner in eye]
UPPER_LIP, LOWER_LIP = 13, 14
NOSE = [6, 195, 4, 2, 97, 326, 129, 358]
CHEEKS = [50, 280, 205, 425, 117, 346]
MOVED = np.array(
    [
        *geometry.OVAL,
        *geometry.RIGHT_EYE[::2],
        *geometry.LEFT_EYE[::2],
        *geometry.RIGHT_BROW[:5],
        *geometry.LEFT_BROW[:5],
        *geometry.OUTER_LIPS[::2],
        *NOSE,
        *CHEEKS,
    ]
)


@dataclass(frozen=True)
class FaceShape:
    """Float [478, 2] in units, about the middle of the eyes."""

    points: np.ndarray

    def lent(self, points: np.ndarray, head: np.ndarray, donor: FaceShape) -> np.ndarray:
        """Points px [n, 478, 2] of this clip, with heads [n, 3] rad, in the donor's shape."""
        yaw, pitch, roll = head.T
        wide = geometry.interocular(points) / np.maximum(np.cos(yaw), SIDEWAYS)
        unit = (wide / geometry.interocular(self.points))[:, None, None]  # px
        seen = (donor.points - self.points) * np.stack([np.cos(yaw), np.cos(pitch)], axis=-1)[
            :, None
        ]
        return points + unit * (seen @ _turn(roll).transpose(0, 2, 1))


def shape_of(points: np.ndarray, head: np.ndarray) -> FaceShape | None:
    """The shape of a clip's face, from points px [T, 478, 2] and heads [T, 3] rad (yaw, pitch,
    roll). None where it never looks straight ahead with its mouth closed. Raises Unreadable.
    """
    if not np.isfinite(head).all():
        raise Unreadable("faces.npz has no head rotation")
    around = points - points[:, CORNERS].mean(axis=1, keepdims=True)
    long = np.maximum(np.linalg.norm(around[:, UPPER_LIP], axis=-1), 1e-9)
    opened = np.linalg.norm(around[:, UPPER_LIP] - around[:, LOWER_LIP], axis=-1) / long
    steadiest = np.argsort(np.abs(head[:, :2]).sum(axis=1) + OPEN * opened, kind="stable")[
        :STEADIEST
    ]
    mean = (around[steadiest] @ _turn(head[steadiest, 2])).mean(axis=0)
    even = (mean + mean[MIRRORED] * [-1, 1]) / 2
    unit = float(np.linalg.norm(even[UPPER_LIP]))
    if not unit >= 1:  # px
        raise Unreadable("faces.npz shows a face of no size")
    is_turned = (np.abs(head[steadiest, :2].mean(axis=0)) > STRAIGHT).any()
    return None if is_turned or opened[steadiest].mean() > SHUT else FaceShape(even / unit)


class FaceShapeDonors:
    """People of the shards who lend their face shapes. A shape is computed on first use."""

    def __init__(self, shards: ShardIndex):
        self.shards = shards
        count = min(len(shards), LENDERS)
        self.lenders = np.arange(count) * len(shards) // count
        self.shapes: dict[int, FaceShape | None] = {}

    def __call__(
        self, index: int, faces: FaceTrack, share: float | None
    ) -> tuple[FaceShape, FaceShape] | None:
        """The shapes of the sample at `index` and of another identity, chosen by `share` in [0, 1).
        None without a share, without another identity, or where a face has no shape. Raises
        Unreadable.
        """
        if share is None:
            return None
        others = self.lenders[self.shards.identities[self.lenders] != self.shards.identities[index]]
        tried = np.roll(others, -int(share * len(others)))[:TRIED].tolist()
        lent = next((shape for shape in map(self._shape, tried) if shape), None)
        own = shape_of(faces.landmarks, faces.head) if lent else None
        return (own, lent) if own and lent else None

    def _shape(self, index: int) -> FaceShape | None:
        if index not in self.shapes:
            self.shapes[index] = None  # an unreadable clip is reported when it is drawn itself
            with contextlib.suppress(Unreadable):
                faces = ClipReader(
                    int(self.shards.frames[index]), self.shards.read(index, ["faces.npz"])
                ).faces
                self.shapes[index] = shape_of(faces.landmarks, faces.head)
        return self.shapes[index]


def moved(pictures: Tensor, before: np.ndarray, after: np.ndarray) -> Tensor:
    """Float [n, c, S, S], bent so that the points `before` [n, 478, 2] px move to `after`."""
    side = pictures.shape[-1]
    return F.grid_sample(
        pictures, _sources(before, after, side), padding_mode="border", align_corners=False
    )


def _sources(before: np.ndarray, after: np.ndarray, side: int) -> Tensor:
    """[n, side, side, 2] in [-1, 1]: each pixel moves as the points around it, weighed by distance;
    far from all, as the nearest.
    """
    ends = torch.from_numpy(after[:, MOVED] * (2 / side) - 1).float()
    steps = torch.from_numpy((before - after)[:, MOVED] * (2 / side)).float()
    grid = _grid(COARSE, align_corners=True)
    nearness = -torch.cdist(grid.reshape(1, -1, 2), ends).square() / (2 * (2 * REACH) ** 2)
    field = (nearness.softmax(dim=-1) @ steps).unflatten(1, (COARSE, COARSE)).permute(0, 3, 1, 2)
    fine = F.interpolate(field, (side, side), mode="bilinear", align_corners=True)
    return _grid(side, align_corners=False) + fine.permute(0, 2, 3, 1)


def _grid(count: int, align_corners: bool) -> Tensor:
    """[count, count, 2], x before y: from edge to edge, or the centres of pixels."""
    line = (
        torch.linspace(-1, 1, count) if align_corners else (2 * torch.arange(count) + 1) / count - 1
    )
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def _turn(roll: np.ndarray) -> np.ndarray:
    """[n, 2, 2]: rows of points of an upright face times its transpose are those in the frame."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
