"""Probe a video, read it upright by time or index, write one.  (PyAV; the report's few pictures
have stats/films.py)

Pictures are RGB uint8 [H, W, 3], upright (display matrix applied) and with square pixels (sample
aspect ratio applied). Times are seconds from the first frame's timestamp, never n / fps. Everything
runs in one thread: work is spread over clips, and an encoder's bytes depend on its number of
threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation

from datagen.core.errors import Invalid
from datagen.core.limits import MAX_FRAMES, MAX_SECONDS
from datagen.media.container import bounded, opened, refuse_size, shown_stream, why
from datagen.media.interlaced import progressive
from datagen.media.tone import BT2020, NAMES, to_sdr

KEYFRAME_EVERY = 25  # frames; random access in training pays for the larger file
CLOCK = 90000  # ticks in a second of frames that say when they are shown
# of a tick: how early `resample` takes a frame; not a half, where a double rate would waver
EARLY = 0.4
_TOLERANCE = 1e-6  # s, between times that were rounded differently
# swscale's fast path to RGB darkens by more than one level, which would add up over the stages
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_BT601, _LIMITED = 6, 1  # AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG


@dataclass(frozen=True)
class Probe:
    """What the header says: upright square-pixel size, mean frame rate, seconds of picture, sound
    or not.
    """

    width: int
    height: int
    fps: float
    start: float  # s: when the first picture stands by the file's own clock, which its sound shares
    seconds: float | None
    codec: str
    has_audio: bool
    hdr: str = ""  # "hlg" or "pq": what its pictures were before they were toned down


@dataclass(frozen=True)
class Frame:
    time: float  # s
    rgb: np.ndarray  # [H, W, 3] uint8


def probe(path: str | Path) -> Probe:
    """Header of a video file. Raises Invalid("no_video" | "no_frames" | "unreadable" | "too_large"
    | "damaged").
    """
    with closing(_Reader(path)) as reader:
        size = reader.square_size[::-1] if reader.transposed else reader.square_size
        return Probe(
            *size,
            fps=float(reader.stream.average_rate or 0),
            start=reader.origin,
            seconds=_promised(reader.stream),
            codec=reader.stream.codec_context.name,
            has_audio=bool(reader.container.streams.audio),
            hdr=NAMES.get(reader.transfer, ""),
        )


def fps_of(path: str | Path) -> Fraction:
    """The constant frame rate of one of our own files."""
    return Fraction(probe(path).fps).limit_denominator(1001)


def read(
    path: str | Path, span: tuple[float, float] | None = None, max_side: int | None = None
) -> Iterator[Frame]:
    """Frames of [start, end) in order of time, scaled down so that no side exceeds `max_side`.

    Raises Invalid("damaged") where decoding stops with an error or ends well before the header's
    promise, "too_long" where it goes on for days.
    """
    start, end = span or (0.0, float("inf"))
    with closing(_Reader(path)) as reader:
        for time, picture in reader.pictures(start, end):
            yield Frame(time, reader.rgb(picture, max_side))


def times(path: str | Path) -> np.ndarray:
    """When each picture is shown, s from the first, float64 [N] in order; nothing but the first is
    decoded.

    Raises Invalid("damaged") where the file cannot be read to its end, "too_long" where it goes on
    for days.
    """
    with closing(_Reader(path)) as reader:
        return reader.times()


def resample(frames: Iterable[Frame], fps: float, start: float = 0.0) -> Iterator[Frame]:
    """Constant frame rate by timestamps: at each tick start + n / fps the frame shown then (the
    latest not after it).

    Ends with the last frame; a frame is taken slightly early, so that equal rates map one to one.
    """
    tick, early = 0, EARLY / fps
    shown: Frame | None = None
    for frame in frames:
        while shown is not None and start + tick / fps + early < frame.time:
            yield Frame(start + tick / fps, shown.rgb)
            tick += 1
        shown = frame
    while shown is not None and start + tick / fps <= shown.time + early:
        yield Frame(start + tick / fps, shown.rgb)
        tick += 1


def frames(path: str | Path) -> Iterator[np.ndarray]:
    """All frames of one of our own constant-rate files, RGB uint8 [H, W, 3]."""
    return (frame.rgb for frame in read(path))


def at_indices(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames with these indices of one of our own constant-rate files, RGB uint8 [N, H, W, 3];
    seeks by time.
    """
    found: dict[int, np.ndarray] = {}
    with closing(_Reader(path)) as reader:
        fps = float(reader.stream.average_rate)
        for first, last in _stretches(indices):
            for time, picture in reader.pictures((first - 0.25) / fps, (last + 0.75) / fps):
                if (index := round(time * fps)) in indices:
                    found[index] = reader.rgb(picture)
    if missing := set(map(int, indices)) - found.keys():
        raise IndexError(f"{Path(path).name} has no frame {min(missing)}")
    return np.stack([found[int(i)] for i in indices])


