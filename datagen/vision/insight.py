"""insightface behind one small interface: faces by SCRFD, identities by ArcFace. It alone knows
BGR.

Its models are for non-commercial research only. Pictures are RGB uint8 [H, W, 3].
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from datagen.vision import geometry
from datagen.vision.track import overlap
from datagen.weights.place import sha256_of

DETECTOR, RECOGNISER = "det_10g.onnx", "w600k_r50.onnx"
LOOKED_AT = (640, 640)  # px: pictures are scaled to fit
SAME_FACE = 0.3  # least intersection over union of a detected face and the face's points
_NOSE, _MOUTH = 4, (61, 291)


@dataclass(frozen=True)
class Seen:
    """A detected face: box float32 [4] xyxy px, five points float32 [5, 2] px, score 0 to 1."""

    box: np.ndarray
    five: np.ndarray
    score: float


class Insight:
    """The detector and the recogniser of a folder. UserError where they cannot be had."""

    def __init__(self, folder: Path, gpus: float = 0, confidence: float = 0.5):
        options = session_options(gpus)
        with quiet():
            self._models = _analysis(folder, options)
            self._models.prepare(
                ctx_id=0 if gpus else -1, det_thresh=confidence, det_size=LOOKED_AT
            )

    def find(self, rgb: np.ndarray) -> list[Seen]:
        """All faces, the surest first."""
        with quiet():
            boxes, points = self._models.det_model.detect(bgr(rgb))
        found = zip(boxes, points, strict=True) if points is not None else ()
        return [
            Seen(box[:4].astype(np.float32), five.astype(np.float32), float(box[4]))
            for box, five in found
        ]

    def identity(self, rgb: np.ndarray, five: np.ndarray) -> Any:
        """insightface's Face with these five points and its embedding float32 [512]
        (`normed_embedding`: length 1).
        """
        from insightface.app.common import Face

        face = Face(kps=five.astype(np.float32))
        with quiet():
            self._models.models["recognition"].get(bgr(rgb), face)
        return face


def nearest(faces: Sequence[Seen], box: np.ndarray) -> Seen | None:
    """The face that covers most of a box xyxy px, or None where none covers enough."""
    if not faces:
        return None
    shared = overlap(np.stack([face.box for face in faces]), box[None])[:, 0]
    return faces[int(shared.argmax())] if shared.max() >= SAME_FACE else None


def five_points(points: np.ndarray) -> np.ndarray:
    """Both eyes (the person's right one first), nose and corners of the mouth, of 478 points [478,
    2+]: [5, 2] px.
    """
    eyes = [points[list(geometry.EYE_CORNERS[side]), :2].mean(0) for side in ("right", "left")]
    return np.stack([*eyes, points[_NOSE, :2], *points[list(_MOUTH), :2]]).astype(np.float32)


def session_options(gpus: float) -> JsonObject:
    """What every ONNX session is made with: one thread on the CPU, whatever the machine; or
    CUDA.
    """
    onnxruntime = needed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    there = onnxruntime.get_available_providers()
    if gpus and "CUDAExecutionProvider" not in there:
        problem = (
            f"onnxruntime {onnxruntime.__version__} offers {' and '.join(there)}, a GPU "
            "needs CUDAExecutionProvider"
        )
        raise UserError(
            f"{problem}: `pip uninstall onnxruntime`, then "
            "`pip install onnxruntime-gpu`; or gpus=0."
        )
    providers = ["CUDAExecutionProvider"] if gpus else []
    return {"providers": [*providers, "CPUExecutionProvider"], "sess_options": options}


def needed(package: str) -> Any:
    """An imported package, or one sentence on how to get it."""
    import importlib

    try:
        with quiet():
            return importlib.import_module(package)
    except ImportError as error:
        problem = f"the package {package} cannot be imported ({' '.join(str(error).split())})"
        raise UserError(f"{problem}: `pip install insightface onnxruntime`.") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """insightface prints shapes and paths, and uses what scikit-image is about to drop: nothing a
    user could mend.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def identity_of(folder: Path) -> str:
    """sha256 of the two files that are used."""
    files = [sha256_of(folder / name) for name in (DETECTOR, RECOGNISER)]
    return hashlib.sha256("".join(files).encode()).hexdigest()


def bgr(rgb: np.ndarray) -> np.ndarray:
    """RGB <-> BGR, contiguous."""
    return np.ascontiguousarray(rgb[..., ::-1])


def _analysis(folder: Path, options: JsonObject) -> Any:
    """FaceAnalysis with det_10g and w600k_r50."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder: unpack buffalo_l.zip, and name the folder with "
            f"{DETECTOR} in it."
        )
    missing = [name for name in (DETECTOR, RECOGNISER) if not (folder / name).is_file()]
    if missing:
        others = (
            ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix == ".onnx"))
            or "no .onnx file"
        )
        problem = f"{folder} holds {others} and not {' and '.join(missing)}"
        raise UserError(
            f"{problem}: only buffalo_l's detector and recogniser will do, unpack "
            "buffalo_l.zip there."
        )
    analysis = needed("insightface.app").FaceAnalysis
    try:
        made = analysis(name=str(folder), allowed_modules=["detection", "recognition"], **options)
    except Exception as error:  # ONNX Runtime and insightface have many
        problem = f"insightface cannot load {folder} ({first_line(error)})"
        raise UserError(f"{problem}: unpack buffalo_l.zip there again.") from None
    for task, name in (("detection", DETECTOR), ("recognition", RECOGNISER)):
        taken = Path(getattr(made.models.get(task), "model_file", "nothing")).name
        if taken != name:
            raise UserError(
                f"{folder}: insightface takes {taken} for {task}, {name} is expected: "
                f"remove {taken} there."
            )
    return made


def first_line(error: BaseException) -> str:
    """Of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
