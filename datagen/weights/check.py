"""Checks that the files of a weight are complete and unchanged. Nothing in them is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from datagen.core.errors import UserError
from datagen.core.files import file_sha256, write_atomically
from datagen.weights.registry import Weight

RECORD = "fetched.json"  # in a weight's folder: bytes and sha256 of the fetched files


class FileRecord(TypedDict, total=False):
    """What `fetched.json` says of a file."""

    bytes: int
    sha256: str


def there(weight: Weight, folder: Path) -> str:
    """Whether its files are present: yes, no, in part; or in its package."""
    if not weight.files:
        return "in its package"
    missing = len(weight.missing(folder))
    return "no" if missing == len(weight.files) else "in part" if missing else "yes"


def recorded(weight: Weight, folder: Path) -> dict[str, FileRecord]:
    """The records of the fetched files, by file."""
    try:
        return json.loads((folder / weight.name / RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def record(weight: Weight, name: str, sha256: str, folder: Path) -> None:
    size = (folder / weight.name / name).stat().st_size
    known = recorded(weight, folder) | {name: {"bytes": size, "sha256": sha256}}
    write_atomically(folder / weight.name / RECORD, json.dumps(known, indent=1).encode())


def has_checksums(weight: Weight, folder: Path) -> bool:
    return {*weight.files} <= {*weight.sha256, *recorded(weight, folder)}


def problems(weight: Weight, folder: Path) -> Iterator[str]:
    """A sentence for each file that is missing, damaged or not the expected one."""
    known = recorded(weight, folder)
    for name in weight.files:
        path = folder / weight.name / name
        if not path.is_file():
            yield f"{path} is missing"
        elif problem := _problem(path, known.get(name, {}), weight.sha256.get(name)):
            yield problem


def _problem(path: Path, known: FileRecord, stated: str | None) -> str | None:
    """Check size, readability and checksum, the cheapest first."""
    from datagen.weights.look import look

    size, expected = path.stat().st_size, stated or known.get("sha256")
    if size != known.get("bytes", size):
        return f"{path} has {size} bytes, {known['bytes']} were fetched"
    try:
        look(path)
    except UserError as error:
        return str(error)
    if expected and (found := file_sha256(path)) != expected:
        return f"{path} has sha256 {found[:12]}..., {expected[:12]}... is expected"
    return None
