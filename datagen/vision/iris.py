"""Where the eyes look, from the iris among FaceMesh's points."""

from __future__ import annotations

import numpy as np

from datagen.vision import geometry

# Anatomy, mm: radius of the visible iris, of the circle on which the iris' middle turns, and how
# far the middle of the eye lies behind the line between the eye's corners.
IRIS_RADIUS, TURN_RADIUS, EYE_DEPTH = 5.85, 10.0, 5.0
# FaceMesh moves its iris less than the iris moves, most of all up and down, where the lids follow:
# share that it shows along and across the eye, measured on the sample's rendered truth.
RESPONSE = (0.8, 0.35)
ARCH = 0.05  # per mm: and it lifts the iris by this times its way along the eye squared


def eye_in_head(points: np.ndarray, rotation: np.ndarray | None = None) -> np.ndarray:
    """(yaw, pitch) radians [T, 2] of points [T, 478, 3] px: both eyes' mean, the head's `rotation`
    removed.
    """
    rotation = geometry.head_rotation(points) if rotation is None else rotation
    return in_head(from_camera(points, rotation), rotation)


def from_camera(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Unit vectors in camera coordinates [T, 3] of points [T, 478, 3] px: both eyes' mean.

    The iris' middle lies on a sphere about the eye's middle; orthographic camera; scale from the
    iris' radius over the whole clip.
    """
    mm = _iris_radius(points) / IRIS_RADIUS  # px per mm [T]
    looks = [_eye(points, rotation, mm, side) for side in ("right", "left")]
    mean = np.mean(looks, axis=0)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def _iris_radius(points: np.ndarray) -> np.ndarray:
    """Iris radius in px [T]: the clip's median ratio to the interocular distance times each
    frame's.
    """
    radii = []
    for centre in (geometry.RIGHT_IRIS, geometry.LEFT_IRIS):
        rim = points[:, centre + 1 : centre + 5, :2]
        radii.append(np.linalg.norm(rim - points[:, centre : centre + 1, :2], axis=-1).max(-1))
    between = geometry.interocular(points)
    return np.median(np.mean(radii, axis=0) / between) * between


def _eye(points: np.ndarray, rotation: np.ndarray, mm: np.ndarray, side: str) -> np.ndarray:
    """Gaze of one eye as unit vectors in camera coordinates [T, 3]."""
    iris = points[:, geometry.RIGHT_IRIS if side == "right" else geometry.LEFT_IRIS, :2]
    offset = (iris - points[:, list(geometry.EYE_CORNERS[side]), :2].mean(1)) / mm[:, None]
    along = rotation[:, :2, 0] / np.linalg.norm(rotation[:, :2, 0], axis=-1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    x, y = (offset * along).sum(-1, keepdims=True), (offset * across).sum(-1, keepdims=True)
    moved = x / RESPONSE[0] * along + (y + ARCH * x**2) / RESPONSE[1] * across
    xy = (moved - EYE_DEPTH * rotation[:, :2, 2]) / TURN_RADIUS
    xy /= np.maximum(1, np.linalg.norm(xy, axis=-1, keepdims=True) / 0.95)
    return np.concatenate([xy, -np.sqrt(1 - (xy**2).sum(-1, keepdims=True))], axis=-1)


def open_eyes(points: np.ndarray, share: float, least: float) -> np.ndarray:
    """bool [T]: both eyes open at least `least` (lid distance over eye width) and `share` of what
    is usual in this clip.
    """
    openness = geometry.eye_openness(points).min(-1)
    usual = np.percentile(openness, 75) if len(openness) else 0.0
    return openness >= max(least, share * usual)


def in_head(camera: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(yaw, pitch) radians [T, 2] of unit vectors in camera coordinates [T, 3], head `rotation` [T,
    3, 3] removed.
    """
    return geometry.direction_angles(np.einsum("tji,tj->ti", rotation, camera))
