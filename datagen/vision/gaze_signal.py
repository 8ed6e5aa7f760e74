"""Gaze over time as numbers: how far it moves, where it goes, smoothed; NaN rows are unknown."""

from __future__ import annotations

import numpy as np

from datagen.vision import geometry

SMOOTHING_S = 0.04  # s.d. of the average over time; below the length of a saccade
MAP_DEG = 2  # degrees: side of a cell of the map of where a clip looks
SAMPLES_PER_S = 10.0
KERNEL_S = 0.05  # s.d. of the average around each sample: as much smoothing at 12.5 fps as at 50


def amplitude(times: np.ndarray, gaze: np.ndarray) -> float:
    """95th percentile, in degrees, of the angle between gaze (yaw, pitch) radians [T, 2] and its
    median direction.

    Sampled at a fixed rate in time, whatever the frame rate; NaN rows are left out. 0 where nothing
    is known.
    """
    known = ~np.isnan(gaze).any(-1)
    if known.sum() < 2:
        return 0.0
    vectors = _sampled(times[known], geometry.direction(gaze[known]))
    middle = np.median(vectors, axis=0)
    cosine = vectors @ (middle / np.linalg.norm(middle))
    return float(np.rad2deg(np.percentile(np.arccos(np.clip(cosine, -1, 1)), 95)))


def gaze_map(gaze: np.ndarray) -> list[list[int]]:
    """[yaw, pitch, frames] for every cell of MAP_DEG degrees that is looked at, named by its
    middle; maps add.
    """
    cells, counts = np.unique(
        np.rint(np.rad2deg(gaze) / MAP_DEG).astype(int), axis=0, return_counts=True
    )
    return [
        [int(yaw) * MAP_DEG, int(pitch) * MAP_DEG, int(n)]
        for (yaw, pitch), n in zip(cells, counts, strict=True)
    ]


def spread(gaze: np.ndarray) -> dict[str, list[float]]:
    """[5th percentile, median, 95th percentile] in degrees of yaw and of pitch, of gaze radians [T,
    2], all known.
    """
    names = ("yaw", "pitch")
    rows = np.percentile(np.rad2deg(gaze), [5, 50, 95], axis=0).T
    return {
        name: [round(float(value), 1) for value in row]
        for name, row in zip(names, rows, strict=True)
    }


def smoothed(times: np.ndarray, gaze: np.ndarray, sd: float) -> np.ndarray:
    """Gaussian average over time of gaze (yaw, pitch) [T, 2], of the known rows only; NaN rows stay
    NaN.
    """
    known = ~np.isnan(gaze).any(-1)
    weights = np.exp(-0.5 * ((times[:, None] - times[None, known]) / sd) ** 2)
    result = np.full_like(gaze, np.nan)
    result[known] = (weights @ gaze[known] / weights.sum(1, keepdims=True))[known]
    return result


def _sampled(times: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Gaussian averages of unit vectors [T, 3] at a fixed rate in time; samples far from any frame
    are left out.
    """
    at = np.arange(times[0], times[-1] + 1e-9, 1 / SAMPLES_PER_S)
    near = np.abs(at[:, None] - times[None]).min(1) <= 0.5 / SAMPLES_PER_S + 1e-9
    weights = np.exp(-0.5 * ((at[near, None] - times[None]) / KERNEL_S) ** 2)
    means = weights @ vectors / weights.sum(1, keepdims=True)
    return means / np.linalg.norm(means, axis=-1, keepdims=True)
