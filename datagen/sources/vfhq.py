"""VFHQ (Xie et al., 2022): clips of YouTube videos, from text files or archives of frames."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from datagen.core.errors import UserError
from datagen.sources.listed import frames as archive
from datagen.sources.listed import texts
from datagen.sources.listed.base import BAD, BadEntry, Entry, ListedSource
from datagen.sources.listed.exact import Box
from datagen.sources.listed.raw import is_video

RIGHTS = MappingProxyType(
    {
        "license": "unstated by VFHQ: taken as non-commercial research only",
        "terms": "no distribution of any portion, derived data included: for internal use",
        "source": "https://xpixel.group/2022/05/02/VFHQ.html",
        "credit": "VFHQ (Xie et al., CVPR workshops 2022); the videos belong to their owners",
    }
)
BAD_FRAMES = "bad_frames"
_NAME = re.compile(r"Clip\+([^+]*)\+P(\d+)\+C(\d+)\+F(\d+)-(\d+)")


@dataclass
class VFHQ(ListedSource):
    """The clips of the text files in `metadata` (a folder or a zip), by name.

    With `frames` (a folder), the clips of the archives there; `metadata` then only gives their
    frame rates, if it is there.
    """

    name: ClassVar[str] = "vfhq"
    rights: ClassVar[Mapping[str, str]] = RIGHTS

    metadata: str | None = "data/raw/vfhq/meta_info.zip"
    frames: str | None = None
    fps: float = 25.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            isinstance(self.fps, bool)
            or not isinstance(self.fps, int | float)
            or not 1 <= self.fps <= 240
        ):
            raise UserError(f"source.fps is {self.fps!r}: a rate from 1 to 240 is expected.")

    def listed(self) -> Iterator[Entry]:
        if self.frames:
            yield from map(self._of_archive, self._groups)
        else:
            yield from (entry_of(name, text) for name, text in self._texts())

    def count(self) -> int:
        return len(self._groups) if self.frames else texts.count(self._metadata)

    def archives(self) -> str:
        return str(Path(self.frames).absolute()) if self.frames else ""

    def _texts(self) -> Iterator[tuple[str, bytes | str]]:
        return texts.read(self._metadata)

    @property
    def _metadata(self) -> Path:
        path = Path(self.metadata or "")
        if not self.metadata or not path.exists():
            raise UserError(
                f"source.metadata={self.metadata} is not here: fetch VFHQ's "
                f"meta_info.zip (see {RIGHTS['source']}) "
                "and name it, or the folder of its text files."
            )
        return path

    @cached_property
    def _groups(self) -> list[tuple[str, str, str, int]]:
        """(archive, clip, problem, number of pictures) by archive, as opening one is slow."""
        folder = Path(str(self.frames))
        paths = sorted(folder.glob("*.zip")) if folder.is_dir() else []
        if not paths:
            raise UserError(
                f"source.frames={folder} holds no zip archives: name the folder of "
                "VFHQ's group*.zip."
            )
        return [
            (path.name, group.clip, group.problem, len(group.members))
            for path in paths
            for group in archive.groups(path).values()
        ]

    def _of_archive(self, row: tuple[str, str, str, int]) -> Entry:
        file, clip, problem, count = row
        try:
            video, _, _ = numbers_of(clip)
        except BadEntry as bad:
            return Entry(clip, "", f"{BAD_FRAMES}:{bad.reason}", f"{file}: {bad.detail}")
        if problem:
            return Entry(
                clip,
                video,
                f"{BAD_FRAMES}:{problem}",
                f"its pictures in {file} have invalid names",
            )
        return Entry(
            clip, video, span=(1, count), fps=self._rates.get(clip, float(self.fps)), archive=file
        )

    @cached_property
    def _rates(self) -> dict[str, float]:
        """Clip -> frames per second, for the clips with a rate in the metadata."""
        if not self.metadata or not Path(self.metadata).exists():
            return {}
        entries = (entry_of(name, text) for name, text in self._texts())
        return {entry.id: entry.fps for entry in entries if entry.fps}


def entry_of(name: str, text: bytes | str) -> Entry:
    """The entry of a text file: its name without suffix, and its text or why it is unreadable."""
    video = ""
    try:
        video, start, end = numbers_of(name)
        if isinstance(text, str):
            raise BadEntry(text, "its text file cannot be read")
        lines = fields(text)
        size = (whole(lines, "W"), whole(lines, "H"))
        fps = number(lines.get("FPS", [])[-1:], "fps")
        if not 1 <= fps <= 240:
            raise BadEntry("fps", f"FPS is {fps:g}")
        if lines.get("VIDEO", [video])[-1:] != [video]:
            raise BadEntry("other_video", f"the text is about the video {lines['VIDEO'][-1:]}")
        return Entry(
            name,
            video,
            span=(start + 1, end - 1),
            fps=fps,
            size=size,
            box=box_of(lines.get("CROP", []), size),
        )
    except BadEntry as bad:
        return Entry(name, video, f"{BAD}:{bad.reason}", bad.detail)


def numbers_of(name: str) -> tuple[str, int, int]:
    """(video, first frame, last frame) from a clip's name. Raises BadEntry."""
    match = _NAME.fullmatch(name)
    if not match:
        raise BadEntry("name", f"{name!r:.80} is no Clip+VIDEO+PERSON+CLIP+FRAMES")
    if not is_video(match[1]):
        raise BadEntry("video_id", f"{match[1]!r:.80} is no id of a video")
    start, end = (int(digits[:12]) for digits in match.groups()[3:])
    if end - start < 2:
        raise BadEntry("frame_order", f"no frame lies between {start} and {end}")
    return match[1], start, end


def fields(text: bytes) -> dict[str, list[str]]:
    """First word of a line -> its other words, without `:`; lines of single frames are skipped."""
    # hundreds of those lie between the head and the last line: they are not even split
    head, tail = text[:4096], text[-4096:] if len(text) > 4096 else b""
    found: dict[str, list[str]] = {}
    for line in (head + b"\n" + tail).decode("utf-8", "replace").splitlines():
        words = line.replace(":", " ").split()
        if words and words[0].upper() in ("VIDEO", "H", "W", "FPS", "CROP"):
            found.setdefault(words[0].upper(), words[1:])
    return found


def box_of(words: list[str], size: tuple[int, int]) -> Box:
    """(left, top, right, bottom) px. Raises BadEntry."""
    if len(words) < 4:
        raise BadEntry("no_box", "CROP BBOX is missing")
    left, top, right, bottom = (number([word], "box") for word in words[-4:])
    if not (left < right and top < bottom):
        raise BadEntry(
            "box_inverted", f"the box goes from {left:g}, {top:g} to {right:g}, {bottom:g}"
        )
    if min(left, top) < 0 or right > size[0] or bottom > size[1]:
        raise BadEntry(
            "box_outside",
            f"the box from {left:g}, {top:g} to {right:g}, {bottom:g} leaves {size[0]} x "
            f"{size[1]} px",
        )
    return left, top, right, bottom


def whole(lines: dict[str, list[str]], name: str) -> int:
    """A side of the picture in px. Raises BadEntry."""
    value = number(lines.get(name, [])[-1:], "size")
    if value != int(value) or not 16 <= value <= 16384:
        raise BadEntry("size", f"{name} is {value:g}")
    return int(value)


def number(words: list[str], reason: str) -> float:
    """The first word as a finite number. Raises BadEntry."""
    try:
        value = float(words[0])
    except IndexError:
        raise BadEntry(f"no_{reason}", f"{reason} is missing") from None
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadEntry(f"{reason}_no_number", f"{reason} is {words[0]!r:.40}")
    return value
