"""Reads clips that are released as archives of pictures.

Archives are not trusted: nothing is unpacked to disk, and pictures that are too large are not
decoded.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from datagen.core.errors import Invalid, UserError
from datagen.core.files import BROKEN_ZIP

MAX_BYTES = 64 * 2**20  # of one picture in the archive
MAX_PIXELS = 4096 * 4096  # of one picture
_PICTURE = re.compile(r"(\d+)\.(?:png|jpg|jpeg)", re.IGNORECASE)


@dataclass(frozen=True)
class ArchivedClip:
    """The pictures of one clip in an archive, by number; `problem` if their names are invalid."""

    clip: str
    members: tuple[tuple[int, zipfile.ZipInfo], ...]
    problem: str = ""


def groups(archive: Path) -> dict[str, ArchivedClip]:
    """The clips of an archive by name, whatever the order of its members.

    UserError if it is not an archive.
    """
    stat = archive.stat()
    return _opened(str(archive), stat.st_size, stat.st_mtime_ns)[1]


def pictures(archive: Path, clip: str) -> Iterator[np.ndarray]:
    """A clip's pictures by number, RGB uint8 [H, W, 3], all of one size.

    Raises Invalid("damaged" | "too_large" | "frames_missing" | "size_changes" | "no_frames").
    """
    stat = archive.stat()
    file, found = _opened(str(archive), stat.st_size, stat.st_mtime_ns)
    members = found[clip].members if clip in found else ()
    if not members:
        raise Invalid("no_frames", f"{archive.name} has no pictures of {clip}")
    _check_numbers([number for number, _ in members])
    shape = None
    for _, info in members:
        rgb = _picture(file, info)
        if rgb.shape != (shape := shape or rgb.shape):
            raise Invalid(
                "size_changes", f"{info.filename} differs in size from the pictures before"
            )
        yield rgb


def is_safe(name: str) -> bool:
    """False if the name of a member would lead out of a folder."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00-\x1f]", name))


def _check_numbers(numbers: list[int]) -> None:
    for before, after in zip(numbers, numbers[1:], strict=False):
        if after != before + 1:
            raise Invalid("frames_missing", f"after picture {before} comes {after}")


@lru_cache(maxsize=1)  # reading the members of a large archive takes time and memory
def _opened(path: str, size: int, mtime_ns: int) -> tuple[zipfile.ZipFile, dict[str, ArchivedClip]]:
    try:
        file = zipfile.ZipFile(path)
    except BROKEN_ZIP as error:
        raise UserError(
            f"{path} is not a complete zip archive ({error}): fetch it again."
        ) from None
    found: dict[str, dict[int, zipfile.ZipInfo]] = {}
    problems: dict[str, str] = {}
    for info in file.infolist():
        name = PurePosixPath(info.filename)
        match = _PICTURE.fullmatch(name.name)
        if info.filename.endswith("/") or not match or "__MACOSX" in name.parts:
            continue
        clip = _clip_of(name)
        if not is_safe(info.filename):
            problems[clip] = "unsafe_name"
        elif int(match[1]) in found.setdefault(clip, {}):
            problems[clip] = "repeated_frame"
        found.setdefault(clip, {})[int(match[1])] = info
    return file, {
        clip: ArchivedClip(clip, tuple(sorted(found[clip].items())), problems.get(clip, ""))
        for clip in sorted(found)
    }


def _clip_of(path: PurePosixPath) -> str:
    """The name of the clip's folder (Clip+...), else of the picture's folder."""
    return next((part for part in path.parts[:-1] if part.startswith("Clip+")), path.parent.name)


def _picture(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    from PIL import Image

    if info.file_size > MAX_BYTES:
        raise Invalid("too_large", f"{info.filename} has {info.file_size} bytes")
    try:
        with file.open(info) as member, warnings.catch_warnings():
            # the bound here is lower
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(member.read(MAX_BYTES)), formats=("PNG", "JPEG"))
            if picture.width * picture.height > MAX_PIXELS:
                raise Invalid(
                    "too_large", f"{info.filename} claims {picture.width} x {picture.height} pixels"
                )
            return np.asarray(picture.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise Invalid("too_large", f"{info.filename}: {error}") from None
    except (*BROKEN_ZIP, SyntaxError) as error:
        raise Invalid(
            "damaged", f"{info.filename} cannot be read ({type(error).__name__}: {error})"
        ) from None
