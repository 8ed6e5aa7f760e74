"""MediaPipe behind one small interface: face boxes and the 478 points of one face."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

import numpy as np

from datagen.geometry import POINTS


class FaceMesh:
    """The 478 points of the foremost face, tracked from frame to frame.  (MediaPipe FaceMesh with irises)"""

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
        """Forget the last frame; call it between clips, so that a clip's result depends on that clip alone."""
        with _quiet():
            self._mesh.reset()

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        """Points float32 [478, 3] in px (x right, y down, z away) of an RGB uint8 [H, W, 3] frame, or None."""
        with _quiet():
            faces = self._mesh.process(rgb).multi_face_landmarks
        if not faces:
            return None
        height, width = rgb.shape[:2]
        flat = np.array([(p.x, p.y, p.z) for p in faces[0].landmark], np.float32)
        assert flat.shape == (POINTS, 3), flat.shape
        return flat * np.array([width, height, width], np.float32)


class FaceDetector:
    """Boxes of all faces, also small ones.  (MediaPipe full range, about 1/16 of the picture's side and up)"""

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
    """MediaPipe's generated code warns about protobuf's own API, which is nothing a user could mend."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
