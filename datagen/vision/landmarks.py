"""MediaPipe behind one small interface: face boxes and the 478 points of one face."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

import cv2
import numpy as np

from datagen.vision import geometry as g
from datagen.vision.geometry import POINTS


class FaceMesh:
    """The 478 points of the foremost face, tracked from frame to frame.  (MediaPipe FaceMesh with
    irises)
    """

    def __init__(self, confidence: float = 0.5):
        with _quiet():
            from mediapipe.python.solutions.face_mesh import FaceMesh as Mesh

            self._mesh = Mesh(
                max_num_faces=1,
                refine_landmarks=True,
                min_detection_confidence=confidence,
                min_tracking_confidence=confidence,
            )

    def reset(self) -> None:
        """Forget the last frame; call it between clips, so that a clip's result depends on that
        clip alone.
        """
        with _quiet():
            self._mesh.reset()

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        """Points float32 [478, 3] in px (x right, y down, z away) of an RGB uint8 [H, W, 3] frame,
        or None.
        """
        with _quiet():
            faces = self._mesh.process(rgb).multi_face_landmarks
        if not faces:
            return None
        height, width = rgb.shape[:2]
        flat = np.array([(p.x, p.y, p.z) for p in faces[0].landmark], np.float32)
        assert flat.shape == (POINTS, 3), flat.shape
        return flat * np.array([width, height, width], np.float32)


class FaceDetector:
    """Boxes of all faces, also small ones.  (MediaPipe full range, about 1/16 of the picture's side
    and up)
    """

    def __init__(self, confidence: float = 0.5):
        with _quiet():
            from mediapipe.python.solutions.face_detection import FaceDetection

            self._detector = FaceDetection(model_selection=1, min_detection_confidence=confidence)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """[N, 5] float32: box xyxy in px and score, of an RGB uint8 [H, W, 3] frame; N may be 0."""
        with _quiet():
            faces = self._detector.process(rgb).detections or []
        height, width = rgb.shape[:2]
        rows = []
        for face in faces:
            b = face.location_data.relative_bounding_box
            rows.append((b.xmin, b.ymin, b.xmin + b.width, b.ymin + b.height, face.score[0]))
        scale = np.array([width, height, width, height, 1], np.float32)
        return np.array(rows, np.float32).reshape(-1, 5) * scale


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MediaPipe's generated code warns about protobuf's own API, which is nothing a user could
    mend.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


MIN_EYES = 24  # px between the eyes; smaller faces have nothing to give


def find_face(rgb: np.ndarray) -> np.ndarray | None:
    """Points float32 [478, 3] px of the foremost face, also a small one; None where there is
    none.
    """
    mesh = FaceMesh()
    points = mesh(rgb)
    if points is None:
        points = _find_in_box(rgb, mesh)
    return points if points is not None and g.interocular(points) >= MIN_EYES else None


def _find_in_box(rgb: np.ndarray, mesh: FaceMesh) -> np.ndarray | None:
    """FaceMesh looks for near faces only: show it the largest detected face, enlarged."""
    found = FaceDetector()(rgb)
    if not len(found):
        return None
    x0, y0, x1, y1 = max(found[:, :4].tolist(), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    half = max(x1 - x0, y1 - y0)
    left, top = max(int((x0 + x1) / 2 - half), 0), max(int((y0 + y1) / 2 - half), 0)
    crop = rgb[top : int((y0 + y1) / 2 + half), left : int((x0 + x1) / 2 + half)]
    scale = 512 / max(crop.shape[:2])
    mesh.reset()
    points = mesh(scaled(crop, scale))
    return (
        None
        if points is None
        else points / np.float32(scale) + np.array([left, top, 0], np.float32)
    )


def scaled(rgb: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(
        rgb,
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
    )
