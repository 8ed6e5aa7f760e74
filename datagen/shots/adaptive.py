"""Where a video changes from one shot to the next, and the stage that lists the shots of a source.
(PySceneDetect)
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import ClassVar

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode

from datagen.core.errors import Reject
from datagen.core.json import JsonObject
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.media import video

MAX_SIDE = 320  # px; cuts show in small frames too
MAX_GAP = 1.0  # s without a picture that end a shot: a camera that was off, a clock that jumps
GAPS = 5.0  # times the usual length of a frame, where that is more
Span = tuple[float, float]  # [start, end) in seconds of the source video


class ShotDetector:
    """Collects frames in order of time and says which shots they belong to."""

    def __init__(self, threshold: float = 3.0):
        # frames are counted, not timed: a cut is between two frames whatever their rate
        self._detector = AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=0)
        self._cuts: list[int] = []
        self._seen = 0
        self._last: np.ndarray | None = None
        self.times: list[float] = []

    def add(self, frame: video.Frame) -> None:
        small = _small(frame.rgb)
        if not self.times:
            self._repeat(small)
        self._see(small)
        self._last = small
        self.times.append(frame.time)

    def spans(self) -> list[Span]:
        """The shots. One before a gap in the times, and the last one, end a frame's usual length
        after their last frame.
        """
        if self._last is None:
            return []
        self._repeat(self._last)
        usual = median(np.diff(self.times).tolist()) if len(self.times) > 1 else 0.0
        longest = max(MAX_GAP, GAPS * usual)
        gaps = set((np.flatnonzero(np.diff(self.times) > longest) + 1).tolist())
        firsts = sorted({0, *self._cuts, *gaps})
        ends = [
            self.times[first - 1] + usual if first in gaps else self.times[first]
            for first in firsts[1:]
        ]
        ends.append(self.times[-1] + usual)
        return list(zip([self.times[first] for first in firsts], ends, strict=True))

    def _repeat(self, rgb: np.ndarray) -> None:
        """The detector compares each change with those before and after, so it needs some also at
        both ends.
        """
        for _ in range(self._detector.window_width):
            self._see(rgb)

    def _see(self, rgb: np.ndarray) -> None:
        found = self._detector.process_frame(FrameTimecode(self._seen, fps=1000.0), rgb[..., ::-1])
        self._cuts += [cut.frame_num - self._detector.window_width for cut in found]
        self._seen += 1


def shots(path: str | Path, span: Span | None = None, max_side: int = MAX_SIDE) -> list[Span]:
    """Shots [start, end) s of a video or of a span of it, hard cuts exact to the frame."""
    cutter = ShotDetector()
    for frame in video.read(path, span, max_side):
        cutter.add(frame)
    return cutter.spans()


def pieces(span: Span, max_seconds: float) -> list[Span]:
    """A span divided evenly into the fewest pieces of at most `max_seconds`."""
    start, end = span
    count = max(math.ceil((end - start) / max_seconds - 1e-6), 1)
    bounds = [round(start + (end - start) * i / count, 6) for i in range(count + 1)]
    return list(zip(bounds, bounds[1:], strict=False))


@dataclass
class Shots(Stage):
    """Lists the spans of a source video that may become clips: one shot each, neither too short nor
    too long.
    """

    name: ClassVar[str] = "shots"
    version: ClassVar[int] = 2
    inputs: ClassVar[tuple[str, ...]] = ("source",)
    splits: ClassVar[bool] = True

    min_seconds: float = 1.0
    max_seconds: float = 10.0

    def of_clip(self, clip: Clip) -> JsonObject:
        return {"span": clip.span}

    def weights(self) -> dict[str, str]:
        return {"scenedetect": version("scenedetect")}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        source = clip.path("source")
        probe = video.probe(source)
        found = shots(source, clip.span)
        long = [shot for shot in found if shot[1] - shot[0] >= self.min_seconds]
        if not long:
            raise Reject("too_short", f"no shot of {len(found)} lasts {self.min_seconds} s")
        metrics = {
            "spans": [list(piece) for shot in long for piece in pieces(shot, self.max_seconds)],
            "short": len(found) - len(long),
            "hdr": probe.hdr,
            "seconds": round(sum(end - start for start, end in found), 3),
            "fps": round(probe.fps, 3),
            "size": [probe.width, probe.height],
            "codec": probe.codec,
        }
        path = workdir / "shots.json"
        path.write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        return Artifact(path, metrics)


def _small(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(
        rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
    )
