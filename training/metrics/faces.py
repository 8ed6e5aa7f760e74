"""Faces against faces by datagen's own points (MediaPipe FaceMesh), frames matched by index.

Small pictures are shown to FaceMesh enlarged to VIEW px, truth and output alike. At 64 px its mouth
is no measure (truth against truth: r = 0.47); there training.evaluation.readout is.
"""

from __future__ import annotations

import numpy as np

from datagen.vision import geometry
from datagen.vision.drift import watched
from datagen.vision.gaze_signal import SMOOTHING_S
from datagen.vision.gaze_signal import smoothed as over_time
from datagen.vision.iris import eye_in_head, open_eyes
from datagen.vision.landmarks import FaceMesh
from datagen.vision.regions import face_colour
from datagen.vision.similarity import compare
from training.metrics.pixels import area

VIEW = 384  # px
OPEN = (
    0.7,
    0.12,
)  # share of what is usual, and lid distance over eye width: eyes whose gaze counts
LEAST = {
    "yaw": 1.0,
    "pitch": 1.0,
    "roll": 1.0,
    "gaze_yaw": 3.0,
    "gaze_pitch": 3.0,
}  # sd, degrees: below is no motion


def seen(mesh: FaceMesh, pictures: np.ndarray) -> np.ndarray:
    """Points float64 [f, 478, 3] px of pictures RGB uint8 [f, S, S, 3], tracked; NaN where no face
    is found.
    """
    side = pictures.shape[1]
    return watched(mesh, area(pictures, max(side, VIEW))) * (side / max(side, VIEW))


def colours(pictures: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Mean CIELAB [f, 3] inside the face oval; NaN where the points are."""
    scale = max(1, VIEW // pictures.shape[1])
    large = area(pictures, scale * pictures.shape[1])
    found = np.full((len(points), 3), np.nan)
    for index in np.flatnonzero(~np.isnan(points[:, 0, 0])):
        found[index] = face_colour(large[index], points[index] * scale)
    return found


def motion_scores(truth: np.ndarray, output: np.ndarray, fps: float) -> dict[str, float | None]:
    """Points [f, 478, 3] px of the same framing, of the truth or of the driving person and of the
    output.

    - face_found: share of the frames with a face in the truth in which the output has one too (1 -
      MKR)
    - landmarks, mouth, eyes: mean distance over the interocular distance (NME); pose_deg: mean
      angle of the rotation
      between the heads; gaze_offset_deg: angle between the neutral gazes; mouth_r, blink_r: Pearson
      correlation over time of the openness, null where the truth hardly moves: all of them
      datagen.vision.similarity.compare's
    - head_deg: mean absolute difference of yaw, pitch and roll, in degrees, mean of the three (APD,
      but in degrees and
      of FaceMesh's angles)
    - gaze_deg: mean angle between the gazes in the head, both eyes open in both, smoothed over 0.04
      s, each against
      its own neutral; gaze_error_deg: without that allowance
    - yaw_r, pitch_r, roll_r, gaze_yaw_r, gaze_pitch_r: Pearson correlations over time, null where
      the truth hardly
      moves (LEAST)
    """
    there, both = ~np.isnan(truth[:, 0, 0]), ~np.isnan((truth + output)[:, 0, 0])
    found: dict[str, float | None] = {
        "face_found": float(both.sum() / there.sum()) if there.any() else None
    }
    if both.sum() < 3:
        return found
    a, b, times = truth[both], output[both], np.flatnonzero(both) / fps
    turns = [np.rad2deg(geometry.angles(geometry.head_rotation(points))) for points in (a, b)]
    found |= compare(a, b, times) | {"head_deg": float(np.abs(turns[0] - turns[1]).mean())}
    for axis, name in enumerate(("yaw", "pitch", "roll")):
        found[f"{name}_r"] = correlation(turns[0][:, axis], turns[1][:, axis], LEAST[name])
    return found | _gaze(a, b, times)


def correlation(truth: np.ndarray, output: np.ndarray, least_sd: float) -> float | None:
    """Pearson's r over time [f]; null where the truth's sd is below `least_sd`, 0 where the output
    stands still.
    """
    if len(truth) < 3 or truth.std() < least_sd:
        return None
    if output.std() <= 1e-9:
        return 0.0
    return float(np.corrcoef(truth, output)[0, 1])


def _gaze(truth: np.ndarray, output: np.ndarray, times: np.ndarray) -> dict[str, float | None]:
    opened = open_eyes(truth, *OPEN) & open_eyes(output, *OPEN)
    names = ("gaze_error_deg", "gaze_yaw_r", "gaze_pitch_r")
    if opened.sum() < 3:
        return dict.fromkeys(names)
    a, b = (
        over_time(times[opened], eye_in_head(points)[opened], SMOOTHING_S)
        for points in (truth, output)
    )
    cosine = np.clip((geometry.direction(a) * geometry.direction(b)).sum(-1), -1, 1)
    error = float(np.rad2deg(np.arccos(cosine)).mean())
    rs = [
        correlation(np.rad2deg(a[:, axis]), np.rad2deg(b[:, axis]), LEAST[name])
        for axis, name in enumerate(("gaze_yaw", "gaze_pitch"))
    ]
    return dict(zip(names, (error, *rs), strict=True))
