"""Follow faces over a shot: boxes at some moments a second, joined to tracks, the main one
smoothed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.media.video import Frame
from datagen.vision.landmarks import FaceDetector

# boxes are compared this much enlarged, so that a small face that moves fast still overlaps itself
GROWN = 2.0
MIN_OVERLAP = 0.2  # intersection over union of the grown boxes


@dataclass(frozen=True)
class Track:
    """One face over some moments, misses filled in: times float64 [N] s, boxes float32 [N, 4] xyxy
    px.
    """

    times: np.ndarray
    boxes: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @property
    def sides(self) -> np.ndarray:
        """The longer side of each box, px [N]."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)

    def between(self, start: float, end: float) -> Track:
        inside = (self.times >= start) & (self.times < end)
        return Track(self.times[inside], self.boxes[inside])

    def smooth(self, sigma: float) -> Track:
        """Boxes without the detector's jitter, see `smooth`."""
        return Track(self.times, smooth(self.times, self.boxes, sigma).astype(np.float32))


class Watcher:
    """Notes all faces of a video at most every `every` seconds. Frames may come scaled; boxes are
    in px of `size`.
    """

    def __init__(self, size: tuple[int, int], every: float = 0.08, confidence: float = 0.5):
        self.size = size  # width, height px
        self.every = every
        self.detector = FaceDetector(confidence)
        self.times: list[float] = []
        self.faces: list[np.ndarray] = []  # float32 [N, 4] xyxy px per moment

    def add(self, frame: Frame) -> None:
        # half a millisecond early: containers round times
        if self.times and frame.time < self.times[-1] + self.every - 5e-4:
            return
        height, width = frame.rgb.shape[:2]
        scale = np.array([self.size[0] / width, self.size[1] / height] * 2, np.float32)
        self.times.append(frame.time)
        self.faces.append(self.detector(frame.rgb)[:, :4] * scale)

    def between(self, start: float, end: float) -> tuple[list[float], list[np.ndarray]]:
        """Times and boxes of the moments in [start, end) s."""
        inside = [i for i, time in enumerate(self.times) if start <= time < end]
        return [self.times[i] for i in inside], [self.faces[i] for i in inside]


def tracks(
    times: Sequence[float], faces: Sequence[np.ndarray], max_gap: float = 0.3
) -> list[Track]:
    """Joins the boxes of successive moments by overlap, best pairs first; survives misses of up to
    `max_gap` s.
    """
    if len(times) > 1:  # a slow video, too, may miss one moment
        max_gap = max(max_gap, 2.0 * float(np.median(np.diff(times))))
    found: list[list[tuple[int, np.ndarray]]] = []  # per track: (moment, box)
    live: list[int] = []
    for now, boxes in enumerate(faces):
        live = [t for t in live if times[now] - times[found[t][-1][0]] <= max_gap + 1e-6]
        pairs = _pairs([found[t][-1][1] for t in live], boxes)
        for t, b in pairs:
            found[live[t]].append((now, boxes[b]))
        for b in sorted(set(range(len(boxes))) - {b for _, b in pairs}):
            live.append(len(found))
            found.append([(now, boxes[b])])
    return [_filled(track, times) for track in found]


def main_track(candidates: Sequence[Track]) -> Track:
    """The track with the largest area times duration; of equals the earliest, then the leftmost."""
    return min(
        candidates, key=lambda track: (-_weight(track), track.times[0], *track.boxes[0].tolist())
    )


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [A, B] of boxes xyxy [A, 4] and [B, 4]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    return common / np.maximum(_area(a)[:, None] + _area(b)[None] - common, 1e-9)


def smooth(times: np.ndarray, values: np.ndarray, sigma: float) -> np.ndarray:
    """Values [N, D] at `times` [N] s, also uneven ones, smoothed by lines fitted under a Gaussian
    of `sigma` s.

    Lines, not averages: an average lags behind at both ends of a movement.
    """
    ahead = times[None] - times[:, None]
    weights = np.exp(-0.5 * (ahead / sigma) ** 2)
    zeroth, first, second = (np.sum(weights * ahead**k, axis=1, keepdims=True) for k in range(3))
    second = second + 1e-9  # a single moment has no slope
    return (second * (weights @ values) - first * ((weights * ahead) @ values)) / (
        zeroth * second - first**2
    )


def _pairs(before: list[np.ndarray], boxes: np.ndarray) -> list[tuple[int, int]]:
    """(index before, index now) of boxes that belong together, each used once."""
    if not before or not len(boxes):
        return []
    shared = overlap(_grown(np.stack(before)), _grown(boxes))
    order = sorted((-shared[t, b], t, b) for t, b in np.argwhere(shared >= MIN_OVERLAP).tolist())
    taken: list[tuple[int, int]] = []
    for _, t, b in order:
        if all(t != old and b != new for old, new in taken):
            taken.append((t, b))
    return taken


def _filled(track: list[tuple[int, np.ndarray]], times: Sequence[float]) -> Track:
    moments = [moment for moment, _ in track]
    boxes = np.stack([box for _, box in track])
    every = np.asarray(times[moments[0] : moments[-1] + 1], np.float64)
    seen = np.asarray([times[moment] for moment in moments])
    return Track(
        every,
        np.stack([np.interp(every, seen, side) for side in boxes.T], axis=1).astype(np.float32),
    )


def _weight(track: Track) -> float:
    """Area times duration, px^2 s; a moment lasts until the next."""
    lasts = np.diff(track.times, append=track.times[-1])
    return float((_area(track.boxes) * lasts).sum())


def _grown(boxes: np.ndarray) -> np.ndarray:
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - GROWN * half, centre + GROWN * half], axis=1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)
