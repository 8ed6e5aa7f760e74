"""The wanted frames of a clip, from the bytes of its member: no file, no other frame than decoding needs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation

from datagen.claims import refuse_claims
from datagen.clip import Invalid
from datagen.container import BOUNDS, bounded
from datagen.video import KEYFRAME_EVERY

# as datagen.video converts; bilinear widens with the scale, so that shrinking averages, as model.drive.cropped does
_KERNEL = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_BLACK, _WHITE = 16, 235  # of the luma that datagen.video writes
_PERSON, _FACE = (_BLACK + level * (_WHITE - _BLACK) / 255 for level in (64, 192))  # as datagen.mask splits


class Unreadable(Exception):
    """A sample that training cannot use; the text says why."""


def pictures(data: bytes, indices: Iterable[int]) -> dict[int, Any]:
    """Index -> decoded picture of one of our own constant-rate videos. Raises Unreadable.

    Starts at the keyframe before a stretch of wanted frames. On the way, frames that no other refers to and nobody
    wants are passed over, which changes no pixel.
    """
    wanted = sorted({int(index) for index in indices})
    found: dict[int, Any] = {}
    try:
        file = io.BytesIO(data)
        refuse_claims(file, "it")
        with av.open(file, format="mp4", metadata_errors="replace", options=BOUNDS) as container:
            stream = bounded(container.streams.video[0], "it")
            stream.codec_context.options = {"err_detect": "explode", **BOUNDS}
            for stretch in _stretches(wanted):
                found |= _stretch(container, stream, stretch)
    except Invalid as error:
        raise Unreadable(error.detail) from None
    except (av.FFmpegError, IndexError, OverflowError, OSError) as error:
        raise Unreadable(f"cannot be decoded ({getattr(error, 'strerror', None) or error})") from None
    if missing := set(wanted) - found.keys():
        raise Unreadable(f"has no frame {min(missing)}")
    return found


@dataclass(frozen=True)
class Still:
    """A decoded picture kept small: uint8 [S, S, 3], or the levels [S, S] of a mask; its own size in px."""

    small: np.ndarray
    width: int
    height: int


def stills(shown: dict[int, Any], side: int, is_mask: bool) -> dict[int, Still]:
    """Decoded pictures, all of one size, as they are at `side` px."""
    first = shown[0]
    whole = (0, 0, first.width)
    small = levels(list(shown.values()), side, whole) if is_mask else rgb(list(shown.values()), side)
    return {index: Still(each, first.width, first.height) for index, each in zip(shown, small, strict=True)}


def rgb(shown: Sequence[Any], side: int) -> np.ndarray:
    """Decoded square pictures as uint8 [n, side, side, 3]; Unreadable where they are not square."""
    if any(picture.width != picture.height for picture in shown):
        raise Unreadable(f"is {shown[0].width} x {shown[0].height} px, not square")
    return np.stack([_scaled(picture, side) for picture in shown])


def _scaled(picture: Any, side: int) -> np.ndarray:
    if not isinstance(picture, Still):
        return picture.reformat(side, side, "rgb24", interpolation=_KERNEL).to_ndarray()
    if len(picture.small) == side:
        return picture.small
    return cv2.resize(picture.small, (side, side), interpolation=cv2.INTER_AREA)


def levels(shown: Sequence[Any], side: int, part: tuple[int, int, int]) -> np.ndarray:
    """The square `part` (left, top, side) of decoded pictures of mask.mp4 as uint8 [n, side, side]: 0 background, 128
    person, 255 face, by majority.
    """
    return np.stack([_levels(picture, side, part) for picture in shown])


def _levels(picture: Any, side: int, part: tuple[int, int, int]) -> np.ndarray:
    if isinstance(picture, Still):
        kept = picture.small
        return kept if len(kept) == side else cv2.resize(kept, (side, side), interpolation=cv2.INTER_NEAREST)
    plane, (left, top, size) = picture.planes[0], part
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: picture.height, : picture.width]
    luma = luma[top : top + size, left : left + size]
    person, face = (_shrunk((luma > level).view(np.uint8), side) for level in (_PERSON, _FACE))
    return np.where(face, np.uint8(255), np.where(person, np.uint8(128), np.uint8(0)))


def _shrunk(inside: np.ndarray, side: int) -> np.ndarray:
    if inside.shape == (side, side):
        return inside > 0
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
    container.seek(origin + round(wanted[0] / rate), stream=stream)
    found, awaited = {}, set(wanted)
    for packet in container.demux(stream):
        if packet.pts is not None:
            is_wanted = round((packet.pts - origin) * rate) in awaited
            stream.codec_context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        for picture in packet.decode():
            if picture.pts is None:
                raise Unreadable("has a frame without a time")
            index = round((picture.pts - origin) * rate)
            if picture.is_corrupt:  # those that follow may show it too
                raise Unreadable(f"has a damaged frame {index}")
            if index in awaited:
                found[index] = picture
                awaited.discard(index)
        if not awaited:
            return found
    return found
