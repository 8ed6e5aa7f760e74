"""From a raw video to one face, square, at a constant frame rate: the longest stretch of one face
without a cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from datagen.core.errors import Reject, UserError
from datagen.core.json import JsonObject
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import ClipLimits, Stage
from datagen.media import video
from datagen.shots.adaptive import ShotDetector, Span
from datagen.vision.crop import STEADY, WATCHED_SIDE, Crop, crop_of
from datagen.vision.landmarks import FaceDetector
from datagen.vision.track import Track, Watcher, main_track, tracks

STILL = 0.12  # mean difference of 8-bit levels below which a frame repeats the one before
GLIMPSE = 0.1  # of a shot: a face that is too short and rarer is likely none
LOOK_EVERY = 5  # frames of the clip between looks for other faces in it


@dataclass
class ClipStatistics:
    """Counts what a clip's frames show while they are written."""

    frames: int = 0
    fresh: int = 0  # frames that differ from the one before
    looks: int = 0
    crowded: int = 0  # looks that showed more than one face
    _before: np.ndarray | None = None

    def add(self, square: np.ndarray, is_new: bool, detector: FaceDetector) -> None:
        small = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        self.fresh += is_new and (
            self._before is None or float(np.abs(small - self._before).mean()) > STILL
        )
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
    version: ClassVar[int] = 2
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
            raise UserError(
                f"clips.size is {self.size!r}: an even number of pixels from 64 is expected."
            )
        if not (
            type(self.fps) is int
            and 1 <= self.fps <= 120
            and 0 < self.min_seconds <= self.max_seconds
        ):
            raise UserError(
                "clips: fps from 1 to 120 and min_seconds above 0, at most max_seconds, "
                "are expected."
            )

    def of_clip(self, clip: Clip) -> JsonObject:
        return {"span": clip.span}

    def weights(self) -> dict[str, str]:
        return {name: version(name) for name in ("mediapipe", "scenedetect")}

    def clip_limits(self) -> ClipLimits:
        return ClipLimits(self.max_seconds, self.fps, self.size)

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
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
            "source_hdr": probe.hdr,
        }
        return Artifact(workdir / "clip.mp4", metrics)

    def _watch(
        self, source: Path, span: Span | None, size: tuple[int, int]
    ) -> tuple[ShotDetector, Watcher]:
        cutter, watcher = ShotDetector(), Watcher(size, self.every, self.confidence)
        for frame in video.read(source, span, WATCHED_SIDE):
            cutter.add(frame)
            watcher.add(frame)
        return cutter, watcher

    def _scene(self, shots: list[Span], watcher: Watcher) -> Scene:
        """The shot that shows one face for the longest time. Raises Reject("too_short" |
        "no_face").
        """
        longest = max((end - start for start, end in shots), default=0.0)
        if longest < self.min_seconds:
            raise Reject(
                "too_short",
                f"the longest shot lasts {longest:.2f} s, wanted are {self.min_seconds} s",
            )
        scenes = [scene for shot in shots if (scene := self._main_face(shot, watcher))]
        if not scenes:
            raise Reject("no_face", f"no face found in {longest:.2f} s")
        scene = max(scenes, key=lambda scene: scene.span[1] - scene.span[0])
        seconds = scene.span[1] - scene.span[0]
        if seconds < self.min_seconds:
            reason = "no_face" if scene.coverage < GLIMPSE else "too_short"
            raise Reject(
                reason, f"a face is visible for {seconds:.2f} s, wanted are {self.min_seconds} s"
            )
        start, end = scene.span[0], min(scene.span[1], scene.span[0] + self.max_seconds)
        return replace(scene, track=scene.track.between(start, end), span=(start, end))

    def _main_face(self, shot: Span, watcher: Watcher) -> Scene | None:
        times, faces = watcher.between(*shot)
        found = tracks(times, faces, self.max_gap)
        if not found:
            return None
        track = main_track(found)
        # between the last look at the face and the next, it may be gone; at the end of a shot it is
        # not
        start, last = float(track.times[0]), float(track.times[-1])
        end = shot[1] if last == times[-1] else last + 1 / self.fps
        return Scene(track, times, faces, (start, end), (end - start) / (shot[1] - shot[0]))

    def _write(self, source: Path, span: Span, crop: Crop, path: Path) -> ClipStatistics:
        count = max(int((span[1] - span[0]) * self.fps + 1e-3), 1)
        tally, detector = ClipStatistics(), FaceDetector(self.confidence)
        with video.Writer(path, self.fps, self.crf) as writer:
            for square, is_new in islice(self._squares(source, span, crop), count):
                writer.write(square)
                tally.add(square, is_new, detector)
        return tally

    def _squares(self, source: Path, span: Span, crop: Crop) -> Iterator[tuple[np.ndarray, bool]]:
        """The frames of the clip, and whether each comes from another frame of the source than the
        one before.
        """
        # a large picture is scaled while it is converted, which is several times faster than
        # afterwards
        longer = max(crop.frame)
        max_side = min(longer, math.ceil(longer * self.size / crop.side))
        shown = square = None
        for frame in video.resample(video.read(source, span, max_side), self.fps, span[0]):
            is_new = frame.rgb is not shown
            if (
                is_new or square is None
            ):  # a picture that is held must not slide below a moving crop
                shown, square = frame.rgb, crop.cut(frame, self.size)
            yield square, is_new


def _described(scene: Scene, crop: Crop) -> JsonObject:
    """What the clip shows, for the rules of selection."""
    start, end = scene.span
    corner = np.median(crop.centres, axis=0) - crop.side / 2
    return {
        "span": [round(start, 6), round(end, 6)],
        "face_px": round(float(np.median(scene.track.sides)), 1),
        "crop_px": crop.side,
        "crop": [*np.round(corner, 1).tolist(), crop.side],
        "moves": round(float(np.abs(crop.centres - crop.centres[0]).max() / crop.side), 3),
        "outside": round(_outside(crop), 3),
        "coverage": round(scene.coverage, 3),
        "faces": max(len(boxes) for boxes in scene.faces),
    }


def _outside(crop: Crop) -> float:
    """The share of the square that lies outside the frame, mean over the frames."""
    low, high = crop.centres - crop.side / 2, crop.centres + crop.side / 2
    inside = np.clip(np.minimum(high, crop.frame) - np.maximum(low, 0), 0, None)
    return float(1 - (inside.prod(axis=1) / crop.side**2).mean())
