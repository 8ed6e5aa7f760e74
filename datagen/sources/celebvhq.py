"""CelebV-HQ (Zhu et al., ECCV 2022): clips of YouTube videos, listed in celebvhq_info.json."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from datagen.core.errors import UserError
from datagen.sources.listed.base import BAD, BadEntry, Entry, ListedSource
from datagen.sources.listed.exact import Box
from datagen.sources.listed.raw import is_video
from datagen.sources.listed.streamed import members

RIGHTS = MappingProxyType(
    {
        "license": "CelebV-HQ agreement: non-commercial research only",
        "terms": "no copy, publication or distribution of any portion, derived data included: for "
        "internal use",
        "source": "https://github.com/CelebV-HQ/CelebV-HQ",
        "credit": "CelebV-HQ (Zhu et al., ECCV 2022); the videos belong to their owners",
    }
)
LENGTHS = {"appearance": 40, "action": 35}
EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
SIDES = ("left", "top", "right", "bottom")


@dataclass
class CelebVHQ(ListedSource):
    """The clips listed in `metadata`, in its order."""

    name: ClassVar[str] = "celebvhq"
    rights: ClassVar[Mapping[str, str]] = RIGHTS

    metadata: str = "data/raw/celebvhq/celebvhq_info.json"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.metadata, str):
            raise UserError(
                f"source.metadata is {self.metadata!r}: the dataset's list, "
                "celebvhq_info.json, is expected."
            )

    def listed(self) -> Iterator[Entry]:
        for name, value in self._clips():
            video = value.get("ytb_id") if isinstance(value, dict) else None
            known = str(video) if is_video(video) else ""
            try:
                yield self._entry(name, value)
            except BadEntry as bad:
                yield Entry(name, known, f"{BAD}:{bad.reason}", bad.detail)

    def count(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        count = sum(1 for _ in self._clips())
        if not count:
            raise UserError(f"{self.metadata} lists no clips: celebvhq_info.json is expected.")
        return count

    def _clips(self) -> Iterator[tuple[str, object]]:
        if not self._path.is_file():
            raise UserError(
                f"{self._path} is not here: fetch celebvhq_info.json from {RIGHTS['source']} "
                "and name it by source.metadata=FILE."
            )
        return ((name, value) for inside, name, value in members(self._path, "clips") if inside)

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """Names of appearances and actions, in order; empty if the file does not have them."""
        value: object = next(
            (
                value
                for inside, name, value in members(self._path, "clips")
                if name == "meta_info" and not inside
            ),
            {},
        )
        found: dict[str, tuple[str, ...]] = {}
        for kind, length in LENGTHS.items():
            names: object = value.get(f"{kind}_mapping") if isinstance(value, dict) else None
            found[kind] = ()
            if (
                isinstance(names, list)
                and len(names) == length
                and all(isinstance(n, str) for n in names)
            ):
                found[kind] = tuple(n.lower() for n in names)
        return found

    @property
    def _path(self) -> Path:
        return Path(self.metadata)

    def _entry(self, name: str, value: object) -> Entry:
        """Raises BadEntry."""
        if not isinstance(value, dict):
            raise BadEntry("no_entry", f"{value!r:.40} where an object is expected")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise BadEntry("key", f"{name!r:.80} is no key")
        if not is_video(value.get("ytb_id")):
            raise BadEntry("video_id", f"{value.get('ytb_id')!r:.80} is no id of a video")
        span, box = span_of(value.get("duration")), box_of(value.get("bbox"))
        labels = labels_of(value.get("attributes"), self._names, span[1] - span[0])
        return Entry(name, value["ytb_id"], span=span, box=box, labels=labels)


def span_of(value: object) -> tuple[float, float]:
    """(start, end) s. Raises BadEntry."""
    if not isinstance(value, dict):
        raise BadEntry("duration", f"duration is {value!r:.40}")
    start, end = (_number(value.get(name), "duration", name) for name in ("start_sec", "end_sec"))
    if start < 0:
        raise BadEntry("start", f"the clip begins at {start:g} s")
    if end <= start:
        raise BadEntry("end_before_start", f"the clip goes from {start:g} to {end:g} s")
    return start, end


def box_of(value: object) -> Box:
    """(left, top, right, bottom) as shares of the picture. Raises BadEntry."""
    if not isinstance(value, dict):
        raise BadEntry("box", f"bbox is {value!r:.40}")
    left, top, right, bottom = (_number(value.get(name), "box", name) for name in SIDES)
    if not (left < right and top < bottom):
        raise BadEntry(
            "box_inverted", f"the box goes from {left:g}, {top:g} to {right:g}, {bottom:g}"
        )
    if min(left, top) < 0 or max(right, bottom) > 1:
        raise BadEntry(
            "box_outside",
            f"the box from {left:g}, {top:g} to {right:g}, {bottom:g} leaves the picture",
        )
    return left, top, right, bottom


def labels_of(value: object, names: Mapping[str, Sequence[str]], seconds: float) -> tuple[str, ...]:
    """Labels of appearances, actions, and emotions (emotion:NAME). Raises BadEntry."""
    if not isinstance(value, dict):
        raise BadEntry("attributes", f"attributes are {value!r:.40}")
    found = []
    for kind, length in LENGTHS.items():
        flags: object = value.get(kind)
        if not (
            isinstance(flags, list)
            and len(flags) == length
            and all(type(f) is int and f in (0, 1) for f in flags)
        ):
            raise BadEntry(kind, f"{kind} is no list of {length} times 0 or 1")
        found += [name for name, flag in zip(names[kind], flags, strict=False) if flag]
    emotions = _emotions(value.get("emotion"), seconds)
    return (*found, *(f"emotion:{name}" for name in sorted(emotions)))


def _emotions(value: object, seconds: float) -> set[str]:
    """The emotion of the whole clip, or those of its parts; parts without length are ignored."""
    emotion = value if isinstance(value, dict) else {}
    labels: object = emotion.get("labels")
    if isinstance(labels, str) and emotion.get("sep_flag") is False:
        return {labels.lower()} & set(EMOTIONS)
    if not (isinstance(labels, list) and all(isinstance(part, dict) for part in labels)):
        raise BadEntry(
            "emotion", "emotion is neither a word, with sep_flag false, nor a list of parts"
        )
    found = set()
    for part in labels:
        start, end = (_number(part.get(name), "emotion", name) for name in ("start_sec", "end_sec"))
        if 0 <= start < min(end, seconds):
            found.add(str(part.get("emotion")).lower())
    return found & set(EMOTIONS)


def _number(value: object, reason: str, name: str) -> float:
    if value is None:
        raise BadEntry(f"{reason}_incomplete", f"{name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadEntry(f"{reason}_no_number", f"{name} is {value!r:.40}")
    return float(value)
