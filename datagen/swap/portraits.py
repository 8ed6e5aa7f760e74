"""Which pictures can give a face, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datagen.media.image import MAX_SIDE, read_picture
from datagen.vision import geometry as g
from datagen.vision.landmarks import FaceDetector, find_face, scaled
from datagen.vision.regions import face_polygon

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
EYES = 100.0  # px between the eyes, at which a face is looked at
BACKGROUND = 0.25  # of the largest face's side: a smaller one is somebody passing by
LEAST_CHROMA = 6.0  # CIELAB: faces have 13 and more, marble 2, a pencil drawing 0
MOST_CONTRAST = 14.0  # of lines over that of skin: faces have up to 11, drawings 19
NEAR = 5  # px around a pixel that its brightness is compared with


class NoPortrait(Exception):
    """Says in a few words why a picture gives no face."""


def pictures_of(donors: Sequence[str]) -> list[Path]:
    """The pictures of folders, by name, and files. ValueError where something is missing."""
    found: list[Path] = []
    for given in map(Path, donors):
        if not given.exists():
            raise ValueError(
                f"--donors: {given} does not exist: give folders with portraits, or portraits "
                f"({kinds()})"
            )
        if given.is_dir():
            inside = sorted(path for path in given.iterdir() if path.is_file())
            found += [path for path in inside if not path.name.startswith(".")]
        else:
            found.append(given)
    if not any(path.suffix.lower() in SUFFIXES for path in found):
        where = ", ".join(map(str, donors))
        raise ValueError(f"--donors: {where} holds no picture: put portraits there ({kinds()})")
    return list(dict.fromkeys(found))


def portrait(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 [H, W, 3], no side above MAX_SIDE, and face points [478, 3] px. NoPortrait where
    there is no one living face.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise NoPortrait(f"is no picture ({kinds()})")
    try:
        rgb = read_picture(path)
    except Image.DecompressionBombError as error:
        raise NoPortrait(f"is too large: {error}") from None
    except (OSError, ValueError, SyntaxError):  # Pillow's ways to say "no picture"
        raise NoPortrait("cannot be read") from None
    points = find_face(rgb)
    if points is None:
        raise NoPortrait(f"shows no face (looked at with at most {MAX_SIDE} px a side)")
    if (count := _faces(rgb)) > 1:
        raise NoPortrait(f"shows {count} faces: cut out one")
    face = _face(rgb, points)
    if _chroma(face) < LEAST_CHROMA:
        raise NoPortrait("has no colour: a statue, a drawing, or black and white")
    if _contrast(face) > MOST_CONTRAST:
        raise NoPortrait("is drawn: lines between even areas")
    return rgb, points


def kinds() -> str:
    return ", ".join(suffix[1:] for suffix in SUFFIXES)


def _faces(rgb: np.ndarray) -> int:
    """How many faces there are, small ones in the background aside."""
    boxes = FaceDetector()(rgb)
    sides = (boxes[:, 2:4] - boxes[:, :2]).max(1) if len(boxes) else np.empty(0)
    return int((sides >= BACKGROUND * sides.max(initial=0)).sum())


def _face(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The pixels inside the face with their surroundings' brightness, float32 [N, 4]: CIELAB, and
    the difference of lightness from its neighbourhood. At one size for all.
    """
    scale = EYES / float(g.interocular(points))
    x0, y0, x1, y1 = g.box(points).tolist()
    left, top = max(int(x0), 0), max(int(y0), 0)
    cut = scaled(rgb[top : int(y1) + 1, left : int(x1) + 1], scale)
    inside = face_polygon(cut.shape, (points[:, :2] - [left, top]) * scale)
    inside = cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    lab = cv2.cvtColor(cut, cv2.COLOR_RGB2LAB).astype(np.float32)
    detail = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = np.abs(detail - cv2.blur(detail, (NEAR, NEAR)))
    return np.column_stack([lab[inside] - [0, 128, 128], detail[inside]])


def _chroma(face: np.ndarray) -> float:
    return float(np.median(np.hypot(face[:, 1], face[:, 2])))


def _contrast(face: np.ndarray) -> float:
    """How much the strongest lines stand out from the usual grain."""
    return float(np.percentile(face[:, 3], 95) / max(float(np.median(face[:, 3])), 0.25))
