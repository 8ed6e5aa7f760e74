"""Names of clips that are safe in paths, tars and URLs."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath

KEY_LIMIT = 88  # with .swapped.mp4 the 100 characters of a tar name


def is_key(key: str) -> bool:
    """True for letters, digits, `_` and `-`, at most 88 of them, and no `__x__`, which WebDataset
    skips.
    """
    shape = re.fullmatch(rf"[A-Za-z0-9_-]{{1,{KEY_LIMIT}}}", key)
    return bool(shape) and not (key.startswith("__") and key.endswith("__"))


def key_of(relative: PurePath) -> str:
    """A stable key for a file: its readable name and eight hex digits of its whole relative
    path.
    """
    digest = hashlib.sha256(relative.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9_]+", "-", relative.stem).strip("-_") or "video"
    return f"{name[:64]}-{digest}"
