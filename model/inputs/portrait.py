"""The still portrait: reads it, finds its one face, crops it square, separates the background."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from datagen.core import limits
from datagen.core.errors import UserError
from datagen.media.image import opened_picture, read_picture
from datagen.media.video import Frame
from datagen.vision import geometry
from datagen.vision.landmarks import MIN_EYES, FaceDetector, FaceMesh, find_face
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import PersonSegmenter
from model.inputs.driving import cropped, outline, square
from model.inputs.driving_video import face_points

CLEARLY = 1.5  # a face so many times larger than the next one is the one that is meant
MASKED_SIDE = 512  # px at which the person is segmented: the side of a clip


@dataclass(frozen=True)
class Portrait:
    """RGB uint8 [H, W, 3], the face's points float32 [478, 3] px, how many faces there are."""

    path: Path
    rgb: np.ndarray
    points: np.ndarray
    faces: int

    def framed(self, side: int, margin: float | None = None, antialias: bool = True) -> Framed:
        """Square around the face, `side` px."""
        height, width = self.rgb.shape[:2]
        part = square(geometry.box(self.points)[None], (width, height), margin)
        pixels = torch.from_numpy(self.rgb).permute(2, 0, 1)[None]
        large, picture = (
            cropped(pixels, part, size, antialias)[0].permute(1, 2, 0).contiguous().numpy()
            for size in (max(side, MASKED_SIDE), side)
        )
        points = part.crop_points(self.points[:, :2], 1)
        return Framed(picture, _background(large, points * len(large), side), outline(points))


@dataclass(frozen=True)
class Framed:
    """What a pipeline takes: RGB uint8 [S, S, 3], background bool [S, S]; the face's outline xyxy
    in shares of S.
    """

    picture: np.ndarray
    background: np.ndarray
    outline: np.ndarray


def read(path: Path) -> Portrait:
    """The picture and its face. UserError for no face, or several of about the same size."""
    rgb = _picture(path)
    boxes = FaceDetector()(rgb)[:, :4]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    order = np.argsort(-sides)
    if len(boxes) > 1 and sides[order[0]] < CLEARLY * sides[order[1]]:
        raise UserError(
            f"{path} shows {len(boxes)} faces of about the same size: a portrait of one "
            "person is expected, so crop it "
            "to the face that is to move."
        )
    height, width = rgb.shape[:2]
    # a face that fills the picture is found by its points alone
    found = (
        face_points(FaceMesh(), Frame(0.0, rgb), boxes[order[0]], (width, height))
        if len(boxes)
        else find_face(rgb)
    )
    if found is None:
        raise UserError(
            f"{path} shows no face that can be found: a portrait of one person from the "
            "front is expected."
        )
    eyes = float(geometry.interocular(found))
    if eyes < MIN_EYES:
        raise UserError(
            f"the face in {path} is too small, {eyes:.0f} px between the eyes: at least "
            f"{MIN_EYES} are expected."
        )
    return Portrait(path, rgb, found, max(len(boxes), 1))


def _picture(path: Path) -> np.ndarray:
    """RGB uint8 [H, W, 3], upright, transparency on white, scaled down if it is large."""
    if not path.exists():
        raise UserError(f"there is no portrait {path}: name a picture with --reference.")
    try:
        return read_picture(_of_eight_bits(path))
    except Image.DecompressionBombError:
        raise UserError(
            f"{path} has more than {limits.MAX_STILL} pixels: make it smaller."
        ) from None
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's ways to say "no picture"
        why = str(error).splitlines()[0]
        raise UserError(
            f"{path} is no picture that can be read ({why}): a PNG or JPEG file is expected."
        ) from None


def _of_eight_bits(path: Path) -> Any:
    """The path, or for 16-bit grey a converted file in memory: Pillow would clip it at 255."""
    with opened_picture(path) as opened:
        if not opened.mode.startswith("I"):
            return path
        levels = np.clip(np.asarray(opened) / 257, 0, 255)
        small, exif = Image.fromarray(levels.round().astype(np.uint8)), opened.getexif()
    file = io.BytesIO()
    small.save(file, "PNG", exif=exif)
    return file


def _background(rgb: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    """bool [side, side]: neither person nor face, segmented as for the masks of the shards."""
    person = PersonSegmenter()(rgb) | face_polygon(rgb.shape, points)
    return cv2.resize(person.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) < 0.5
