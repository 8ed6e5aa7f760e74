"""A weight in use by a stage: where it lies, whether it is the right one, and the sha256 that the store's key holds."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from datagen.engine.errors import UserError
from datagen.engine.files import canonical, file_sha256
from model.weights import FOLDER, find, how_to_get
from model.weights.check import recorded

IGNORED = ("fetched.json",)  # of a folder: says how it came, not what it is


def place(name: str, given: str | None) -> str:
    """Absolute path, as workers may stand elsewhere: the file or folder given, else the registry's place."""
    return str(Path(given).absolute() if given else find(name).path(FOLDER).absolute())


def digest(path: str) -> str:
    """sha256 of a file, or of a folder's files and their names; computed again only where one has changed."""
    files = _files(Path(path))
    state = tuple((str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files)
    return _digest(path, state)


def refuse(name: str, path: str) -> None:
    """UserError where nothing is there, or in the registry's place another file than it knows."""
    weight, there = find(name), Path(path)
    is_ours = there == weight.path(FOLDER).absolute()
    if is_ours and weight.missing(FOLDER):
        raise UserError(how_to_get(weight, FOLDER))
    if not there.exists():
        raise UserError(
            f"{path} is not there: name the file or folder of {weight.name} ({weight.what}; {weight.page})."
        )
    if not is_ours:
        return
    known = recorded(weight, FOLDER)
    for file in weight.files:
        expected = weight.sha256.get(file) or known.get(file, {}).get("sha256")
        if expected and (found := digest(str((FOLDER / weight.name / file).absolute()))) != expected:
            raise UserError(
                f"{FOLDER / weight.name / file} has sha256 {found[:12]}..., {expected[:12]}... is expected: "
                f"remove it, then {'get it again from ' + weight.page}."
            )


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder what lies in it, hidden files left out."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.iterdir() if file.is_file() and file.name not in IGNORED)
    return sorted(file for file in found if not file.name.startswith("."))


@lru_cache(maxsize=64)
def _digest(path: str, state: tuple[tuple[str, int, int], ...]) -> str:
    """`state` is there to notice a change."""
    digests = {os.path.relpath(file, path): file_sha256(Path(file)) for file, _, _ in state}
    if list(digests) == ["."]:
        return digests["."]
    return hashlib.sha256(canonical(digests).encode()).hexdigest()
