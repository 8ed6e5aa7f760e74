"""Chosen frames of a video in memory. No more frames are decoded than these need."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import av
import cv2
import numpy as np
from av import VideoFrame, VideoStream
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter

from datagen.core.errors import Invalid
from datagen.media.container import BOUNDS, bounded
from datagen.media.mp4_tables import refuse_claims
from datagen.media.video import KEYFRAME_EVERY

# as datagen.media.video converts; bilinear widens with the scale, so that shrinking averages, as in
# model.inputs.driving.cropped
_KERNEL = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_BLACK, _WHITE = 16, 235  # of the luma that datagen.media.video writes
_PERSON, _FACE = (
    _BLACK + level * (_WHITE - _BLACK) / 255 for level in (64, 192)
)  # as datagen.mask splits
_LEVELS = np.array(
    [255 if luma > _FACE else 128 if luma > _PERSON else 0 for luma in range(256)], np.uint8
)
_GBR = (1, 2, 0)  # which channel each plane of "gbrp" is
# our headers describe the stream: without this, FFmpeg decodes frames to find out
_UNLOOKED = {**BOUNDS, "skip_frame": "all"}


class Unreadable(Exception):
    """A sample that training cannot use. The message says why."""


def decode_frames(data: bytes, indices: Iterable[int]) -> dict[int, Picture]:
    """Frame number -> decoded frame, of a constant-rate video of ours. Raises Unreadable.

    Decoding starts at the keyframe before a run of requested frames. Unrequested frames that no
    other frame refers to are skipped, which changes no pixel.
    """
    requested = sorted({int(index) for index in indices})
    found: dict[int, Picture] = {}
    try:
        file = io.BytesIO(data)
        refuse_claims(file, "it")
        options: Any = {"options": BOUNDS, "stream_options": [_UNLOOKED]}
        with av.open(file, format="mp4", metadata_errors="replace", **options) as container:
            stream = bounded(container.streams.video[0], "it")
            stream.codec_context.options = {"err_detect": "explode", **BOUNDS}
            for stretch in _stretches(requested):
                found |= _stretch(container, stream, stretch)
    except Invalid as error:
        raise Unreadable(error.detail) from None
    except (av.FFmpegError, IndexError, OverflowError, OSError) as error:
        raise Unreadable(
            f"cannot be decoded ({getattr(error, 'strerror', None) or error})"
        ) from None
    except ValueError:  # PyAV has nothing that stream_options could be for
        raise Unreadable("cannot be decoded (it has no tracks)") from None
    if missing := set(requested) - found.keys():
        raise Unreadable(f"has no frame {min(missing)}")
    return found


@dataclass(frozen=True)
class SmallFrame:
    """A decoded frame kept small, uint8 [S, S, 3], or the levels [S, S] of a mask, and the size in
    px that it had.
    """

    small: np.ndarray
    width: int
    height: int


Picture: TypeAlias = "VideoFrame | SmallFrame"


def small_frames(frames: dict[int, Picture], side: int, is_mask: bool) -> dict[int, SmallFrame]:
    """Decoded frames of one size, scaled to `side` px."""
    first = frames[0]
    whole = (0, 0, first.width)
    small = (
        levels(list(frames.values()), side, whole) if is_mask else rgb(list(frames.values()), side)
    )
    return {
        index: SmallFrame(each, first.width, first.height)
        for index, each in zip(frames, small, strict=True)
    }


def rgb(frames: Sequence[Picture], side: int) -> np.ndarray:
    """Decoded square frames as uint8 [n, side, side, 3]; Unreadable where they are not square.

    In memory they are [3, n, side, side]: the order of models, and twice as fast to convert to.
    """
    if any(picture.width != picture.height for picture in frames):
        raise Unreadable(f"is {frames[0].width} x {frames[0].height} px, not square")
    planes, reformatter = np.empty((3, len(frames), side, side), np.uint8), VideoReformatter()
    for number, picture in enumerate(frames):
        if isinstance(picture, SmallFrame):
            planes[:, number] = _resized(picture.small, side).transpose(2, 0, 1)
            continue
        scaled = reformatter.reformat(picture, side, side, "gbrp", interpolation=_KERNEL)
        for plane, channel in zip(scaled.planes, _GBR, strict=True):
            planes[channel, number] = _pixels(plane, side, side)
    return planes.transpose(1, 2, 3, 0)


def _pixels(plane: Any, height: int, width: int) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]


def _resized(small: np.ndarray, side: int) -> np.ndarray:
    return (
        small
        if len(small) == side
        else cv2.resize(small, (side, side), interpolation=cv2.INTER_AREA)
    )


def levels(frames: Sequence[Picture], side: int, part: tuple[int, int, int]) -> np.ndarray:
    """The square `part` (left, top, side) of decoded frames of mask.mp4 as uint8 [n, side, side]: 0
    background, 128 person, 255 face, by majority.
    """
    found = np.zeros((len(frames), side, side), np.uint8)
    for picture, level in zip(frames, found, strict=True):
        _levels(picture, part, level)
    return found


def _levels(picture: Picture, part: tuple[int, int, int], found: np.ndarray) -> None:
    side = len(found)
    if isinstance(picture, SmallFrame):
        cv2.resize(picture.small, (side, side), dst=found, interpolation=cv2.INTER_NEAREST)
        return
    left, top, size = part
    luma = _pixels(picture.planes[0], picture.height, picture.width)[
        top : top + size, left : left + size
    ]
    if luma.shape == found.shape:
        cv2.LUT(luma, _LEVELS, dst=found)
        return
    for level, limit in ((128, _PERSON), (255, _FACE)):
        found[_shrunk((luma > limit).view(np.uint8), side)] = level


def _shrunk(inside: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(inside * np.uint8(255), (side, side), interpolation=cv2.INTER_AREA) >= 128


def _stretches(requested: list[int]) -> Iterator[list[int]]:
    """The frames in runs, split where a keyframe lies between: there a seek saves work."""
    begin = 0
    for i in range(1, len(requested) + 1):
        if (
            i == len(requested)
            or requested[i] // KEYFRAME_EVERY > requested[i - 1] // KEYFRAME_EVERY + 1
        ):
            yield requested[begin:i]
            begin = i


def _stretch(
    container: InputContainer, stream: VideoStream, requested: list[int]
) -> dict[int, Picture]:
    if not (stream.average_rate and stream.time_base):
        raise Unreadable("does not say how many frames it has in a second")
    rate, origin = stream.average_rate * stream.time_base, stream.start_time or 0
    frames, ticks = rate.numerator, rate.denominator

    def number(pts: int) -> int:
        return (2 * (pts - origin) * frames + ticks) // (2 * ticks)

    container.seek(origin + round(requested[0] / rate), stream=stream)
    found: dict[int, Picture] = {}
    for picture in _decoded(container, stream, number, set(requested)):
        if picture.pts is None:
            raise Unreadable("has a frame without a time")
        index = number(picture.pts)
        if picture.is_corrupt:  # those that follow may show it too
            raise Unreadable(f"has a damaged frame {index}")
        if index in requested:
            found[index] = picture
    return found


def _decoded(
    container: InputContainer, stream: VideoStream, number: Callable[[int], int], awaited: set[int]
) -> Iterator[VideoFrame]:
    """Frames from the current position. After the last awaited packet the decoder is flushed:
    otherwise it would wait for more packets before it returns the frames that it reorders.
    """
    context = stream.codec_context
    for packet in container.demux(stream):
        if packet.pts is not None:
            index = number(packet.pts)
            context.skip_frame = "DEFAULT" if index in awaited else "NONREF"
            awaited.discard(index)
        yield from packet.decode()
        if not awaited:
            yield from context.decode(None)
            return
