"""The frames and the region of a listed clip in its raw video, by the datasets' own rules.

CelebV-HQ gives seconds, and a box in shares of the picture (its download_and_process.py). VFHQ
gives frame numbers and a box in pixels of the authors' stream (its processing script); the host may
serve another stream today.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from datagen.core.errors import Invalid
from datagen.core.limits import MAX_RATE
from datagen.media import video

EXPANSION = 0.02  # of the picture, on each side of CelebV-HQ's boxes
SAME_RATE = 5e-4  # relative; distinguishes 23.976 from 24 fps
LATE = 0.5  # s by which a video may be shorter than its clip
Box = tuple[float, float, float, float]  # left, top, right, bottom
Size = tuple[int, int]  # width, height, px


@dataclass(frozen=True)
class Region:
    """A region of a picture in px; its sides are even."""

    x: int
    y: int
    width: int
    height: int

    @property
    def side(self) -> int:
        """The shorter side."""
        return min(self.width, self.height)

    def of(self, rgb: np.ndarray) -> np.ndarray:
        return rgb[self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass(frozen=True)
class Stream:
    """The frames of a file: their times from the first one in s, sorted, and their upright size."""

    times: np.ndarray  # float64 [N]
    size: Size

    @property
    def fps(self) -> float:
        return (
            (len(self.times) - 1) / (self.times[-1] - self.times[0]) if len(self.times) > 1 else 0.0
        )


def stream(path: Path) -> Stream:
    """The stream of a video file; only its index is read and one frame decoded. Raises Invalid."""
    stat = path.stat()
    return _stream(str(path), stat.st_size, stat.st_mtime_ns)


def seconds_of_frames(
    first: int, last: int, fps: float, size: Size, found: Stream
) -> tuple[float, float]:
    """[start, end) s of the frames first..last of the authors' stream of `fps` and `size`.

    If rate and size match, frames are counted; else times are used. Raises Invalid("ends_early").
    """
    if found.size == size and abs(found.fps / fps - 1) < SAME_RATE:
        if last >= len(found.times):
            raise Invalid(
                "ends_early",
                f"the clip ends with frame {last}, the video with {len(found.times) - 1}",
            )
        before = found.times[first - 1] if first else -1.0
        after = found.times[last + 1] if last + 1 < len(found.times) else found.times[last] + 1.0
        return (before + found.times[first]) / 2, (found.times[last] + after) / 2
    early = 0.5 / max(fps, found.fps)  # half a frame, so that rounding of times has no effect
    span = first / fps - early, (last + 1) / fps - early
    _reached(span[1], found)
    return span


def seconds(start: float, end: float, found: Stream) -> tuple[float, float]:
    """[start, end) s, if the video is long enough. Raises Invalid("ends_early")."""
    _reached(end, found)
    return start, end


def square_of_shares(box: Box, size: Size, margin: float = 0.0) -> Region:
    """CelebV-HQ's square: as wide as the shorter side of the expanded box, around its centre.

    A centre between two pixels is rounded to the left or up. `margin`: see `widened`.
    """
    (width, height), (left, top, right, bottom) = size, box
    x0, x1 = round(max(left - EXPANSION, 0) * width), round(min(right + EXPANSION, 1) * width)
    y0, y1 = round(max(top - EXPANSION, 0) * height), round(min(bottom + EXPANSION, 1) * height)
    half = min(x1 - x0, y1 - y0) // 2
    x, y = (x0 + x1) // 2 - half, (y0 + y1) // 2 - half
    return widened((x, y, x + 2 * half, y + 2 * half), size, margin)


def scaled_box(box: Box, given: Size, size: Size, margin: float = 0.0) -> Region:
    """VFHQ's box, scaled from a picture of size `given` to one of size `size`."""
    across, down = size[0] / given[0], size[1] / given[1]
    left, top, right, bottom = box
    edges = round(left * across), round(top * down), round(right * across), round(bottom * down)
    return widened(edges, size, margin)


def widened(edges: tuple[int, int, int, int], size: Size, margin: float) -> Region:
    """The region, widened on all sides by `margin` times its shorter side, within the picture."""
    left, top, right, bottom = edges
    more = round(margin * min(right - left, bottom - top))
    left, top = max(left - more, 0), max(top - more, 0)
    right, bottom = min(right + more, size[0]), min(bottom + more, size[1])
    return Region(left, top, (right - left) // 2 * 2, (bottom - top) // 2 * 2)


def _reached(end: float, found: Stream) -> None:
    if (last := float(found.times[-1]) + (1 / found.fps if found.fps else 0.0)) < end - LATE:
        raise Invalid("ends_early", f"the clip ends at {end:.2f} s, the video at {last:.2f} s")


@lru_cache(maxsize=4)
def _stream(path: str, size: int, mtime_ns: int) -> Stream:
    """Cached, since the clips of a video are cut one after another."""
    probe = video.probe(path)
    found = Stream(video.times(path), (probe.width, probe.height))
    if found.fps > MAX_RATE:
        raise Invalid("too_fast", f"{path} has {found.fps:.0f} frames/s")
    return found
