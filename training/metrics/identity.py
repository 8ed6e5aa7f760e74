"""Is it the same person? By a recogniser where its weights exist, and by shape and colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from datagen.core.files import file_sha256
from datagen.vision.geometry import EYE_CORNERS
from datagen.vision.identity import FaceRecogniser, distance
from datagen.vision.similarity import COLOUR_UNIT, SHAPE_UNIT, shape_change

SIDE = 112  # px of the recogniser's pictures
# ArcFace's places of the eyes, the tip of the nose and the corners of the mouth, px
# (insightface.utils.face_align)
PLACES = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float64,
)
NOSE, MOUTH = 1, (61, 291)
FILE = Path(".insightface") / "models" / "buffalo_l" / "w600k_r50.onnx"
EVERY = 5  # frames between those that the recogniser looks at
Embed = Callable[[np.ndarray], np.ndarray]  # RGB uint8 [n, 112, 112, 3] -> [n, d]


def likeness(truth: np.ndarray, output: np.ndarray, colour: float) -> dict[str, float]:
    """shape: mean |log ratio| of face proportions; colour: CIELAB distance; shape_and_colour: 1 is
    the same by both.

    As datagen.agree.mesh, for points [f, 478, 3] px in which both show a face.
    """
    shape = shape_change(truth, output)
    return {
        "shape": shape,
        "colour": colour,
        "shape_and_colour": float(np.exp(-(shape / SHAPE_UNIT + colour / COLOUR_UNIT) / 2)),
    }


def descriptors(
    pictures: np.ndarray, points: np.ndarray, recogniser: FaceRecogniser
) -> dict[int, np.ndarray]:
    """Frame -> descriptor [N] of every EVERYth frame with a face: RGB uint8 [f, S, S, 3], points
    [f, 478, 2+] px.
    """
    return {
        index: recogniser.describe(pictures[index], points[index])
        for index in range(0, len(pictures), EVERY)
        if not np.isnan(points[index, 0, 0])
    }


def identity_distance(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> float | None:
    """Mean distance of descriptors at the same moments; a single one is compared with all."""
    if len(other) == 1:
        other = dict.fromkeys(one, next(iter(other.values())))
    both = sorted(one.keys() & other.keys())
    return float(np.mean([distance(one[i], other[i]) for i in both])) if both else None


class Recogniser:
    """csim: cosine of ArcFace's embeddings (Deng et al. 2019) after alignment by five points."""

    def __init__(self, embed: Embed, metadata: dict[str, str]):
        self.embed, self.metadata = embed, metadata

    @classmethod
    def here(cls, home: Path | None = None) -> Recogniser | str:
        """insightface's buffalo_l, whose weights are for non-commercial research; or why there is
        none.
        """
        path = (home or Path.home()) / FILE
        if not path.is_file():
            return (
                f"no {FILE.name} of insightface's buffalo_l in the home folder's "
                f"{FILE.parent}: put it there for csim"
            )
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def embed(crops: np.ndarray) -> np.ndarray:
            pixels = (crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
            return np.concatenate(
                [session.run(None, {name: picture[None]})[0] for picture in pixels]
            )

        return cls(embed, {"file": FILE.name, "sha256": file_sha256(path)})

    def csim(
        self, one: np.ndarray, points: np.ndarray, other: np.ndarray, others: np.ndarray
    ) -> float | None:
        """Of every EVERYth frame with a face: pictures RGB uint8 [f, S, S, 3] and one other, or as
        many; mean.
        """
        a, b = self._codes(one, points), self._codes(other, others)
        if len(b) == 1:
            b = {index: next(iter(b.values())) for index in a}
        both = sorted(a.keys() & b.keys())
        return float(np.mean([a[i] @ b[i] for i in both])) if both else None

    def _codes(self, pictures: np.ndarray, points: np.ndarray) -> dict[int, np.ndarray]:
        """Frame: unit vector."""
        shown = [i for i in range(0, len(pictures), EVERY) if not np.isnan(points[i, 0, 0])]
        if not shown:
            return {}
        codes = self.embed(np.stack([aligned(pictures[i], points[i]) for i in shown]))
        return dict(zip(shown, codes / np.linalg.norm(codes, axis=1, keepdims=True), strict=True))


def aligned(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """RGB uint8 [112, 112, 3], turned, scaled and shifted (least squares) so that the five points
    come to PLACES.
    """
    eyes = [points[list(EYE_CORNERS[side]), :2].mean(0) for side in ("right", "left")]
    five = np.stack([*eyes, points[NOSE, :2], *(points[corner, :2] for corner in MOUTH)]).astype(
        np.float64
    )
    here, there = five - five.mean(0), PLACES - PLACES.mean(0)
    a, b = (here * there).sum(), (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum()
    turn = np.array([[a, -b], [b, a]]) / (here**2).sum()
    matrix = np.column_stack([turn, PLACES.mean(0) - turn @ five.mean(0)])
    return cv2.warpAffine(rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA)
