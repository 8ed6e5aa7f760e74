"""What every backend of faces measures of a clip's face."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datagen.core.json import JsonObject
from datagen.core.spread import evenly
from datagen.media import video
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.vision.fingerprint import fingerprint
from datagen.vision.identity import FaceRecogniser, encoded
from datagen.vision.regions import face_colour

SEEN = 3  # frames that are looked at closely


def measure(faces: Faces) -> JsonObject:
    """coverage (share of frames with a face), face_side px (median), and how far pose, mouth and
    blink range (5th to 95th percentile).
    """
    points = faces.landmarks[faces.found]
    sides = (faces.boxes[faces.found, 2:] - faces.boxes[faces.found, :2]).max(-1)
    yaw, pitch, roll = np.rad2deg(geometry.angles(geometry.head_rotation(points))).T
    return {
        "frames": len(faces.found),
        "coverage": round(float(faces.found.mean()), 4),
        "face_side": round(float(np.median(sides)), 1),
        "yaw": _range(yaw),
        "pitch": _range(pitch),
        "roll": _range(roll),
        "mouth": _range(geometry.mouth_openness(points), 3),
        "eyes": _range(geometry.eye_openness(points).mean(-1), 3),
    }


def _range(values: np.ndarray, digits: int = 1) -> list[float]:
    """[5th percentile, median, 95th percentile]"""
    return [round(float(v), digits) for v in np.percentile(values, [5, 50, 95])]


def seen_in(path: Path, faces: Faces, tells_apart: FaceRecogniser, count: int = SEEN) -> JsonObject:
    """From a few frames spread over those that show the face: its mean colour in CIELAB, its codes
    (near-duplicates), and who it is (`datagen.vision.identity.encoded`, the mean descriptor).
    """
    chosen = evenly(count, np.flatnonzero(faces.found))
    seen = list(zip(video.at_indices(path, chosen), faces.landmarks[chosen], strict=True))
    skin = np.mean([face_colour(rgb, points) for rgb, points in seen], axis=0)
    who = np.mean([tells_apart.describe(rgb, points) for rgb, points in seen], axis=0)
    return {
        "skin": [round(float(value), 1) for value in skin],
        "fingerprints": [fingerprint(rgb, points) for rgb, points in seen],
        "identity": encoded(who),
    }
