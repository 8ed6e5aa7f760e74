"""How far two faces over time agree, and how far they differ.

What of their points is always apart in the same way, seen from the head, is another build of the
face: identity. What is left over time is motion.
"""

from __future__ import annotations

import numpy as np

from datagen.vision import geometry
from datagen.vision.drift import EYES, LIPS
from datagen.vision.gaze_signal import SMOOTHING_S, smoothed
from datagen.vision.iris import eye_in_head, open_eyes
from datagen.vision.mesh import shape_ratios

SHAPE_UNIT, COLOUR_UNIT = 0.04, 15.0


LEAST = {"mouth_r": 0.02, "blink_r": 0.02, "brow_r": 0.012, "frown_r": 0.02}  # sd that is motion


def compare(target: np.ndarray, twin: np.ndarray, times: np.ndarray) -> dict[str, float | None]:
    """Agreement over time of points [T, 478, 3] px of the same moments, at `times` s."""
    apart = (twin - target)[..., :2] / geometry.interocular(target)[:, None, None]
    turned = geometry.head_rotation(target)
    gaze, offset = _gaze(target, twin, turned, times)
    return {
        **_means(np.linalg.norm(apart, axis=-1), ("landmarks", "mouth", "eyes")),
        **_means(stray(target, twin), ("motion", "mouth_motion", "eyes_motion")),
        "pose_deg": round(float(_turn(turned, geometry.head_rotation(twin)).mean()), 2),
        "gaze_deg": gaze,
        "gaze_offset_deg": offset,
        **{
            name: correlation(measure(target), measure(twin), LEAST[name])
            for name, measure in EXPRESSION.items()
        },
    }


def stray(target: np.ndarray, twin: np.ndarray) -> np.ndarray:
    """How far each point of a twin [T, 478, 3] px moves for itself, interocular distances [T, 478].

    What is always the same in the head's frame is another build of the face, and does not count.
    """
    turned = geometry.head_rotation(target)[:, :2, :2]
    apart = (twin - target)[..., :2] @ turned / geometry.interocular(target)[:, None, None]
    return np.linalg.norm(apart - np.median(apart, axis=0), axis=-1)


def _means(distance: np.ndarray, names: tuple[str, str, str]) -> dict[str, float]:
    """Of distances [T, 478]: over all points, the lips and the eyes."""
    parts = (distance, distance[:, LIPS], distance[:, EYES])
    return {name: round(float(part.mean()), 4) for name, part in zip(names, parts, strict=True)}


def _eyes_open(points: np.ndarray) -> np.ndarray:
    return geometry.eye_openness(points).mean(-1)


EXPRESSION = {
    "mouth_r": geometry.mouth_openness,
    "blink_r": _eyes_open,
    "brow_r": geometry.brow_height,
    "frown_r": geometry.brow_gap,
}


def _gaze(
    target: np.ndarray, twin: np.ndarray, turned: np.ndarray, times: np.ndarray
) -> tuple[float | None, float | None]:
    """(mean angle over time with neutrals removed, angle between the neutrals) in degrees, of open
    eyes.
    """
    opened = open_eyes(target, 0.7, 0.12) & open_eyes(twin, 0.7, 0.12)
    if not opened.any():
        return None, None
    own, other = (
        smoothed(times[opened], eye_in_head(p, turned)[opened], SMOOTHING_S) for p in (target, twin)
    )
    offset = np.median(other - own, axis=0)
    angles = _angle(geometry.direction(own), geometry.direction(other - offset))
    return round(float(angles.mean()), 2), round(float(np.rad2deg(np.linalg.norm(offset))), 2)


def shape_change(target: np.ndarray, twin: np.ndarray) -> float:
    """Mean |log ratio| of the face-shape proportions, medians over time, of points [T, 478, 3]
    px.
    """
    return float(np.abs(np.log(_proportions(twin) / _proportions(target))).mean())


def _proportions(points: np.ndarray) -> np.ndarray:
    return np.median([shape_ratios(p) for p in points], axis=0)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors [..., 3]."""
    return np.rad2deg(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees of the rotation that leads from a to b [..., 3, 3]."""
    trace = np.einsum("tij,tij->t", a, b)
    return np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def correlation(a: np.ndarray, b: np.ndarray, least_sd: float) -> float | None:
    """Pearson's, of two measures [T] over time; None where the first deviates by less."""
    if len(a) < 3 or a.std() < least_sd:
        return None
    if b.std() == 0:
        return 0.0
    return round(float(np.corrcoef(a, b)[0, 1]), 4)
