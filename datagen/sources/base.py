"""What a source is: it plans clips, and its stage leaves one video for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from datagen.engine.clip import Clip
from datagen.engine.stage import Stage


class Source(ABC):
    """Where clips come from: a dataclass whose fields are the options `source.NAME`."""

    rights: ClassVar[Mapping[str, Any]] = {}  # licence and terms that bind all of its clips

    @abstractmethod
    def plan(self) -> Iterator[Clip]:
        """The clips, each time in the same order; one without a span goes through `shots` first."""

    @abstractmethod
    def count(self) -> int:
        """How many clips `plan` gives. UserError for what is wrong with the input."""

    @abstractmethod
    def stage(self) -> Stage:
        """The stage named `source` that makes or finds the video of a planned clip."""

    def video_seconds(self, clip: Clip) -> float | None:
        """How long the video of a clip without a span is; None where that is not known cheaply."""
        return None

    def advice(self, reasons: Mapping[tuple[str, str], int]) -> str | None:
        """What to do about lost clips, by (outcome, reason) -> number of clips."""
        return None

    def leave_out(self, folders: Sequence[Path]) -> None:
        """Folders that a run writes into, which may lie among the input; called before `count`."""
        return
