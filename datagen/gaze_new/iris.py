"""Where the eyes look, relative to the head, and how far they move.

    python -m datagen.gaze --input raw/

Leaves the clip's faces.npz as it goes into the shard: boxes float32 [T, 4] xyxy px, landmarks float32 [T, 478, 2] px,
confidence float32 [T], gaze float32 [T, 2] (yaw, pitch) radians eye-in-head, NaN where unknown, head float32 [T, 3]
(yaw, pitch, roll) radians, eyes float32 [T] openness.
"""

from __future__ import annotations

from datagen.engine.cli import run_as_command

run_as_command(__name__, "gaze")

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen import geometry, video
from datagen.clip import Artefact, Clip
from datagen.faces import Faces
from datagen.stage import Stage

# Anatomy, mm: radius of the visible iris, of the circle on which the iris' middle turns, and how far the middle of the
# eye lies behind the line between the eye's corners.
IRIS_RADIUS, TURN_RADIUS, EYE_DEPTH = 5.85, 10.0, 5.0
# FaceMesh moves its iris less than the iris moves, most of all up and down, where the lids follow: share that it shows
# along and across the eye, measured on the sample's rendered truth.
RESPONSE = (0.8, 0.35)
ARCH = 0.05  # per mm: and it lifts the iris by this times its way along the eye squared
SMOOTHING_S = 0.04  # s.d. of the average over time; below the length of a saccade
MAP_DEG = 2  # degrees: side of a cell of the map of where a clip looks
SAMPLES_PER_S = 10.0
KERNEL_S = 0.05  # s.d. of the average around each sample: as much smoothing at 12.5 fps as at 50


def eye_in_head(points: np.ndarray, rotation: np.ndarray | None = None) -> np.ndarray:
    """(yaw, pitch) radians [T, 2] of points [T, 478, 3] px: both eyes' mean, head `rotation` (default: theirs) removed.

    The iris' middle lies on a sphere about the eye's middle; orthographic camera; scale from the iris' radius over
    the whole clip.
    """
    rotation = geometry.head_rotation(points) if rotation is None else rotation
    mm = _iris_radius(points) / IRIS_RADIUS  # px per mm [T]
    looks = [_eye(points, rotation, mm, side) for side in ("right", "left")]
    mean = np.mean(looks, axis=0)
    in_head = np.einsum("tji,tj->ti", rotation, mean / np.linalg.norm(mean, axis=-1, keepdims=True))
    return geometry.direction_angles(in_head)


def amplitude(times: np.ndarray, gaze: np.ndarray) -> float:
    """95th percentile, in degrees, of the angle between gaze (yaw, pitch) radians [T, 2] and its median direction.

    Sampled at a fixed rate in time, whatever the frame rate; NaN rows are left out. 0 where nothing is known.
    """
    known = ~np.isnan(gaze).any(-1)
    if known.sum() < 2:
        return 0.0
    vectors = _sampled(times[known], geometry.direction(gaze[known]))
    middle = np.median(vectors, axis=0)
    cosine = vectors @ (middle / np.linalg.norm(middle))
    return float(np.rad2deg(np.percentile(np.arccos(np.clip(cosine, -1, 1)), 95)))


def gaze_map(gaze: np.ndarray) -> list[list[int]]:
    """[yaw, pitch, frames] for every cell of MAP_DEG degrees that is looked at, named by its middle; maps add."""
    cells, counts = np.unique(np.rint(np.rad2deg(gaze) / MAP_DEG).astype(int), axis=0, return_counts=True)
    return [[int(yaw) * MAP_DEG, int(pitch) * MAP_DEG, int(n)] for (yaw, pitch), n in zip(cells, counts, strict=True)]


def open_eyes(points: np.ndarray, share: float, least: float) -> np.ndarray:
    """bool [T]: both eyes open at least `least` (lid distance over eye width) and `share` of what is usual in this
    clip.
    """
    openness = geometry.eye_openness(points).min(-1)
    usual = np.percentile(openness, 75) if len(openness) else 0.0
    return openness >= max(least, share * usual)


@dataclass
class IrisGaze(Stage):
    """Iris geometry on FaceMesh points; needs no download. Yaw is good to some degrees, pitch is coarse."""

    name = "gaze"
    version = 2
    inputs = ("clips", "faces")

    open_share: float = 0.7
    open_least: float = 0.12

    def __call__(self, clip: Clip, workdir: Path) -> Artefact:
        faces = Faces.load(clip.path("faces"))
        fps = video.probe(clip.path("clips")).fps
        times = np.arange(len(faces.found)) / fps
        fields = self.measure(faces, times)
        known = ~np.isnan(fields["gaze"]).any(-1)
        metrics: dict[str, Any] = {
            "amplitude_deg": round(amplitude(times, fields["gaze"]), 2),
            "coverage": round(float(known.mean()), 4),
        }
        if known.any():
            for name, values in zip(("yaw", "pitch"), np.rad2deg(fields["gaze"][known]).T, strict=True):
                metrics[name] = [round(float(v), 1) for v in np.percentile(values, [5, 50, 95])]
        metrics["map"] = gaze_map(fields["gaze"][known])
        np.savez_compressed(workdir / "faces.npz", **fields)  # type: ignore[arg-type]
        return Artefact(workdir / "faces.npz", metrics)

    def measure(self, faces: Faces, times: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of the shard's faces.npz, of a clip whose frames are shown at `times` s."""
        count = len(faces.found)
        gaze, head = np.full((count, 2), np.nan, np.float32), np.full((count, 3), np.nan, np.float32)
        eyes = np.full(count, np.nan, np.float32)
        points = faces.landmarks[faces.found].astype(np.float64)
        if len(points):
            head[faces.found] = geometry.angles(geometry.head_rotation(points))
            eyes[faces.found] = geometry.eye_openness(points).mean(-1)
            seen = eye_in_head(points)
            seen[~open_eyes(points, self.open_share, self.open_least)] = np.nan
            gaze[faces.found] = seen
            gaze = smoothed(times, gaze, SMOOTHING_S)
        return {
            "boxes": faces.boxes,
            "landmarks": faces.landmarks[..., :2],
            "confidence": faces.confidence,
            "gaze": gaze,
            "head": head,
            "eyes": eyes,
        }


def _iris_radius(points: np.ndarray) -> np.ndarray:
    """Iris radius in px [T]: the clip's median ratio to the interocular distance times each frame's."""
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


def smoothed(times: np.ndarray, gaze: np.ndarray, sd: float) -> np.ndarray:
    """Gaussian average over time of gaze (yaw, pitch) [T, 2], of the known rows only; NaN rows stay NaN."""
    known = ~np.isnan(gaze).any(-1)
    weights = np.exp(-0.5 * ((times[:, None] - times[None, known]) / sd) ** 2)
    result = np.full_like(gaze, np.nan)
    result[known] = (weights @ gaze[known] / weights.sum(1, keepdims=True))[known]
    return result


def _sampled(times: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Gaussian averages of unit vectors [T, 3] at a fixed rate in time; samples far from any frame are left out."""
    at = np.arange(times[0], times[-1] + 1e-9, 1 / SAMPLES_PER_S)
    near = np.abs(at[:, None] - times[None]).min(1) <= 0.5 / SAMPLES_PER_S + 1e-9
    weights = np.exp(-0.5 * ((at[near, None] - times[None]) / KERNEL_S) ** 2)
    means = weights @ vectors / weights.sum(1, keepdims=True)
    return means / np.linalg.norm(means, axis=-1, keepdims=True)
