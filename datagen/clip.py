"""The record that every stage passes on, and the ways in which a clip can leave the journey."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

KEY_LIMIT = 88  # with .swapped.mp4 the 100 characters of a tar name


class Reject(Exception):
    """A rule or a measurement says no: the clip is `filtered`. The first word is the reason, the rest is detail."""

    outcome = "filtered"

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return type(self), (self.reason, self.detail)


class Invalid(Reject):
    """The input is no usable video: the clip is `invalid`."""

    outcome = "invalid"


class Transient(Exception):
    """Something outside failed for now (network, memory): worth another try."""


@dataclass(frozen=True)
class Artefact:
    """What a stage made for a clip: one small file and a few numbers (JSON values only)."""

    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""  # filled in by the store


@dataclass(frozen=True)
class Clip:
    """A few seconds of one face on its way through the journey.

    `source` says where it comes from (JSON values), `span` is (start, end) in seconds of the source video or None
    for all of it, `group` names what must not be split, where the source knows more than that one video is one
    group, `artefacts` holds what the stages made.
    """

    key: str
    source: Mapping[str, Any]
    span: tuple[float, float] | None = None
    identity: str = ""  # the person, where the source knows
    group: str = ""
    rights: Mapping[str, Any] = field(default_factory=dict)
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)

    def __post_init__(self):
        assert is_key(self.key), self.key

    def path(self, stage: str) -> Path:
        return self.artefacts[stage].path

    def metrics(self, stage: str) -> dict[str, Any]:
        return self.artefacts[stage].metrics

    def with_artefact(self, stage: str, artefact: Artefact) -> Clip:
        return replace(self, artefacts={**self.artefacts, stage: artefact})


def is_key(key: str) -> bool:
    """True for letters, digits, `_` and `-`, at most 88 of them, and no `__x__`, which WebDataset skips."""
    shape = re.fullmatch(rf"[A-Za-z0-9_-]{{1,{KEY_LIMIT}}}", key)
    return bool(shape) and not (key.startswith("__") and key.endswith("__"))


def key_of(relative: PurePath) -> str:
    """A stable key for a file: its readable name and eight hex digits of its whole relative path."""
    digest = hashlib.sha256(relative.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9_]+", "-", relative.stem).strip("-_") or "video"
    return f"{name[:64]}-{digest}"


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on nothing but its arguments."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
