"""Opens a video file that anybody may have made: by what it is, not by its name, and nothing beside
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from datagen.core.errors import Invalid
from datagen.core.limits import MAX_PIXELS, MAX_SIDE
from datagen.media.mp4_tables import refuse_claims

# FFmpeg knows more, and takes what a file is from its first bytes: lists of other files and of
# addresses (concat, hls, dash), patterns of names (image2), descriptions of sessions (sdp). A video
# that names others is none.
FORMATS = (
    ("mov", "matroska", "avi", "flv", "asf", "ogg", "mpegts", "mpeg", "mpegvideo", "mxf", "nut",
    "wtv", "rm", "dv")
    + ("yuv4mpegpipe", "ivf", "h264", "hevc", "m4v", "vc1", "obu", "gif", "apng")
)  # fmt: skip
BOUNDS = {
    "max_pixels": str(MAX_PIXELS)
}  # of a decoder, which else gives memory for what a picture claims
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS), **BOUNDS}


def opened(path: Path) -> Any:
    """PyAV's container. FileNotFoundError, or Invalid("unreadable" | "too_large")."""
    try:
        with path.open("rb") as file:
            refuse_claims(file, path.name)
        return av.open(f"file:{path}", options=OPTIONS, metadata_errors="replace")
    except FileNotFoundError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Invalid(
            "unreadable", f"{path.name} is no video file that can be opened ({why(error)})"
        ) from None


def shown_stream(container: Any) -> Any | None:
    """The stream of pictures that players show: the default one, else the first that is no
    cover.
    """
    cover, default = av.stream.Disposition.attached_pic, av.stream.Disposition.default
    films = [each for each in container.streams.video if not each.disposition & cover]
    return next((each for each in films if each.disposition & default), films[0] if films else None)


def refuse_size(name: str, width: int, height: int, aspect: float = 1.0) -> None:
    """Raises Invalid("too_large") for pictures of no size, and of one that fills the memory."""
    sides = width * max(aspect, 1.0), height
    if not (min(sides) > 0 and max(sides) <= MAX_SIDE and sides[0] * sides[1] <= MAX_PIXELS):
        raise Invalid("too_large", f"{name} claims {width} x {height} pixels")


def bounded(stream: Any, name: str) -> Any:
    """The stream, decoded in one thread and with no picture above the bounds. Raises
    Invalid("unreadable").
    """
    if stream.codec_context is None:
        raise Invalid("unreadable", f"{name} has pictures in a codec that is not known here")
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {**stream.codec_context.options, **BOUNDS}
    return stream


def why(error: Exception) -> str:
    """FFmpeg's words in one line."""
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]
