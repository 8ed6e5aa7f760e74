"""Driving frames: the face of a video alone on black, grey. Training uses the same functions.

Frames are float [n, 3, H, W], RGB; boxes xyxy in px [n, 4]; points [478, 2+] in px
(datagen.vision.geometry).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datagen.vision import geometry
from datagen.vision.regions import kept_boxes

PATCH = 1 / 8  # of the picture's side: how far the contour patches reach from their middles
LUMA = (0.2989, 0.5870, 0.1140)
BROWS = (*geometry.RIGHT_BROW, *geometry.LEFT_BROW)
CONTOURS = (
    geometry.RIGHT_EYE,
    geometry.LEFT_EYE,
    (*geometry.OUTER_LIPS, *geometry.INNER_LIPS),
    BROWS,
)


@dataclass(frozen=True)
class Square:
    """Rows `top` to `top + side` and columns `left` to `left + side` of a picture, px."""

    left: int
    top: int
    side: int

    def crop_points(self, points: np.ndarray, side: float) -> np.ndarray:
        """Points [..., 2] or boxes [..., 4] of the picture, in px of the square scaled to `side`
        px.
        """
        return (points - [self.left, self.top] * (points.shape[-1] // 2)) * (side / self.side)


def square(boxes: np.ndarray, size: tuple[int, int], margin: float | None = None) -> Square:
    """The largest square around the middle of all boxes, inside a picture of `size` (width,
    height) px.

    Where it would cut boxes at the picture's border it is shifted to hold them. With `margin`, a
    square that leaves (margin - 1) sides of the largest box around all boxes, shifted to lie
    inside.
    """
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    middle = np.floor((low + high) / 2).astype(int)
    extent = float((high - low).max())
    if margin is None:
        half = max(int(min(*middle, *(np.array(size) - middle))), int(np.ceil(extent / 2)))
    else:
        half = int(
            np.ceil((extent + (margin - 1) * float((boxes[:, 2:] - boxes[:, :2]).max())) / 2)
        )
    half = min(half, max(min(size) // 2, 1))
    left, top = np.clip(middle - half, 0, np.maximum(np.array(size) - 2 * half, 0)).tolist()
    return Square(left, top, min(2 * half, *size))


def cropped(frames: Tensor, part: Square, side: int, antialias: bool = True) -> Tensor:
    """[n, 3, side, side] of the same type. The official program shrinks without `antialias`, which
    makes fine patterns flicker.
    """
    cut = frames[:, :, part.top : part.top + part.side, part.left : part.left + part.side]
    return F.interpolate(
        cut, (side, side), mode="bilinear", align_corners=False, antialias=antialias
    )


def driving_frames(
    frames: Tensor,
    part: Square,
    boxes: np.ndarray,
    side: int,
    is_grey: bool,
    antialias: bool = True,
) -> Tensor:
    """Frames uint8 [n, 3, H, W] as they drive, float [n, 3, side, side] in [0, 1]: the square
    `part` of them, black outside the face, grey or not. Face boxes [n, 4] are in px of the frames.
    """
    cut = cropped(frames, part, side, antialias) / 255
    return face_alone(cut, part.crop_points(boxes, side), is_grey)


def face_alone(frames: Tensor, boxes: np.ndarray, is_grey: bool) -> Tensor:
    """Square frames that are cropped already, black outside the face, grey or not (docs/model.md,
    6): uint8 stays uint8. Face boxes [n, 4] are in px of these frames.
    """
    shown = grey(frames) if is_grey else frames
    return mask_outside(shown, kept_boxes(boxes, frames.shape[-1]))


def mask_outside(frames: Tensor, boxes: np.ndarray) -> Tensor:
    """Frames black outside their whole-px boxes int [n, 4], or [n, k, 4] for several."""
    alone = torch.zeros_like(frames)
    for kept, frame, row in zip(
        alone, frames, boxes.reshape(len(frames), -1, 4).tolist(), strict=True
    ):
        for left, top, right, bottom in row:
            kept[:, top:bottom, left:right] = frame[:, top:bottom, left:right]
    return alone


def grey(frames: Tensor) -> Tensor:
    """Float frames: three equal channels in the same range. Levels, uint8: one channel."""
    if frames.dtype == torch.uint8:
        return _grey_levels(frames)
    weights = torch.tensor(LUMA, dtype=frames.dtype, device=frames.device)
    return torch.einsum("nchw,c->nhw", frames, weights)[:, None].expand(-1, 3, -1, -1)


def _grey_levels(frames: Tensor) -> Tensor:
    """uint8 [n, 1, H, W] of uint8 [n, 3, H, W], by OpenCV: the nearest levels to `grey`."""
    levels = np.empty((len(frames), *frames.shape[2:]), np.uint8)
    for level, rgb in zip(levels, frames, strict=True):
        cv2.cvtColor(cv2.merge(list(rgb.numpy())), cv2.COLOR_RGB2GRAY, dst=level)
    return torch.from_numpy(levels)[:, None]


def warp(frames: Tensor, aspect: float, scale: float) -> Tensor:
    """Training's augmentation (docs/model.md, 6, step 6): width over height times `aspect` by
    shrinking one of them, then all enlarged by `scale` about the middle, to the nearest px; black
    where nothing is.
    """
    height, width = frames.shape[2:]
    small = (height, int(aspect * width)) if aspect <= 1 else (int(height / aspect), width)
    y = F.interpolate(frames, small, mode="bilinear", align_corners=False, antialias=True)
    left, top = (width - small[1]) // 2, (height - small[0]) // 2
    y = F.pad(y, (left, width - small[1] - left, top, height - small[0] - top))
    theta = torch.tensor([[1 / scale, 0, 0], [0, 1 / scale, 0]], dtype=y.dtype, device=y.device)
    grid = F.affine_grid(theta.expand(len(y), 2, 3), list(y.shape), align_corners=False)
    return F.grid_sample(y, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def outline(points: np.ndarray) -> np.ndarray:
    """Box xyxy [4] from the brows to the chin, as wide as the face: that of the usual 68 points."""
    found = geometry.box(points[geometry.OVAL])
    found[1] = points[list(BROWS), 1].min()
    return found


def middles(points: np.ndarray) -> np.ndarray:
    """Middles [4, 2] of the eyes, the mouth and the brows."""
    return np.stack([points[list(group), :2].mean(axis=0) for group in CONTOURS])


def patches(low: np.ndarray, high: np.ndarray, side: int) -> np.ndarray:
    """Whole-px boxes int [4, 4] that are kept around middles between `low` and `high` [4, 2]."""
    return np.clip(
        np.concatenate([low - PATCH * side, high + PATCH * side], axis=1), 0, side
    ).astype(int)


def aligned(frames: Tensor, source: np.ndarray, target: np.ndarray) -> Tensor:
    """Frames stretched and shifted so that the box `source` becomes the box `target`, px [4]."""
    sides = np.array([frames.shape[3], frames.shape[2]])
    stretch = (source[2:] - source[:2]) / (target[2:] - target[:2])
    shift = stretch - 1 + 2 * (source[:2] - stretch * target[:2]) / sides
    theta = torch.tensor([[stretch[0], 0, shift[0]], [0, stretch[1], shift[1]]], dtype=frames.dtype)
    grid = F.affine_grid(
        theta.to(frames.device).expand(len(frames), 2, 3), list(frames.shape), align_corners=False
    )
    return F.grid_sample(frames, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
