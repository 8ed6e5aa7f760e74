"""The record that every stage passes on, and the ways in which a clip can leave the journey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from datagen.core.json import Json, JsonObject
from datagen.core.keys import is_key


@dataclass(frozen=True)
class Artifact:
    """What a stage made for a clip: one small file and a few numbers (JSON values only)."""

    path: Path
    metrics: JsonObject = field(default_factory=dict)
    sha256: str = ""  # filled in by the store


@dataclass(frozen=True)
class Clip:
    """A few seconds of one face on its way through the journey.

    `source` says where it comes from (JSON values), `span` is (start, end) in seconds of the source
    video or None for all of it, `group` names what must not be split, where the source knows more
    than that one video is one group, `artifacts` holds what the stages made.
    """

    key: str
    source: Mapping[str, Json]
    span: tuple[float, float] | None = None
    identity: str = ""  # the person, where the source knows
    group: str = ""
    rights: Mapping[str, Json] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)

    def __post_init__(self):
        assert is_key(self.key), self.key

    def path(self, stage: str) -> Path:
        return self.artifacts[stage].path

    def metrics(self, stage: str) -> JsonObject:
        return self.artifacts[stage].metrics

    def with_artifact(self, stage: str, artifact: Artifact) -> Clip:
        return replace(self, artifacts={**self.artifacts, stage: artifact})
