"""Landmarks and gaze drawn on the clip: a video to look at beside the numbers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from datagen.core import npz as arrays
from datagen.media import video
from datagen.vision import geometry

GREEN, YELLOW = (60, 220, 90), (255, 210, 0)
ARROW = 60  # px for one radian of gaze


def preview(clip: IO[bytes], faces: Path, target: Path) -> None:
    """Write `target` (mp4): the clip with the points of a faces.npz and, where known, the gaze as
    an arrow per eye.
    """
    found = arrays.load(faces)
    points, gaze = found["landmarks"][..., :2], found.get("gaze")
    part = target.with_name(f".{target.name}.part.mp4")
    try:
        with tempfile.NamedTemporaryFile(suffix=".mp4") as local:
            shutil.copyfileobj(clip, local)
            local.flush()
            with video.Writer(part, round(video.probe(local.name).fps)) as writer:
                for index, rgb in enumerate(video.frames(local.name)):
                    writer.write(draw(rgb, points[index], None if gaze is None else gaze[index]))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def draw(rgb: np.ndarray, points: np.ndarray, gaze: np.ndarray | None) -> np.ndarray:
    """RGB uint8 [H, W, 3] with points [478, 2] px and (yaw, pitch) radians drawn in; NaN is left
    out.
    """
    picture = rgb.copy()
    if np.isnan(points).any():
        return picture
    for x, y in np.round(points).astype(int):
        cv2.circle(picture, (int(x), int(y)), 1, GREEN, -1)
    if gaze is not None and not np.isnan(gaze).any():
        arrow = geometry.direction(gaze)[:2] * ARROW
        for centre in (geometry.RIGHT_IRIS, geometry.LEFT_IRIS):
            start, end = points[centre], points[centre] + arrow
            line = [np.round(point).astype(int).tolist() for point in (start, end)]
            cv2.arrowedLine(picture, line[0], line[1], YELLOW, 2, cv2.LINE_AA)
    return picture
