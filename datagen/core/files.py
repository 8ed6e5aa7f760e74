"""Files and JSON written so that equal things have equal bytes, and nothing half-written is taken
for whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import IO, NoReturn

from datagen.core.json import Json

# What zipfile raises where an archive is broken, cut short, locked, or packed in a way that is not
# known here
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


def canonical(value: object) -> str:
    """One spelling for equal JSON values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: object) -> Json:
    """As JSON would give it back: tuples become lists, NumPy numbers Python's."""
    return json.loads(json.dumps(value, default=lambda number: number.item()))


def parse_json(text: bytes | str) -> Json:
    """JSON that anybody may have written. ValueError, also for NaN, infinities and what is nested
    without end.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_atomically(source: IO[bytes], path: Path) -> None:
    """All of it or nothing: a temporary name beside it, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def clear_parts(folder: Path) -> None:
    """Remove what a killed run left half-written; only for the one who holds the folder's lock."""
    for part in folder.rglob(".*.part*"):
        part.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """All of it or nothing: a temporary name beside it, or in `scratch` on the same disk, flushed
    to disk, renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(scratch / path.name if scratch else path)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_if_new(path: Path, data: bytes) -> None:
    """`write_atomically`, unless the file holds just that."""
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
