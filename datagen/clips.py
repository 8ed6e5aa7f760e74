"""From a raw video to one face, square, at a constant frame rate: the longest stretch of one face without a cut."""

from __future__ import annotations

from datagen.engine.cli import run_as_command

run_as_command(__name__, "clips")

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from datagen.clip import Artefact, Clip
from datagen.core.errors import Reject, UserError
from datagen.landmarks import FaceDetector
from datagen.media import video
from datagen.shots import Cutter, Span
from datagen.stage import Stage
from datagen.track import Track, Watcher, main_track, smooth, tracks

WATCHED_SIDE = 640  # px; faces are looked for in frames of this size
NEARLY_ALL = 0.9  # of the largest square: then the largest is taken
STEADY = 0.12  # s: over which a face's box is smoothed
LIFT = 0.08  # of the face's side: a face box ends at the brows, a head does not
STILL = 0.12  # mean difference of 8-bit levels below which a frame repeats the one before
GLIMPSE = 0.1  # of a shot: a face that is too short and rarer is likely none
LOOK_EVERY = 5  # frames of the clip between looks for other faces in it


@dataclass(frozen=True)
class Crop:
    """A square of constant side whose centre [N, 2] moves over times [N] s, in px of frames of (width, height)."""

    side: int
    times: np.ndarray
    centres: np.ndarray
    frame: tuple[int, int]

    def cut(self, frame: video.Frame, size: int) -> np.ndarray:
        """The square to a fraction of a pixel, RGB uint8 [size, size, 3], of a frame that may be scaled down."""
        scale = max(frame.rgb.shape[:2]) / max(self.frame)
        centre = [float(np.interp(frame.time, self.times, axis)) * scale - 0.5 for axis in self.centres.T]
        side = self.side * scale
        side = size if abs(side - size) < 1 else round(side)
        square = cv2.getRectSubPix(frame.rgb, (side, side), centre)
        if side == size:
            return square
        return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LANCZOS4)


@dataclass
class Tally:
    """Counts what a clip's frames show while they are written."""

    frames: int = 0
    fresh: int = 0  # frames that differ from the one before
    looks: int = 0
    crowded: int = 0  # looks that showed more than one face
    _before: np.ndarray | None = None

    def add(self, square: np.ndarray, is_new: bool, detector: FaceDetector) -> None:
        small = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        self.fresh += is_new and (self._before is None or float(np.abs(small - self._before).mean()) > STILL)
        self._before = small
        if self.frames % LOOK_EVERY == 0:
            self.looks += 1
            self.crowded += len(detector(square)) > 1
        self.frames += 1


@dataclass(frozen=True)
class Scene:
    """The main face of a shot and all faces seen in it."""

    track: Track
    times: list[float]
    faces: list[np.ndarray]
    span: Span  # in which the main face is visible
    coverage: float  # the share of the shot in which it is


