"""A public dataset that is a list of clips of public videos: entries, their clips, what may be done
with them.
"""

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
    """What is wrong with an entry of the list: a short reason, and the detail."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip as the dataset lists it. Of one with a `problem` only `id`, `detail` and perhaps
    `video` are known.
    """

    id: str  # the dataset's own, of two that are the same the second has a number behind it
    video: str  # YouTube id, "" where that is unreadable
    problem: str | None = None  # bad_metadata:REASON, bad_frames:REASON or removed:opted_out
    detail: str = ""
    span: tuple[float, float] = (
        0.0,
        0.0,
    )  # [start, end) s of the video; with `fps` its first and last frame
    fps: float | None = None  # of the stream that frames are numbered in
    size: tuple[int, int] | None = (
        None  # (width, height) px that `box` is given in; else in shares of the picture
    )
    box: Box | None = None  # left, top, right, bottom; None: all of the picture
    archive: str | None = None  # the archive of pictures that the clip lies in; else its raw video
    labels: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the clip is."""
        start, end = self.span
        return (end - start + 1) / self.fps if self.fps else end - start


@dataclass
class ListedSource(Source):
    """`entries()` in an order that never changes; `plan()` gives a clip for each, also for those
    with a problem.
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
        """What the dataset lists, the same each time; UserError where the list is missing."""

    @abstractmethod
    def count(self) -> int:
        """How many entries there are."""

    def entries(self) -> Iterator[Entry]:
        """All that is listed; entries that have opted out, or whose id there was before, with that
        as their problem.
        """
        seen: dict[str, int] = {}
        for entry in self.listed():
            seen[entry.id] = times = seen.get(entry.id, 0) + 1
            if {entry.id, entry.video} & self._removed:
                entry = Entry(
                    entry.id,
                    entry.video,
                    OPTED_OUT,
                    "by the list of those who do not want to be here",
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
        """Grouped by video, in whatever dataset. Its own span is all of what is cut; the video's is
        in `source`.
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
        # what is cut ends with the clip, and may last a little longer than its frames at the usual
        # rate
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
        """The folder of the archives that entries name."""
        return ""

    def keep(self, entry: Entry) -> str:
        """Cut an entry's clip for later, so that its raw file may go; "done" or the reason why
        nothing is cut.
        """
        return self.stage().keep(self.clip(entry))

    def advice(self, reasons: Mapping[tuple[str, str], int]) -> str | None:
        """What to do about the clips that were lost, by (outcome, reason) -> number of clips."""
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
    """A key for a dataset's own id, whatever that is: what is readable of it, and eight digits of
    its hash.
    """
    digest = hashlib.sha256(f"{dataset}\x1f{name}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", name.removeprefix("Clip+")).strip("-_")[:60] or "clip"
    return f"{dataset}-{readable}-{digest}"
