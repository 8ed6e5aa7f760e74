"""A driving video of any length. Two passes find its frames and faces and keep only a few numbers;
then its driving frames are decoded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from datagen.core.errors import Invalid, UserError
from datagen.core.limits import MAX_FRAMES, MAX_RATE
from datagen.media import video
from datagen.vision import geometry
from datagen.vision.crop import WATCHED_SIDE, Crop
from datagen.vision.landmarks import FaceMesh
from datagen.vision.track import Track, Watcher, main_track, tracks
from model.inputs.driving import (
    aligned,
    cropped,
    driving_frames,
    grey,
    mask_outside,
    middles,
    outline,
    patches,
    square,
)

VIEW = 384  # px of the face, with its surroundings, as FaceMesh gets it
VIEW_MARGIN = 2.3  # sides of the face, as in datagen's clips
SIMILAR = 2.0  # faces of the same person do not differ more in size
UNEVEN, STEADY = (
    0.2,
    0.9,
)  # a frame rate is constant if this share of the pauses differs by less than a fifth
NO_RATE = 25.0  # frames/s of a video that does not say


@dataclass(frozen=True)
class DrivingVideo:
    """What is known of a driving video. Boxes and points are in px of its frames."""

    path: Path
    size: tuple[int, int]  # width, height px
    rate: Fraction  # frames/s
    is_steady: bool  # whether the file has that rate itself
    shown: (
        np.ndarray
    )  # int [frames]: the picture of the file that each frame at the constant rate shows
    boxes: (
        np.ndarray
    )  # float [pictures, 4]: of the landmarks; where no face is seen, between its neighbours
    found: np.ndarray  # bool [pictures]
    outline: np.ndarray  # float [4]: brows to chin of the first face
    low: np.ndarray  # float [4, 2]: the contours' middles stay between these
    high: np.ndarray


class DrivingFrames:
    """The driving frames of a video (model.pipeline.Driving): the face alone on black, grey or not,
    [3, n, side, side] in [0, 1]. Read in order, then close.

    `contour` is the outline of the portrait's face in px of frames of `side` px. With it the frames
    show eyes, brows and mouth alone, moved to those of the portrait.
    """

    def __init__(
        self,
        driving_video: DrivingVideo,
        side: int,
        contour: np.ndarray | None = None,
        margin: float | None = None,
        antialias: bool = True,
        is_grey: bool = True,
    ):
        self.driving_video, self.side, self.contour = driving_video, side, contour
        self.antialias, self.is_grey = antialias, is_grey
        self.square = square(driving_video.boxes[driving_video.found], driving_video.size, margin)
        decoded = video.read(driving_video.path)
        self._decoded = cast(Generator[video.Frame, None, None], decoded)
        self._pictures = enumerate(self._decoded)
        self._now: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return len(self.driving_video.shown)

    def close(self) -> None:
        self._decoded.close()

    def read(self, frames: range) -> Tensor:
        numbers = self.driving_video.shown[frames.start : frames.stop].tolist()
        return torch.cat([self._frame(number) for number in numbers]).transpose(0, 1)

    def _frame(self, number: int) -> Tensor:
        """[1, 3, side, side] of a picture of the file."""
        while self._now[0] < number:
            at, frame = next(self._pictures)
            if at == number:
                rgb = torch.from_numpy(frame.rgb).permute(2, 0, 1)[None]
                self._now = at, self._as_it_drives(rgb, number)
        return self._now[1]

    def _as_it_drives(self, rgb: Tensor, number: int) -> Tensor:
        if self.contour is None:
            boxes = self.driving_video.boxes[number : number + 1]
            return driving_frames(rgb, self.square, boxes, self.side, self.is_grey, self.antialias)
        cut = cropped(rgb, self.square, self.side, self.antialias) / 255
        source = self.square.crop_points(self.driving_video.outline, self.side)
        moved = aligned(mask_outside(cut, self._patches()), source, self.contour)
        return grey(moved) if self.is_grey else moved

    def _patches(self) -> np.ndarray:
        """The same for all frames."""
        low, high = (
            self.square.crop_points(part, self.side)
            for part in (self.driving_video.low, self.driving_video.high)
        )
        return patches(low, high, self.side)[None]


def analyze_driving_video(path: Path, ticked: Callable[[], object] = lambda: None) -> DrivingVideo:
    """Read a video twice and find its face. `ticked` is called after each frame of the file.
    UserError if the video cannot drive.
    """
    try:
        probe = video.probe(path)
        size = probe.width, probe.height
        times, track = _watch(path, size, ticked)
        points = _Points()
        for found in _meshes(path, size, track, ticked):
            points.add(found)
    except FileNotFoundError:
        raise UserError(f"there is no driving video {path}: name one with --driving.") from None
    except Invalid as error:
        raise UserError(
            f"{path} cannot drive: {error.detail}; a whole video of one face is expected."
        ) from None
    if not points.outlines:
        raise UserError(
            f"{path} shows no face in {len(times)} frames: a driving video of one face is expected."
        )
    rate, is_steady = frame_rate(times, probe.fps)
    if (seconds := float(times[-1] - times[0])) * rate > MAX_FRAMES or rate > MAX_RATE:
        raise UserError(
            f"{path} cannot drive: it has {float(rate):.6g} frames/s for {seconds:.0f} "
            "s; convert it first."
        )
    return DrivingVideo(
        path=path,
        size=size,
        rate=rate,
        is_steady=is_steady,
        shown=shown(times, rate),
        boxes=points.filled(times),
        found=points.found,
        outline=points.outlines[0],
        low=points.low,
        high=points.high,
    )


def face_points(
    mesh: FaceMesh, frame: video.Frame, box: np.ndarray, size: tuple[int, int]
) -> np.ndarray | None:
    """Points float32 [478, 3] of the face in `box` [4], px of `size`, of a frame that may be scaled
    down.
    """
    side = max(round(VIEW_MARGIN * float((box[2:] - box[:2]).max())), 2)
    centre = (box[:2] + box[2:]) / 2
    points = mesh(Crop(side, np.array([frame.time]), centre[None], size).cut(frame, VIEW))
    if points is None:
        return None
    return (points * (side / VIEW) + [*(centre - side / 2), 0]).astype(np.float32)


def main_face(times: list[float], faces: list[np.ndarray]) -> Track | None:
    """The main face's track, extended by tracks of faces of similar size before and after it."""
    found = tracks(times, faces)
    if not found:
        return None
    main = main_track(found)
    chosen = [main]
    for track in sorted(found, key=lambda track: -len(track.times)):
        ratio = float(np.median(track.sides) / np.median(main.sides))
        apart = all(
            track.times[-1] < other.times[0] or other.times[-1] < track.times[0] for other in chosen
        )
        if apart and 1 / SIMILAR <= ratio <= SIMILAR:
            chosen.append(track)
    chosen.sort(key=lambda track: track.times[0])
    return Track(
        np.concatenate([t.times for t in chosen]), np.concatenate([t.boxes for t in chosen])
    )


