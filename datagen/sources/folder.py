"""A folder of video files, in every codec that PyAV reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datagen.core.errors import Invalid, Reject, UserError
from datagen.core.keys import key_of
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.media import video
from datagen.sources.base import Source

SUFFIXES = frozenset(
    [".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"]
    + [".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"]
)


@dataclass
class VideoFile(Stage):
    """The file itself, which is not copied."""

    name = "source"
    version = 1
    external = True
    not_in_key = ("root",)  # the clip says which file

    root: str

    def of_clip(self, clip: Clip) -> dict[str, object]:
        """Path, size and date: a file that was rewritten is read again."""
        path = self._path(clip)
        try:
            stat = path.stat()
        except OSError as error:
            return {"path": str(path), "missing": error.strerror}
        return {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        path = self._path(clip)
        if not path.is_file():
            raise Invalid("missing", f"{path.name} is gone")
        if not path.stat().st_size:
            raise Invalid("empty", f"{path.name} has no bytes")
        return Artifact(path)

    def _path(self, clip: Clip) -> Path:
        return Path(self.root) / clip.source["path"]


@dataclass
class FolderSource(Source):
    """Videos below `input`, in order of their paths; each becomes one clip per shot of one face."""

    input: str
    license: str = "unknown"
    terms: str = "unknown: the owner of the videos decides"
    retrieved: str | None = None  # when they were recorded or downloaded

    def __post_init__(self) -> None:
        self._left_out: set[Path] = set()

    def leave_out(self, folders: Sequence[Path]) -> None:
        self._left_out = {folder.resolve() for folder in folders}

    def plan(self) -> Iterator[Clip]:
        rights = {"license": self.license, "terms": self.terms}
        rights |= {} if self.retrieved is None else {"retrieved": str(self.retrieved)}
        for path in self.files():
            relative = path.relative_to(self.input)
            source = {"name": "folder", "path": relative.as_posix()}
            yield Clip(key_of(relative), source, rights=rights)

    def count(self) -> int:
        return len(self.files())

    def files(self) -> list[Path]:
        """The videos by relative path; UserError if the folder is missing or holds none."""
        root = Path(self.input)
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise UserError(
                f"{root} should be a folder of videos, found {found}: name another --input."
            )
        everything = list(self._walk(root))
        files = [
            path
            for path in everything
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        if not files:
            kinds = ", ".join(sorted(SUFFIXES))
            raise UserError(
                f"{root} holds {len(everything)} files but no video ({kinds}): name "
                "another --input."
            )
        return sorted(files, key=lambda path: path.relative_to(root).as_posix())

    def _walk(self, root: Path) -> Iterator[Path]:
        for at, folders, names in os.walk(root):
            folders[:] = [
                name for name in folders if (Path(at) / name).resolve() not in self._left_out
            ]
            yield from (Path(at) / name for name in names)

    def video_seconds(self, clip: Clip) -> float | None:
        """None if the file is gone or cannot be opened."""
        try:
            return video.probe(Path(self.input) / clip.source["path"]).seconds
        except (Reject, OSError):
            return None

    def stage(self) -> Stage:
        return VideoFile(str(Path(self.input).absolute()))
