"""The square that follows a face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.media import video
from datagen.vision.track import Track, smooth

WATCHED_SIDE = 640  # px; faces are looked for in frames of this size


NEARLY_ALL = 0.9  # of the largest square: then the largest is taken


STEADY = 0.12  # s: over which a face's box is smoothed


LIFT = 0.08  # of the face's side: a face box ends at the brows, a head does not


@dataclass(frozen=True)
class Crop:
    """A square of constant side whose centre [N, 2] moves over times [N] s, in px of frames of
    (width, height).
    """

    side: int
    times: np.ndarray
    centres: np.ndarray
    frame: tuple[int, int]

    def cut(self, frame: video.Frame, size: int) -> np.ndarray:
        """The square to a fraction of a pixel, RGB uint8 [size, size, 3], of a frame that may be
        scaled down.
        """
        scale = max(frame.rgb.shape[:2]) / max(self.frame)
        centre = [
            float(np.interp(frame.time, self.times, axis)) * scale - 0.5 for axis in self.centres.T
        ]
        side = self.side * scale
        side = size if abs(side - size) < 1 else round(side)
        square = cv2.getRectSubPix(frame.rgb, (side, side), centre)
        if side == size:
            return square
        return cv2.resize(
            square,
            (size, size),
            interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LANCZOS4,
        )


def crop_of(track: Track, size: tuple[int, int], margin: float) -> Crop:
    """The square around a face in frames of `size` (width, height) px: at rest if the face stays in
    it, else following.

    It never leaves the frame unless the face is larger than the frame's shorter side.
    """
    limit, face = min(size), float(track.sides.max())
    side = margin * float(np.percentile(track.sides, 75))
    side = limit if side >= NEARLY_ALL * limit else round(side)
    side = max(side, int(np.ceil(face)))
    low = np.minimum(side / 2, np.array(size) / 2)
    wanted = track.centres - [0, LIFT * float(np.median(track.sides))]
    room = (side - 1.1 * face) / 2  # how far the face's centre may be from the square's

    middle = (wanted.min(axis=0) + wanted.max(axis=0)) / 2
    paths = [np.tile(np.floor(middle - side / 2) + side / 2, (len(wanted), 1))]
    paths += [smooth(track.times, wanted, sigma) for sigma in (1.0, 0.5, 0.25)]
    paths = [np.clip(path, low, np.array(size) - low) for path in paths]
    strays = [np.abs(track.centres - path).max() for path in paths]
    bearable = max(room, 1.05 * min(strays))  # at the frame's border no square keeps the whole face
    return Crop(
        side,
        track.times,
        next(p for p, far in zip(paths, strays, strict=True) if far <= bearable),
        size,
    )
