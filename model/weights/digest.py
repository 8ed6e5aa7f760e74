"""sha256 of weights in use, for the store's keys: of one file, or of the files of a folder; computed once a process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from datagen.engine.files import file_sha256


def digest(path: Path) -> str:
    """Of a file, as long as its size and date stay."""
    stat = path.stat()
    return _of(str(path.absolute()), stat.st_size, stat.st_mtime_ns)


def folder_digest(folder: Path, files: Iterable[Path]) -> str:
    """Of some files of a folder: names below it and contents."""
    rows = sorted(f"{path.relative_to(folder).as_posix()} {digest(path)}" for path in files)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _of(path: str, size: int, mtime_ns: int) -> str:
    return file_sha256(Path(path))
