"""Whose face is it? Descriptors that a face recogniser gives, and how far apart they lie.

dlib's ResNet maps an aligned face to 128 numbers; faces of one person mostly lie nearer than 0.6 to
each other (Euclidean). Its weights (CC0) come in the package `face-recognition-models`, of which
this one file is read and nothing is imported.
"""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SAME_PERSON = 0.6  # distance below which two faces are likely one person's
NUMBERS = 128
SIDE = 150  # px of the aligned face
PADDING = 0.25  # of the template's side, around it
WEIGHTS = "models/dlib_face_recognition_resnet_model_v1.dat"
# eye corners (left outer, inner, right outer, inner), base of the nose: in dlib's template, ours
TEMPLATE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
FIVE = (263, 362, 33, 133, 2)


class DlibDescriptor:
    """dlib's face descriptor, aligned by the 478 face points. The weights are read on first use."""

    def describe(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        """float32 [128] of an RGB uint8 [H, W, 3] frame and its points px [478, 2+]."""
        return np.array(self._network.compute_face_descriptor(aligned(rgb, points)), np.float32)

    @cached_property
    def _network(self) -> Any:
        import dlib

        return dlib.face_recognition_model_v1(str(weights_path()))


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distance of descriptors [..., 128] -> [...]."""
    return np.linalg.norm(np.subtract(one, other), axis=-1)


def aligned(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face upright as dlib's network wants it, RGB uint8 [150, 150, 3]."""
    wanted = SIDE * (TEMPLATE + PADDING) / (1 + 2 * PADDING)
    turn = similarity(points[list(FIVE), :2].astype(np.float64), wanted)
    scale = float(np.hypot(*turn[0, :2]))
    if scale < 0.5:  # a pyramid's step first, so that nothing aliases
        rgb = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return aligned(rgb, points[:, :2] / 2 - 0.25)
    return cv2.warpAffine(rgb, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def similarity(source: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The turn, scale and shift [2, 3] that best lead points [N, 2] to others. (Umeyama)"""
    here, there = source - source.mean(0), wanted - wanted.mean(0)
    a = (here * there).sum() / (here**2).sum()
    b = (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum() / (here**2).sum()
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, wanted.mean(0) - turn @ source.mean(0)])


def weights_path() -> Path:
    """The weights' file. FileNotFoundError where the package is not installed."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "dlib's face descriptor comes in the package face-recognition-models"
        )
    return Path(spec.origin).parent / WEIGHTS
