"""One clip as training reads it: decoded when needed, or decoded once and kept small."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from datagen.core import npz as arrays
from datagen.vision.geometry import POINTS
from training.data import decode
from training.data.decode import Picture, Unreadable


@dataclass(frozen=True)
class FaceTrack:
    boxes: np.ndarray  # float [T, 4]
    landmarks: np.ndarray  # float [T, 478, 2]
    head: np.ndarray  # float [T, 3] rad, NaN where it is unknown


class ClipReader:
    """Members of a sample of `count` frames, decoded when they are needed."""

    def __init__(self, count: int, members: dict[str, bytes]):
        self.count, self.members = count, members
        self.faces = faces_of(members["faces.npz"], count)

    def decode_frames(self, field: str, frames: Iterable[int]) -> dict[int, Picture]:
        """Frame number -> frame of a member. Raises Unreadable."""
        try:
            return decode.decode_frames(self.members[field], frames)
        except Unreadable as error:
            raise Unreadable(f"{field} {error}") from None


class DecodedClip:
    """A clip whose frames are all decoded once and kept at `side` px."""

    def __init__(self, clip: ClipReader, side: int):
        self.faces, every = clip.faces, range(clip.count)
        videos = [field for field in clip.members if field.endswith("mp4")]
        self.videos: dict[str, Mapping[int, Picture]] = {}
        self.faults: dict[
            str, Unreadable
        ] = {}  # of a twin, which other samples of the clip do without
        for field in videos:
            try:
                self.videos[field] = decode.small_frames(
                    clip.decode_frames(field, every), side, field == "mask.mp4"
                )
            except Unreadable as error:
                self.faults[field] = error

    def decode_frames(self, field: str, frames: Iterable[int]) -> dict[int, Picture]:
        """As Clip's."""
        if field in self.faults:
            raise self.faults[field]
        return {int(frame): self.videos[field][int(frame)] for frame in frames}


class FrameCache:
    """Keeps decoded clips, as many as fit into `limit` MiB: for small models, whose steps take
    less time than decoding.
    """

    def __init__(self, limit: float, side: int):
        self.left, self.side = int(limit * 2**20), side
        self.clips: dict[int, DecodedClip] = {}

    def add(
        self, key: int, clip: ClipReader, read: Callable[[], dict[str, bytes]]
    ) -> ClipReader | DecodedClip:
        """The clip, decoded and kept if there is room, otherwise as it is."""
        members = read()
        size = (
            clip.count * self.side**2 * (3 * len(members) - 5)
        )  # the mask has one channel, faces.npz is none
        if size > self.left:
            return clip
        self.clips[key] = DecodedClip(ClipReader(clip.count, members), self.side)
        self.left -= size
        return self.clips[key]


def faces_of(data: bytes, count: int) -> FaceTrack:
    """Boxes and points of every frame. Frames without a face take those of the nearest frame with
    one.
    """
    try:
        found = arrays.load(io.BytesIO(data))
        boxes, landmarks = found["boxes"].astype(np.float32), found["landmarks"].astype(np.float32)
        head = (
            found["head"].astype(np.float32)
            if "head" in found
            else np.full((count, 3), np.nan, np.float32)
        )
        shown = np.flatnonzero((found["confidence"] > 0) & ~np.isnan(boxes).any(axis=1))
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"faces.npz cannot be read ({error})") from None
    shapes = boxes.shape, found["confidence"].shape, head.shape, landmarks.shape[:2]
    is_complete = shapes == ((count, 4), (count,), (count, 3), (count, POINTS))
    if not is_complete or landmarks.ndim != 3 or not len(shown):
        raise Unreadable(
            f"faces.npz has {len(boxes)} rows for {count} frames, {len(shown)} with a face"
        )
    nearest = shown[np.abs(np.arange(count)[:, None] - shown).argmin(axis=1)]
    return FaceTrack(boxes[nearest], landmarks[nearest], head[nearest])
