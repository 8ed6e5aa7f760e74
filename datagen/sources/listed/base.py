"""A public dataset that lists clips of public videos: its entries, their clips and rights."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from datagen.core.errors import UserError
from datagen.engine.clip import Clip
from datagen.engine.exclude import ids_in
from datagen.sources.base import Source
from datagen.sources.listed.cut import Cut
from datagen.sources.listed.exact import Box
from datagen.sources.listed.raw import RawFiles, retrieved, safe_name

__all__ = ["BadEntry", "Entry", "ListedSource", "RawFiles", "key_for", "safe_name"]

BAD = "bad_metadata"
OPTED_OUT = "removed:opted_out"


class BadEntry(Exception):
    """An invalid entry of the list: a short reason, and the detail."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip as listed. With a `problem`, only `id`, `detail` and perhaps `video` are known."""

    id: str  # the dataset's own; a repeated id has a number appended
    video: str  # YouTube id, "" if unreadable
    problem: str | None = None  # bad_metadata:REASON, bad_frames:REASON or removed:opted_out
    detail: str = ""
    # [start, end) s of the video; with `fps`, the first and last frame
    span: tuple[float, float] = (0.0, 0.0)
    fps: float | None = None  # of the stream whose frames are numbered
    # (width, height) px of the picture of `box`; without it, `box` is in shares of the picture
    size: tuple[int, int] | None = None
    box: Box | None = None  # left, top, right, bottom; None: the whole picture
    archive: str | None = None  # the archive with the clip's pictures, if there is no raw video
    labels: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The length of the clip."""
        start, end = self.span
        return (end - start + 1) / self.fps if self.fps else end - start


@dataclass
class ListedSource(Source):
    """`entries()` are always in the same order; `plan()` gives a clip for each.

    Entries with a problem become clips too, so that they are counted.
    """

    name: ClassVar[str]

    raw: str
    local: str | None = None
    opt_out: str | None = None
    min_side: int = 512
    margin: float = 0.0
    shots: bool = False
    crf: int = 12
    _removed: frozenset[str] = field(init=False, repr=False, default=frozenset())

    def __post_init__(self) -> None:
        if not isinstance(self.raw, str) or not self.raw:
            raise UserError(
                f"source.raw is {self.raw!r}: the folder of the raw videos is expected."
            )
        for name, value, most in (("min_side", self.min_side, 8192), ("crf", self.crf, 51)):
            if type(value) is not int or not 0 <= value <= most:
                raise UserError(
                    f"source.{name} is {value!r}: a whole number from 0 to {most} is expected."
                )
        if (
            isinstance(self.margin, bool)
            or not isinstance(self.margin, int | float)
            or not 0 <= self.margin <= 2
        ):
            raise UserError(
                f"source.margin is {self.margin!r}: a share of the square's side from 0 "
                "to 2 is expected."
            )
        if self.local and not Path(self.local).is_dir():
            raise UserError(
                f"source.local={self.local} is no folder: name the one that holds your copies."
            )
        self._removed = ids_in(self.opt_out, "source.opt_out") if self.opt_out else frozenset()

    @abstractmethod
    def listed(self) -> Iterator[Entry]:
        """The entries of the list, always the same; UserError if the list is missing."""

    @abstractmethod
    def count(self) -> int:
        """The number of entries."""

    def entries(self) -> Iterator[Entry]:
        """All entries; opt-outs and repeated ids have that as their problem."""
        seen: dict[str, int] = {}
        for entry in self.listed():
            seen[entry.id] = times = seen.get(entry.id, 0) + 1
            if {entry.id, entry.video} & self._removed:
                entry = Entry(
                    entry.id,
                    entry.video,
                    OPTED_OUT,
                    "by the list of opt-outs",
                )
            if times > 1:
                problem = entry.problem or f"{BAD}:repeated_id"
                entry = Entry(
                    f"{entry.id}#{times}",
                    entry.video,
                    problem,
                    entry.detail or "the id is listed before",
                )
            yield entry

    def videos(self) -> dict[str, list[Entry]]:
        """The entries without a problem, by video, in order."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries():
            if not entry.problem:
                found.setdefault(entry.video, []).append(entry)
        return found

    def video_path(self, video: str) -> Path | None:
        """The raw file of a video, if it is here."""
        return self._raw.path(video)

    def plan(self) -> Iterator[Clip]:
        return (self.clip(entry) for entry in self.entries())

    def clip(self, entry: Entry) -> Clip:
        """The clip of an entry, grouped by video across datasets.

        Its span covers all of the cut video; the span in the raw video is in `source`.
        """
        source = {
            "name": self.name,
            "path": f"{entry.video}/{entry.id}"
            if not entry.problem
            else key_for(self.name, entry.id),
            "id": entry.id,
            "video": entry.video,
            "problem": entry.problem,
            "detail": entry.detail,
            "span": list(entry.span),
            "fps": entry.fps,
            "size": entry.size and list(entry.size),
            "box": entry.box and list(entry.box),
            "archive": entry.archive,
            "labels": list(entry.labels),
        }
        source = {name: value for name, value in source.items() if value not in (None, "", [])}
        # the cut video ends with the clip, but may be slightly longer than its frames at the
        # nominal rate
        span = (0.0, round(entry.seconds + 1, 3))
        group = f"youtube:{entry.video}" if entry.video else ""
        whole = not self.shots or bool(entry.problem)
        return Clip(
            key_for(self.name, entry.id),
            source,
            span if whole else None,
            group=group,
            rights=self._rights(entry),
        )

    def _rights(self, entry: Entry) -> Mapping[str, object]:
        day = self._retrieved.get(entry.video)
        return self.rights if day is None else {**self.rights, "retrieved": day}

    @cached_property
    def _retrieved(self) -> dict[str, str]:
        return retrieved(Path(self.raw))

    def stage(self) -> Cut:
        raw = RawFiles(
            str(Path(self.raw).absolute()), self.local and str(Path(self.local).absolute())
        )
        return Cut(raw, self.archives(), float(self.margin), self.min_side, self.crf)

    def archives(self) -> str:
        """The folder of the archives that the entries name."""
        return ""

    def keep(self, entry: Entry) -> str:
        """Cut an entry's clip in advance, so that its raw file can be removed.

        Returns "done", or the reason why it could not be cut.
        """
        return self.stage().keep(self.clip(entry))

    def advice(self, reasons: Mapping[tuple[str, str], int]) -> str | None:
        """What to do about lost clips, by (outcome, reason) -> number of clips."""
        missing = reasons.get(("invalid", "not_downloaded"), 0)
        if not missing:
            return None
        return (
            f"clips not downloaded yet: {missing}; `python -m datagen.download "
            f"source={self.name}` fetches them"
        )

    @cached_property
    def _raw(self) -> RawFiles:
        return RawFiles(self.raw, self.local)


def key_for(dataset: str, name: str) -> str:
    """A key for a dataset's own id: its plain characters, and eight digits of its hash."""
    digest = hashlib.sha256(f"{dataset}\x1f{name}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", name.removeprefix("Clip+")).strip("-_")[:60] or "clip"
    return f"{dataset}-{readable}-{digest}"
