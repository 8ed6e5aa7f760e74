"""The paper's rule for "large eye movement", as a metric beside ours: for comparison only, nothing
should select by it.

    theta_t = (90 / pi) * arctan(sin h_t * cos v_t / sin v_t),
        v_t the pitch and h_t the yaw from the camera
    kept iff Var_t(max(theta_{t-1}, theta_t, theta_{t+1})) > 200
        (megactor, data_processing/5.filter_eye.py)

What is wrong with it: theta is half the *direction* in the picture in which the eyes look; how far
they look cancels. It flips between -45 and 45 degrees wherever v changes its sign, so noise about
the lens counts as large movement and a stare at the lens is kept, while wide sweeps well below it
are not. The running maximum makes left and right different. Every tenth frame of any frame rate, 32
at most, is 11 to 13 s at 25 to 30 fps. A turn of the head counts as gaze. One frame without a face
drops the clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STRIDE, MOST = 10, 32  # frames
BOUND = 200.0  # degrees squared


def theta(gaze: np.ndarray) -> np.ndarray:
    """Degrees within -45 to 45 [...], of gaze (yaw, pitch) radians from the camera [..., 2]; NaN at
    the lens itself.
    """
    yaw, pitch = gaze[..., 0], gaze[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 90 / np.pi * np.arctan(np.sin(yaw) * np.cos(pitch) / np.sin(pitch))


def variance(gaze: np.ndarray) -> np.ndarray:
    """Degrees squared [...], of the sampled gaze (yaw, pitch) radians [..., T, 2]."""
    from scipy.ndimage import maximum_filter1d

    return np.var(maximum_filter1d(theta(gaze), 3, axis=-1, mode="reflect"), axis=-1)


def statistic(gaze: np.ndarray) -> dict[str, Any]:
    """megactor_variance (null without a face in every sampled frame) and megactor_keeps (1 or 0, as
    rules want numbers) of a clip's gaze from the camera [T, 2], NaN where there is no face.
    """
    sampled = gaze[::STRIDE][:MOST]
    whole = len(sampled) > 0 and not np.isnan(theta(sampled)).any()
    value = float(variance(sampled)) if whole else None
    return {
        "megactor_variance": None if value is None else round(value, 2),
        "megactor_keeps": int(value is not None and value > BOUND),
    }
