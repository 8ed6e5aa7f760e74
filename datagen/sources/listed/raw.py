"""The paths of the raw files of listed videos: safe names, and copies that the user has."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

SUFFIXES = (".mp4", ".webm", ".mkv")
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")  # a YouTube id
_NAMED = re.compile(r".*\[([A-Za-z0-9_-]{11})\]", re.DOTALL)  # yt-dlp's own names: "title [id].ext"


def is_video(name: object) -> bool:
    """Whether this can be the id of a YouTube video: 11 letters, digits, `-` and `_`."""
    return isinstance(name, str) and bool(_VIDEO.fullmatch(name))


def safe_name(video: str) -> str:
    """The name of a video's raw file, without suffix; ValueError if `video` is not an id.

    It never looks like an option, and is unique on file systems that ignore case.
    """
    if not is_video(video):
        raise ValueError(f"{video!r} is not the id of a video")
    return f"v_{video}-{hashlib.sha256(video.encode()).hexdigest()[:8]}"


def retrieved(folder: Path) -> dict[str, str]:
    """Video -> the day (UTC, YYYY-MM-DD) of its download, from the manifest in the folder."""
    path, days = folder / "manifest.jsonl", {}
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
                if row["how"] == "fetched" and row["outcome"] == "kept":
                    days[str(row["video"])] = date.fromisoformat(str(row["at"])[:10]).isoformat()
            except (
                ValueError,
                KeyError,
                TypeError,
                RecursionError,
            ):  # cut off, or another kind of line
                continue
    return days


@dataclass
class RawFiles:
    """The raw files of a source.

    In `folder` they have their safe names; in the tree `local`, ids or yt-dlp's names.
    """

    folder: str
    local: str | None = None

    def path(self, video: str) -> Path | None:
        """The raw file of a video, if it is here."""
        if not is_video(video):
            return None
        bare = Path(self.folder) / safe_name(video)
        candidates = (bare.with_name(bare.name + suffix) for suffix in SUFFIXES)
        return next((path for path in candidates if path.is_file()), None) or self._copies.get(
            video
        )

    @cached_property
    def _copies(self) -> dict[str, Path]:
        """The user's copies; of several for one video, the first by name."""
        found: dict[str, Path] = {}
        for at, folders, names in os.walk(self.local) if self.local else ():
            folders.sort()
            for path in (Path(at) / name for name in sorted(names)):
                if path.suffix.lower() in SUFFIXES and (video := _id_of(path.stem)):
                    found.setdefault(video, path)
        return found

    def __getstate__(self) -> dict[str, str | None]:
        return {"folder": self.folder, "local": self.local}


def _id_of(stem: str) -> str | None:
    if is_video(stem):
        return stem
    match = _NAMED.fullmatch(stem)
    return match[1] if match else None