def frame_rate(times: np.ndarray, header: float) -> tuple[Fraction, bool]:
    """(frames/s, whether that is constant): the header's where it fits the times [N] s of the
    frames, otherwise measured.
    """
    pauses = np.diff(times)
    if not len(pauses):
        return Fraction(header or NO_RATE).limit_denominator(1001), True
    usual = pauses[np.abs(pauses / np.median(pauses) - 1) < UNEVEN]
    is_steady = len(usual) >= STEADY * len(pauses)
    pause = float(np.mean(usual if is_steady else pauses))
    rate = header if abs(header * pause - 1) < 0.01 else 1 / pause
    return Fraction(rate).limit_denominator(1001), is_steady


def shown(times: np.ndarray, rate: Fraction) -> np.ndarray:
    """The picture, of those at `times` [N] s, that each frame at a constant rate shows; first and
    last are shown.
    """
    pictures = (video.Frame(time, np.array(number)) for number, time in enumerate(times.tolist()))
    numbers = [int(frame.rgb) for frame in video.resample(pictures, float(rate))]
    numbers[-1], numbers[0] = len(times) - 1, 0
    return np.array(numbers)


class _Points:
    """Accumulates what is needed of the faces of a video, so that their points need not be kept."""

    def __init__(self) -> None:
        self.boxes: list[np.ndarray] = []  # NaN where no face is seen
        self.outlines: list[np.ndarray] = []  # of the first face
        self.low, self.high = np.full((4, 2), np.inf), np.full((4, 2), -np.inf)

    def add(self, points: np.ndarray | None) -> None:
        self.boxes.append(np.full(4, np.nan) if points is None else geometry.box(points))
        if points is not None:
            self.outlines = self.outlines or [outline(points)]
            self.low, self.high = (
                np.minimum(self.low, middles(points)),
                np.maximum(self.high, middles(points)),
            )

    @property
    def found(self) -> np.ndarray:
        return ~np.isnan([box[0] for box in self.boxes])

    def filled(self, times: np.ndarray) -> np.ndarray:
        """Boxes [N, 4]. Where no face is seen they are interpolated linearly, or the nearest."""
        boxes, found = np.stack(self.boxes), self.found
        return np.stack([np.interp(times, times[found], side[found]) for side in boxes.T], axis=1)


def _watch(
    path: Path, size: tuple[int, int], ticked: Callable[[], object]
) -> tuple[np.ndarray, Track | None]:
    """Times of all frames, and the track of the main face, by a detector that finds small faces."""
    watcher, times = Watcher(size), []
    for frame in video.read(path, None, WATCHED_SIDE):
        times.append(frame.time)
        watcher.add(frame)
        ticked()
    return np.array(times), main_face(watcher.times, watcher.faces)


def _meshes(
    path: Path, size: tuple[int, int], track: Track | None, ticked: Callable[[], object]
) -> Iterator[np.ndarray | None]:
    """Points of the tracked face in every picture."""
    if track is None:
        return
    mesh, scale = FaceMesh(), VIEW / (VIEW_MARGIN * float(track.sides.min()))
    for frame in video.read(path, None, min(max(size), int(np.ceil(max(size) * scale)))):
        box = np.array([np.interp(frame.time, track.times, side) for side in track.boxes.T])
        yield face_points(mesh, frame, box, size)
        ticked()
