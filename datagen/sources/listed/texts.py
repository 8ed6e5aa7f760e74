"""Reads small text files in a folder or a zip archive, one by one, sorted by name.

Archives are not trusted: nothing is unpacked to disk, and texts that are too long are not read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from datagen.core.errors import UserError
from datagen.core.files import BROKEN_ZIP
from datagen.sources.listed.frames import is_safe

MAX_BYTES = 16 * 2**20  # of one text


def count(path: Path) -> int:
    """The number of text files."""
    if path.is_dir():
        return len(_paths(path))
    with _archive(path) as file:
        return len(_infos(file, path))


def read(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """(name without suffix, its content as bytes, or as str the reason why it is unreadable).

    UserError if there are none.
    """
    if path.is_dir():
        yield from ((path.stem, _content(path)) for path in _paths(path))
        return
    with _archive(path) as file:
        yield from (
            (PurePosixPath(info.filename).stem, _member(file, info)) for info in _infos(file, path)
        )


def _paths(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.txt"), key=lambda path: (path.stem, path.as_posix()))
    if not found:
        raise UserError(
            f"{folder} holds no text files (*.txt): name the folder or zip of the "
            "dataset's metadata."
        )
    return found


def _content(path: Path) -> bytes | str:
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_BYTES else "too_large"
    except OSError:
        return "unreadable"


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except BROKEN_ZIP as error:
        raise UserError(
            f"{path} is not a complete zip archive ({error}): fetch it again."
        ) from None


def _infos(file: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    def is_text(info: zipfile.ZipInfo) -> bool:
        return (
            info.filename.endswith(".txt") and "__MACOSX" not in PurePosixPath(info.filename).parts
        )

    found = sorted(
        filter(is_text, file.infolist()),
        key=lambda info: (PurePosixPath(info.filename).stem, info.filename),
    )
    if not found:
        raise UserError(
            f"{path} holds no text files (*.txt): name the folder or zip of the dataset's metadata."
        )
    return found


def _member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | str:
    if not is_safe(info.filename):
        return "unsafe_name"
    if info.file_size > MAX_BYTES:
        return "too_large"
    try:
        with file.open(info) as member:
            return member.read(MAX_BYTES)
    except BROKEN_ZIP:
        return "damaged"
