"""Single frames of the videos in shards, decoded without unpacking the tar.

`video.at_indices` decodes whole stretches; a report on thousands of clips needs single frames. A
frame at a keyframe costs one packet, and frames are scaled down before they become RGB.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation

from datagen.core.limits import MAX_PIXELS
from datagen.media.container import bounded
from datagen.media.mp4_tables import refuse_claims
from datagen.stats.dataset import Dataset
from datagen.stats.rows import Row

BLOCK = tarfile.BLOCKSIZE
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# opening decodes no frame; a separate decoder reads those that are asked for
UNPROBED = {"skip_frame": "all"}
EARLY, LATE = 0.25, 0.75  # how far from its nominal time a frame may lie, in frames


@dataclass(frozen=True)
class VideoMember:
    """A video inside a shard. `start` and `size` are in bytes."""

    shard: Path
    name: str
    start: int
    size: int

    @contextmanager
    def opened(self) -> Iterator[VideoReader]:
        """Open the video; ValueError if the tar has no such member at that offset."""
        with open(self.shard, "rb") as tar:
            head = os.pread(tar.fileno(), BLOCK, self.start - BLOCK)
            info = tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
            if (info.name, info.size) != (self.name, self.size):
                raise ValueError(f"{self.name} is not there")
            with reader(tar.fileno(), self.start, self.size) as opened:
                yield opened


@dataclass(frozen=True)
class VideoReader:
    """An open video of constant frame rate."""

    container: Any
    stream: Any

    @property
    def frames(self) -> int:
        """The number of frames in the header; 0 if it is not given."""
        return int(self.stream.frames)

    @property
    def size(self) -> tuple[int, int]:
        """Width, height in px."""
        return self.stream.width, self.stream.height

    def picture(self, index: int, fps: float, side: int) -> np.ndarray:
        """The frame with this index, RGB uint8 [H, W, 3], no side longer than `side`.

        Raises ValueError if there is none.
        """
        picture = self._keyframe(index, fps) or self._decoded(index, fps)
        if picture is None or picture.is_corrupt:
            raise ValueError(f"no frame {index}")
        scale = min(1.0, side / max(picture.width, picture.height))
        size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
        return picture.reformat(*size, format="rgb24", interpolation=SCALING).to_ndarray()

    def _keyframe(self, index: int, fps: float) -> av.VideoFrame | None:
        """The frame, decoded from its packet alone, if it is a keyframe."""
        self._seek(index, fps)
        packet = next(self.container.demux(self.stream))
        if not packet.is_keyframe or not self._is_at(packet.pts, index, fps):
            return None
        codec = self.stream.codec_context
        return next(iter([*codec.decode(packet), *codec.decode(None)]), None)

    def _decoded(self, index: int, fps: float) -> av.VideoFrame | None:
        self._seek(index, fps)
        pictures = self.container.decode(self.stream)
        return next((picture for picture in pictures if self._is_at(picture.pts, index, fps)), None)

    def _seek(self, index: int, fps: float) -> None:
        """To the keyframe at or before the frame."""
        self.container.seek(
            self._origin + round((index + EARLY) / fps / self.stream.time_base), stream=self.stream
        )

    def _is_at(self, pts: int, index: int, fps: float) -> bool:
        return -EARLY <= float((pts - self._origin) * self.stream.time_base) * fps - index < LATE

    @property
    def _origin(self) -> int:
        return self.stream.start_time or 0


@contextmanager
def reader(handle: int, start: int, size: int) -> Iterator[VideoReader]:
    """Open the MP4 in these bytes of an open file.

    Raises ValueError, Invalid or FFmpeg's error if there is none.
    """
    options: Any = {"format": "mp4", "metadata_errors": "replace", "stream_options": [UNPROBED]}
    part = FileSlice(handle, start, size)
    refuse_claims(part, "it")  # type: ignore[arg-type]  # as much of a file as is asked for
    with av.open(part, **options) as container:
        stream = container.streams.video[0]
        if not 0 < stream.width * stream.height <= MAX_PIXELS:
            raise ValueError(f"{stream.width} x {stream.height} pixels")
        yield VideoReader(container, bounded(stream, "it"))


class FileSlice:
    """Part of an open file, as a file for PyAV. `start` and `size` are in bytes."""

    def __init__(self, handle: int, start: int, size: int):
        self._handle, self._start, self._size, self._position = handle, start, size, 0

    def read(self, count: int) -> bytes:
        data = os.pread(
            self._handle,
            max(min(count, self._size - self._position), 0),
            self._start + self._position,
        )
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[
            whence
        ] + offset
        return self._position

    def tell(self) -> int:
        return self._position


def video_members(
    dataset: Dataset, keys: Collection[str]
) -> Iterator[tuple[Row, dict[str, VideoMember]]]:
    """The row of each of these clips, and field -> its video in the shard.

    Offsets follow from the order and sizes of the members, known from reading the tars.
    """
    for file, rows in dataset.shards.items():
        end = 0
        for row in rows:
            starts = {}
            for field, size in row.sizes.items():
                starts[field] = end + BLOCK
                end += BLOCK + -(-size // BLOCK) * BLOCK
            if row.key in keys:
                shard = dataset.folder / file
                yield (
                    row,
                    {
                        f: VideoMember(shard, f"{row.key}.{f}", start, row.sizes[f])
                        for f, start in starts.items()
                    },
                )


def frame_size(dataset: Dataset) -> tuple[int, int] | None:
    """Width and height of the first target in px; None if it cannot be read."""
    first = next((row.key for row in dataset.rows), "")
    for _, found in video_members(dataset, {first}):
        with suppress(Exception), found["mp4"].opened() as target:
            return target.size
    return None