class Writer:
    """H.264 in MP4, the same bytes for the same frames: one encoder thread, no dates. Use as a
    context manager.

    `fps` a whole number or Fraction; frames are RGB uint8 [H, W, 3] of the first frame's (even)
    size. They are shown at a constant rate (`write`), or all at their own times (`write_at`).
    """

    def __init__(
        self,
        path: str | Path,
        fps: int | Fraction,
        crf: int = 18,
        preset: str = "veryfast",
        metadata=None,
    ):
        self.path = Path(path)
        self.fps = Fraction(fps)
        self.clock = self.fps  # ticks in a second
        self.options = {
            "crf": str(crf),
            "preset": preset,
            "g": str(KEYFRAME_EVERY),
            "sc_threshold": "0",
        }
        self.metadata = dict(metadata or {})
        self.count = 0
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Writer:
        self._container = av.open(
            str(self.path), "w", "mp4", options={"movflags": "+faststart+use_metadata_tags"}
        )
        self._container.metadata.update(self.metadata)
        return self

    def write(self, rgb: np.ndarray) -> None:
        """The next frame."""
        self._put(rgb, self.count)

    def write_at(self, rgb: np.ndarray, time: float) -> None:
        """The next frame, shown `time` s (to 1/90000) after the beginning, which is the first one's
        0.
        """
        self.clock = Fraction(CLOCK)
        self._put(rgb, round(time * CLOCK))

    def _put(self, rgb: np.ndarray, tick: int) -> None:
        if self._stream is None:
            self._start(*rgb.shape[:2])
        assert rgb.shape[:2] == (self._stream.height, self._stream.width), rgb.shape
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
        picture.pts, picture.time_base = tick, 1 / self.clock
        self._container.mux(self._stream.encode(picture))
        self.count += 1

    def __exit__(self, kind, error, trace) -> None:
        if self._stream is not None and kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def _start(self, height: int, width: int) -> None:
        assert height % 2 == 0 and width % 2 == 0, (height, width)
        stream = self._container.add_stream("libx264", rate=self.fps, options=self.options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # x264's bytes depend on the number of threads
        stream.codec_context.time_base = 1 / self.clock
        stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _LIMITED
        self._stream = stream


def encoder_id() -> str:
    """Names what shapes the bytes of a written file, for the store's keys."""
    libraries = ",".join(
        name + ".".join(map(str, v)) for name, v in sorted(av.library_versions.items())
    )
    return f"libx264 threads=1 g={KEYFRAME_EVERY} bt601 {libraries}"


class _Reader:
    """The picture stream of an open file: which pictures it shows from when on, and how they stand
    upright.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.container, self.stream = _open(self.path)
        first = next(self._decode(), None)
        if first is None:
            raise Invalid("no_frames", f"{self.path.name} has a video stream without frames")
        self.origin = float(first.pts * self.stream.time_base)
        self.coded_size = first.width, first.height
        refuse_size(self.path.name, *self.coded_size, _aspect(self.stream))
        self.square_size = max(round(first.width * _aspect(self.stream)), 1), first.height
        self.transposed, self.flips = _orientation(first)
        self.transfer, self.is_wide = first.color_trc, first.color_primaries == BT2020

    def close(self) -> None:
        self.container.close()

    def pictures(self, start: float, end: float) -> Iterator[tuple[float, Any]]:
        """(time, decoded picture) of [start, end) s in order of time. Raises Invalid("damaged" |
        "size_changes" | "too_long").
        """
        last, held = -1.0, 0.0
        for number, picture in enumerate(progressive(self._from(start))):
            time = self._time(picture)
            if time >= end - _TOLERANCE:
                return
            self._refuse_long(number, time)
            if time <= last:
                continue
            last, held = time, float((picture.duration or 0) * (picture.time_base or 0))
            if time >= start - _TOLERANCE:
                self._check(picture, time)
                yield time, picture
        promised = _promised(self.stream) or 0.0
        if last + held < 0.95 * promised - 0.5:
            raise Invalid(
                "damaged",
                f"{self.path.name} promises {promised:.2f} s of picture and ends at {last:.2f} s",
            )

    def times(self) -> np.ndarray:
        """When each picture is shown, by the file's index, float64 [N]; leaves the reader at the
        end.
        """
        self.container.close()
        self.container, self.stream = _open(self.path)
        try:
            packets = (
                p
                for p in self.container.demux(self.stream)
                if p.pts is not None and not p.is_discard
            )
            shown = np.unique(np.fromiter(map(self._time, islice(packets, MAX_FRAMES + 1)), float))
        except av.FFmpegError as error:
            raise Invalid(
                "damaged", f"{self.path.name} cannot be read to its end ({why(error)})"
            ) from None
        shown = shown[shown > -_TOLERANCE]
        self._refuse_long(len(shown), float(shown[-1]) if len(shown) else 0.0)
        return shown

    def rgb(self, picture: Any, max_side: int | None = None) -> np.ndarray:
        """A decoded picture upright, with square pixels, no side above `max_side`, RGB uint8 [H, W,
        3].
        """
        width, height = self.square_size
        scale = min(1.0, max_side / max(width, height)) if max_side else 1.0
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        kernel = Interpolation.AREA if scale < 1 else Interpolation.BILINEAR
        if self.transfer in NAMES:
            deep = picture.reformat(*size, format="gbrp12le", interpolation=kernel | _EXACT)
            rgb = to_sdr(deep.to_ndarray(), self.transfer, self.is_wide)
        else:
            plain = picture.reformat(*size, format="rgb24", interpolation=kernel | _EXACT)
            rgb = plain.to_ndarray()
        if self.transposed:
            rgb = rgb.transpose(1, 0, 2)
        return np.ascontiguousarray(rgb[:: self.flips[1], :: self.flips[0]])

    def _decode(self) -> Iterator[Any]:
        try:
            yield from (
                picture for picture in self.container.decode(self.stream) if picture.pts is not None
            )
        except av.FFmpegError as error:
            raise Invalid(
                "damaged", f"decoding {self.path.name} stopped with an error ({why(error)})"
            ) from None

    def _from(self, start: float) -> Iterator[Any]:
        """Decoded pictures from one not after `start` s on: by seeking where that works, else from
        the beginning.
        """
        for margin in (0.0, 1.0):  # some demuxers seek by decoding time and land too late
            if start - margin <= 0:
                break
            self.container.seek(
                int((start - margin + self.origin) / self.stream.time_base), stream=self.stream
            )
            pictures = self._decode()
            first = next(pictures, None)
            if first is not None and self._time(first) <= start:
                yield first
                yield from pictures
                return
        self.container.close()
        self.container, self.stream = _open(self.path)
        yield from self._decode()

    def _time(self, picture: Any) -> float:
        base = picture.time_base or self.stream.time_base  # a filter may have one of its own
        return float(picture.pts * base) - self.origin

    def _refuse_long(self, count: int, time: float) -> None:
        if count > MAX_FRAMES or time > MAX_SECONDS:
            raise Invalid(
                "too_long", f"{self.path.name} has {count} pictures or more up to {time:.0f} s"
            )

    def _check(self, picture: Any, time: float) -> None:
        if picture.is_corrupt:
            raise Invalid("damaged", f"{self.path.name} has a damaged picture at {time:.2f} s")
        if (picture.width, picture.height) != self.coded_size:
            raise Invalid("size_changes", f"{self.path.name} changes its size at {time:.2f} s")


def _open(path: Path) -> tuple[Any, Any]:
    """(container, picture stream) of a video file."""
    container = opened(path)
    stream = shown_stream(container)
    if stream is None:
        raise Invalid("no_video", f"{path.name} has no video stream")
    bounded(stream, path.name)
    refuse_size(path.name, stream.width, stream.height, _aspect(stream))
    return container, stream


def _promised(stream: Any) -> float | None:
    """Seconds of picture by the header: the stream's duration or, in Matroska, its end in a tag
    "HH:MM:SS.s".
    """
    if stream.duration:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        end = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    except ValueError:
        return None
    return end - float((stream.start_time or 0) * stream.time_base)


def _aspect(stream: Any) -> float:
    return float(stream.sample_aspect_ratio or 1) or 1.0


def _orientation(picture: Any) -> tuple[bool, tuple[int, int]]:
    """(transpose?, (step in x, step in y) after that) of the display matrix x' = a x + c y, y' = b
    x + d y.
    """
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, (1, 1)
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    transposed = abs(b) > abs(a)
    x, y = (c, b) if transposed else (a, d)
    return transposed, (-1 if x < 0 else 1, -1 if y < 0 else 1)


def _stretches(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of runs of the indices whose gaps are too small for a seek to pay."""
    wanted = sorted({int(i) for i in indices})
    begin = 0
    for i in range(1, len(wanted) + 1):
        if i == len(wanted) or wanted[i] - wanted[i - 1] > KEYFRAME_EVERY:
            yield wanted[begin], wanted[i - 1]
            begin = i
