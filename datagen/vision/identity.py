"""Whose face is it? Descriptors that a face recogniser gives, and how far apart they lie.

A descriptor is a vector; faces of one person lie nearer to each other than those of two. Distances
are Euclidean.
"""

from __future__ import annotations

import base64
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import cv2
import numpy as np

from datagen.core.errors import UserError
from datagen.weights.place import place, refuse_missing, sha256_of
from datagen.weights.registry import find

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from datagen.vision.insight import Insight

RECOGNISERS = ("dlib", "insightface")
WEIGHTS = "models/dlib_face_recognition_resnet_model_v1.dat"
SIDE = 150  # px of the face that dlib's network is shown
PADDING = 0.25  # of the template's side, around it
# eye corners (left outer, inner, right outer, inner), base of the nose: in dlib's template of five
# points, and which of ours they are
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
INSTALL = "`pip install face-recognition-models==0.3.0`"
STEP = 1 / 256  # to which the numbers of a code are rounded


class FaceRecogniser(Protocol):
    """Tells faces apart."""

    name: ClassVar[str]
    same_person: ClassVar[float]  # distance below which two faces are likely one person's
    another: ClassVar[float]  # usual distance of two people

    def describe(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        """float32 [N] of the face in an RGB uint8 [H, W, 3] frame with points [478, 2+] px."""

    def weights(self) -> dict[str, str]:
        """Name in the registry -> sha256 of its file, as stages say it."""

    def check(self) -> None:
        """UserError where the weights are missing."""


@dataclass(frozen=True)
class DlibDescriptor:
    """dlib's ResNet, 128 numbers: 99.4 % on LFW at its threshold. Its weights (CC0) are one file of
    the package `face-recognition-models`, of which nothing is imported.
    """

    name: ClassVar[str] = "dlib"
    same_person: ClassVar[float] = 0.6
    another: ClassVar[float] = 0.8

    def describe(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        picture = aligned(rgb, points).astype(np.float32).transpose(2, 0, 1)[None]
        found: np.ndarray = self._session.run(None, {"picture": picture})[0][0]
        return found

    def weights(self) -> dict[str, str]:
        return {"dlib_resnet": sha256_of(weights_path())}

    def check(self) -> None:
        path = weights_path()
        known = find("dlib_resnet").sha256
        if known and sha256_of(path) not in known.values():
            raise UserError(f"{path} is not the file that it should be: {INSTALL} again.")

    @cached_property
    def _session(self) -> InferenceSession:
        from onnxruntime import InferenceSession

        from datagen.vision.dlib_resnet import model
        from datagen.vision.insight import session_options

        return InferenceSession(model(weights_path()), **session_options(gpus=0))


@dataclass(frozen=True)
class InsightDescriptor:
    """insightface's ArcFace of buffalo_l, 512 numbers of length 1; non-commercial research only."""

    name: ClassVar[str] = "insightface"
    same_person: ClassVar[float] = 1.14  # cosine 0.35
    another: ClassVar[float] = 1.4  # cosine 0.02

    folder: Path

    def describe(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        from datagen.vision.insight import five_points

        found: np.ndarray = self._models.identity(rgb, five_points(points)).normed_embedding
        return found

    def weights(self) -> dict[str, str]:
        from datagen.vision.insight import identity_of

        return {"buffalo_l": identity_of(self.folder)}

    def check(self) -> None:
        refuse_missing("buffalo_l", self.folder, "recogniser=insightface")

    @cached_property
    def _models(self) -> Insight:
        from datagen.vision.insight import Insight

        return Insight(self.folder)


def recogniser(name: str) -> FaceRecogniser:
    """ "dlib", or "insightface" with the registry's place of its weights. UserError for another."""
    if name == "dlib":
        return DlibDescriptor()
    if name == "insightface":
        return InsightDescriptor(place("buffalo_l"))
    raise UserError(f"recogniser is {name!r}, {' or '.join(RECOGNISERS)} is expected")


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distance of descriptors [..., N] -> [...]."""
    return np.linalg.norm(np.subtract(one, other), axis=-1)


def encoded(descriptor: np.ndarray) -> str:
    """A descriptor [N] of numbers in -0.5..0.5 as text of 4/3 N characters: rounded, each as good
    as 0.002.
    """
    steps = np.clip(np.round(descriptor / STEP), -127, 127).astype(np.int8)
    return base64.b64encode(steps.tobytes()).decode()


def decoded(text: str) -> np.ndarray:
    """What `encoded` made text of, float32 [N]."""
    return np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32) * np.float32(STEP)


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
    """The file of dlib's weights. UserError where the package is not installed."""
    spec = importlib.util.find_spec("face_recognition_models")
    path = Path(spec.origin).parent / WEIGHTS if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(f"dlib's face descriptor is missing: {INSTALL}.")
    return path