@dataclass
class Clips(Stage):
    """Cuts out the main face of a video: clip.mp4, square, constant frame rate."""

    name: ClassVar[str] = "clips"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("source",)
    encodes: ClassVar[bool] = True

    size: int = 512  # px
    fps: int = 25
    margin: float = 2.3  # side of the square over side of the face box
    min_seconds: float = 1.0
    max_seconds: float = 10.0
    every: float = 0.08  # s between looks for faces
    confidence: float = 0.5
    max_gap: float = 0.3  # s for which a face may be missed
    crf: int = 18

    def check(self) -> None:
        if not (type(self.size) is int and self.size >= 64 and self.size % 2 == 0):
            raise UserError(f"clips.size is {self.size!r}: an even number of pixels from 64 is expected.")
        if not (type(self.fps) is int and 1 <= self.fps <= 120 and 0 < self.min_seconds <= self.max_seconds):
            raise UserError("clips: fps from 1 to 120 and min_seconds above 0, at most max_seconds, are expected.")

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {"span": clip.span}

    def weights(self) -> dict[str, str]:
        return {name: version(name) for name in ("mediapipe", "scenedetect")}

    def __call__(self, clip: Clip, workdir: Path) -> Artefact:
        source = clip.path("source")
        probe = video.probe(source)
        cutter, watcher = self._watch(source, clip.span, (probe.width, probe.height))
        shots = cutter.spans()
        scene = self._scene(shots, watcher)
        crop = crop_of(scene.track.smooth(STEADY), (probe.width, probe.height), self.margin)
        tally = self._write(source, scene.span, crop, workdir / "clip.mp4")
        metrics = {
            "seconds": round(tally.frames / self.fps, 3),
            "frames": tally.frames,
            "fps": self.fps,
            "unique_fps": round(tally.fresh * self.fps / tally.frames, 2),
            "other_faces": round(tally.crowded / tally.looks, 3),
            **_described(scene, crop),
            "shots": len(shots),
            "source_size": [probe.width, probe.height],
            "source_fps": round(probe.fps, 3),
        }
        return Artefact(workdir / "clip.mp4", metrics)

    def _watch(self, source: Path, span: Span | None, size: tuple[int, int]) -> tuple[Cutter, Watcher]:
        cutter, watcher = Cutter(), Watcher(size, self.every, self.confidence)
        for frame in video.read(source, span, WATCHED_SIDE):
            cutter.add(frame)
            watcher.add(frame)
        return cutter, watcher

    def _scene(self, shots: list[Span], watcher: Watcher) -> Scene:
        """The shot that shows one face for the longest time. Raises Reject("too_short" | "no_face")."""
        longest = max((end - start for start, end in shots), default=0.0)
        if longest < self.min_seconds:
            raise Reject("too_short", f"the longest shot lasts {longest:.2f} s, wanted are {self.min_seconds} s")
        scenes = [scene for shot in shots if (scene := self._main_face(shot, watcher))]
        if not scenes:
            raise Reject("no_face", f"no face found in {longest:.2f} s")
        scene = max(scenes, key=lambda scene: scene.span[1] - scene.span[0])
        seconds = scene.span[1] - scene.span[0]
        if seconds < self.min_seconds:
            reason = "no_face" if scene.coverage < GLIMPSE else "too_short"
            raise Reject(reason, f"a face is visible for {seconds:.2f} s, wanted are {self.min_seconds} s")
        start, end = scene.span[0], min(scene.span[1], scene.span[0] + self.max_seconds)
        return replace(scene, track=scene.track.between(start, end), span=(start, end))

    def _main_face(self, shot: Span, watcher: Watcher) -> Scene | None:
        times, faces = watcher.between(*shot)
        found = tracks(times, faces, self.max_gap)
        if not found:
            return None
        track = main_track(found)
        # between the last look at the face and the next, it may be gone; at the end of a shot it is not
        start, last = float(track.times[0]), float(track.times[-1])
        end = shot[1] if last == times[-1] else last + 1 / self.fps
        return Scene(track, times, faces, (start, end), (end - start) / (shot[1] - shot[0]))

    def _write(self, source: Path, span: Span, crop: Crop, path: Path) -> Tally:
        count = max(int((span[1] - span[0]) * self.fps + 1e-3), 1)
        tally, detector = Tally(), FaceDetector(self.confidence)
        with video.Writer(path, self.fps, self.crf) as writer:
            for square, is_new in islice(self._squares(source, span, crop), count):
                writer.write(square)
                tally.add(square, is_new, detector)
        return tally

    def _squares(self, source: Path, span: Span, crop: Crop) -> Iterator[tuple[np.ndarray, bool]]:
        """The frames of the clip, and whether each comes from another frame of the source than the one before."""
        # a large picture is scaled while it is converted, which is several times faster than afterwards
        longer = max(crop.frame)
        max_side = min(longer, math.ceil(longer * self.size / crop.side))
        shown = square = None
        for frame in video.resample(video.read(source, span, max_side), self.fps, span[0]):
            is_new = frame.rgb is not shown
            if is_new or square is None:  # a picture that is held must not slide below a moving crop
                shown, square = frame.rgb, crop.cut(frame, self.size)
            yield square, is_new


def crop_of(track: Track, size: tuple[int, int], margin: float) -> Crop:
    """The square around a face in frames of `size` (width, height) px: at rest if the face stays in it, else following.

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
    return Crop(side, track.times, next(p for p, far in zip(paths, strays, strict=True) if far <= bearable), size)


def _described(scene: Scene, crop: Crop) -> dict[str, Any]:
    """What the clip shows, for the rules of selection."""
    start, end = scene.span
    corner = np.median(crop.centres, axis=0) - crop.side / 2
    return {
        "span": [round(start, 6), round(end, 6)],
        "face_px": round(float(np.median(scene.track.sides)), 1),
        "crop_px": crop.side,
        "crop": [*np.round(corner, 1).tolist(), crop.side],
        "moves": round(float(np.abs(crop.centres - crop.centres[0]).max() / crop.side), 3),
        "coverage": round(scene.coverage, 3),
        "faces": max(len(boxes) for boxes in scene.faces),
    }
