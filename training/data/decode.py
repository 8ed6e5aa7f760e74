"""The wanted frames of a clip, from the bytes of its member: no file, no other frame than decoding
needs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
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
# what a stream is like is said by our own headers: without this, FFmpeg decodes pictures to find
# out
_UNLOOKED = {**BOUNDS, "skip_frame": "all"}


class Unreadable(Exception):
    """A sample that training cannot use; the text says why."""


def pictures(data: bytes, indices: Iterable[int]) -> dict[int, Any]:
    """Index -> decoded picture of one of our own constant-rate videos. Raises Unreadable.

    Starts at the keyframe before a stretch of wanted frames. On the way, frames that no other
    refers to and nobody wants are passed over, which changes no pixel.
    """
    wanted = sorted({int(index) for index in indices})
    found: dict[int, Any] = {}
    try:
        file = io.BytesIO(data)
        refuse_claims(file, "it")
        options: Any = {"options": BOUNDS, "stream_options": [_UNLOOKED]}
        with av.open(file, format="mp4", metadata_errors="replace", **options) as container:
            stream = bounded(container.streams.video[0], "it")
            stream.codec_context.options = {"err_detect": "explode", **BOUNDS}
            for stretch in _stretches(wanted):
                found |= _stretch(container, stream, stretch)
    except Invalid as error:
        raise Unreadable(error.detail) from None
    except (av.FFmpegError, IndexError, OverflowError, OSError) as error:
        raise Unreadable(
            f"cannot be decoded ({getattr(error, 'strerror', None) or error})"
        ) from None
    except ValueError:  # PyAV has nothing that stream_options could be for
        raise Unreadable("cannot be decoded (it has no tracks)") from None
    if missing := set(wanted) - found.keys():
        raise Unreadable(f"has no frame {min(missing)}")
    return found


@dataclass(frozen=True)
class SmallFrame:
    """A decoded picture kept small: uint8 [S, S, 3], or the levels [S, S] of a mask; its own size
    in px.
    """

    small: np.ndarray
    width: int
    height: int


def small_frames(shown: dict[int, Any], side: int, is_mask: bool) -> dict[int, SmallFrame]:
    """Decoded pictures, all of one size, as they are at `side` px."""
    first = shown[0]
    whole = (0, 0, first.width)
    small = (
        levels(list(shown.values()), side, whole) if is_mask else rgb(list(shown.values()), side)
    )
    return {
        index: SmallFrame(each, first.width, first.height)
        for index, each in zip(shown, small, strict=True)
    }


def rgb(shown: Sequence[Any], side: int) -> np.ndarray:
    """Decoded square pictures as uint8 [n, side, side, 3]; Unreadable where they are not square.

    In memory they lie as [3, n, side, side]: as models want them, and twice as fast to convert to.
    """
    if any(picture.width != picture.height for picture in shown):
        raise Unreadable(f"is {shown[0].width} x {shown[0].height} px, not square")
    planes, reformatter = np.empty((3, len(shown), side, side), np.uint8), VideoReformatter()
    for number, picture in enumerate(shown):
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


def levels(shown: Sequence[Any], side: int, part: tuple[int, int, int]) -> np.ndarray:
    """The square `part` (left, top, side) of decoded pictures of mask.mp4 as uint8 [n, side, side]:
    0 background, 128 person, 255 face, by majority.
    """
    found = np.zeros((len(shown), side, side), np.uint8)
    for picture, level in zip(shown, found, strict=True):
        _levels(picture, part, level)
    return found


def _levels(picture: Any, part: tuple[int, int, int], found: np.ndarray) -> None:
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


def _stretches(wanted: list[int]) -> Iterator[list[int]]:
    """Runs of the frames: a seek saves work where a keyframe lies between."""
    begin = 0
    for i in range(1, len(wanted) + 1):
        if i == len(wanted) or wanted[i] // KEYFRAME_EVERY > wanted[i - 1] // KEYFRAME_EVERY + 1:
            yield wanted[begin:i]
            begin = i


def _stretch(container: Any, stream: Any, wanted: list[int]) -> dict[int, Any]:
    if not (stream.average_rate and stream.time_base):
        raise Unreadable("does not say how many frames it has in a second")
    rate, origin = stream.average_rate * stream.time_base, stream.start_time or 0
    frames, ticks = rate.numerator, rate.denominator

    def number(pts: int) -> int:
        return (2 * (pts - origin) * frames + ticks) // (2 * ticks)

    container.seek(origin + round(wanted[0] / rate), stream=stream)
    found: dict[int, Any] = {}
    for picture in _decoded(container, stream, number, set(wanted)):
        if picture.pts is None:
            raise Unreadable("has a frame without a time")
        index = number(picture.pts)
        if picture.is_corrupt:  # those that follow may show it too
            raise Unreadable(f"has a damaged frame {index}")
        if index in wanted:
            found[index] = picture
    return found


def _decoded(
    container: Any, stream: Any, number: Callable[[int], int], awaited: set[int]
) -> Iterator[Any]:
    """Pictures from where the file stands. The decoder is told that nothing follows the last packet
    that is awaited: it would wait for some more before it gives the pictures that it holds back to
    put them in order.
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
