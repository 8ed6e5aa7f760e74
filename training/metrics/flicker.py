"""Flicker: changes from frame to frame that are not motion."""

from __future__ import annotations

import cv2
import numpy as np

FLOW_SIDE = 256  # px: the flow is found in pictures enlarged to this side, if they are smaller


def flicker(pictures: np.ndarray) -> float:
    """Mean |warp(frame t) - frame t+1| over frames and pixels, RGB in [0, 1], of pictures uint8 [f,
    S, S, 3].

    The warp follows the motion: DIS optical flow (Kroeger et al. 2016; OpenCV's medium preset) from
    frame t+1 to t. The warping error of Lai et al. 2018 without its occlusion mask. 0 for a still
    picture; compare with the truth's.
    """
    if len(pictures) < 2:
        return 0.0
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    large = [_large(rgb) for rgb in pictures]
    return float(np.mean([_step(flow, a, b) for a, b in zip(large[:-1], large[1:], strict=True)]))


def _large(rgb: np.ndarray) -> np.ndarray:
    side = max(FLOW_SIDE, len(rgb))
    return (
        rgb if len(rgb) == side else cv2.resize(rgb, (side, side), interpolation=cv2.INTER_LINEAR)
    )


def _step(flow: cv2.DISOpticalFlow, before: np.ndarray, after: np.ndarray) -> float:
    back = flow.calc(
        cv2.cvtColor(after, cv2.COLOR_RGB2GRAY), cv2.cvtColor(before, cv2.COLOR_RGB2GRAY), None
    )
    y, x = np.mgrid[: len(after), : after.shape[1]].astype(np.float32)
    warped = cv2.remap(
        before, np.dstack([x, y]) + back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return float(cv2.absdiff(warped, after).mean() / 255)
