"""Disk space and checksums of downloads: a file gets its name only once it is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from datagen.core.errors import UserError
from datagen.core.files import file_sha256
from datagen.weights.check import record
from datagen.weights.registry import Weight


def refuse_full_disk(needed: int, folder: Path) -> None:
    """UserError if `folder` has less than `needed` bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: make room."
        )


def keep_if_whole(
    came: Path, weight: Weight, name: str, expected: str | None, folder: Path
) -> None:
    """Move `came` to the weight's file `name` and record it.

    If its sha256 is not the `expected` one (None: unknown), it is removed: UserError.
    """
    path = folder / weight.name / name
    found = file_sha256(came)
    if expected and found != expected:
        came.unlink()
        mismatch = f"sha256 {found[:12]}... came, {expected[:12]}... is expected"
        raise UserError(
            f"{path} is not the file that it should be ({mismatch}) and was removed: "
            "fetch it again."
        )
    os.replace(came, path)
    record(weight, name, found, folder)
