"""Checks that a file is the whole video."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from datagen.core.errors import Invalid
from datagen.download.answers import Incomplete
from datagen.media.container import bounded, opened, shown_stream
from datagen.sources.listed.raw import SUFFIXES


@dataclass(frozen=True)
class VideoFacts:
    """Properties of a raw file; width and height are those of the coded pictures, in pixels."""

    width: int
    height: int
    fps: float
    seconds: float
    bytes: int
    codec: str
    suffix: str

    def to_json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if name != "suffix"}


def inspect(path: Path, announced: float | None = None) -> VideoFacts:
    """Facts of a whole video file.

    Raises Incomplete if the file does not open, shows nothing, or ends early. `announced` is the
    length that the host gives, in seconds. All packets are read and one frame is decoded, so a
    file that was cut off is found even if its header is whole.
    """
    try:
        with opened(path) as container:
            stream = shown_stream(container)
            if stream is None:
                raise Incomplete("the file has no video stream")
            facts = _facts(path, container, stream, announced)
        with opened(path) as container:
            if next(container.decode(bounded(shown_stream(container), path.name)), None) is None:
                raise Incomplete("no frame can be decoded")
    except Invalid as error:
        raise Incomplete(f"the file cannot be read ({error.reason})") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Incomplete(
            f"the file cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    return facts


def _facts(
    path: Path, container: InputContainer, stream: VideoStream, announced: float | None
) -> VideoFacts:
    start, end, packets = None, 0.0, 0
    for packet in container.demux():
        if packet.pts is None or not packet.size:
            continue
        at = float(packet.pts * packet.time_base)
        start = at if start is None else min(start, at)
        end = max(end, at + float((packet.duration or 0) * packet.time_base))
        packets += packet.stream is stream
    if not packets:
        raise Incomplete("the file holds no pictures")
    seconds = end - (start or 0.0)
    header = (container.duration or 0) / 1_000_000
    _compare(seconds, header, min(2.0, max(0.25, 0.02 * header)), "the file's header says")
    _compare(seconds, announced or 0.0, max(2.0, 0.02 * (announced or 0.0)), "the host says")
    if stream.frames and packets < 0.98 * stream.frames:
        raise Incomplete(f"{packets} pictures where the file's header says {stream.frames}")
    rate = float(stream.average_rate or 0)
    size = path.stat().st_size
    own = ".mp4" if "mov" in container.format.name else ".mkv"
    suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else own
    name = stream.codec_context.name
    return VideoFacts(
        stream.width, stream.height, round(rate, 4), round(seconds, 3), size, name, suffix
    )


def _compare(seconds: float, expected: float, tolerance: float, who: str) -> None:
    if expected and seconds < expected - tolerance:
        raise Incomplete(f"too short: less than {who}")
