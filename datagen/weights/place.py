"""The path of a backend's weights (the user's, else the registry's), and their checksum."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from datagen.core.errors import UserError
from datagen.core.files import file_sha256
from datagen.weights.check import RECORD, recorded
from datagen.weights.registry import FOLDER, find, require


def place(name: str, given: str | None = None) -> Path:
    """The path that an option names, else the registry's.

    It is absolute, since workers may have another working directory.
    """
    return Path(given).absolute() if given is not None else find(name).path(FOLDER.absolute())


def refuse_missing(name: str, path: Path, option: str) -> None:
    """UserError if the weight is missing, or a file is not the one in the registry."""
    if path == place(name):
        require(name, FOLDER)
    elif not path.exists():
        raise UserError(f"{option}: {path} does not exist, {find(name).what} is expected there.")
    refuse_other(name, path)


def refuse_other(name: str, path: Path) -> None:
    """UserError if a file of the weight at `path` does not have its known checksum."""
    weight, is_registered = find(name), path == place(name)
    fetched = recorded(weight, FOLDER.absolute()) if is_registered else {}
    for file in weight.files:
        target = path / file if path.is_dir() else path
        expected = weight.sha256.get(file) or fetched.get(file, {}).get("sha256")
        if not expected or target.name != Path(file).name or not target.is_file():
            continue
        if (found := sha256_of(target)) != expected:
            mismatch = f"sha256 {found[:12]}..., {expected[:12]}... is expected"
            advice = "remove it, then get it again" if is_registered else "name another, or get it"
            raise UserError(
                f"{target} is not the file that it should be ({mismatch}): {advice} from "
                f"{weight.page}."
            )


def sha256_of(path: Path) -> str:
    """sha256 of a file, or of a folder's files and names; computed once per size and date."""
    if not path.is_dir():
        return _sha256(path, *_stamp(path))
    files = sorted(
        file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path))
    )
    lines = [
        f"{file.relative_to(path).as_posix()}\0{_sha256(file, *_stamp(file))}\n" for file in files
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hidden(relative: Path) -> bool:
    """Whether a file belongs to the system or a downloader, and not to the weights."""
    return any(part.startswith(".") or part in ("__pycache__", RECORD) for part in relative.parts)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)
