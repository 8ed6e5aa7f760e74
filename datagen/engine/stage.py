"""What a stage is: a callable that takes one clip and says what its result depends on."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datagen.core.files import plain
from datagen.core.json import Json, JsonObject
from datagen.engine.clip import Artifact, Clip


@dataclass(frozen=True)
class Needs:
    """What a stage needs to run: stages with equal needs share a worker."""

    cpus: float = 1
    gpus: float = 0


NO_GPU = Needs()


@dataclass(frozen=True)
class ClipLimits:
    """What the stage that cuts clips makes of a video."""

    max_seconds: float
    fps: int
    size: int  # px of the square


@dataclass(frozen=True)
class Workload:
    """What a stage has before it, at most: rules may drop a clip, and shots end within videos."""

    clips: int
    frames: int
    longest: int  # frames of one clip
    side: int  # px of the square clips
    deadline_s: float  # for one clip
    is_guess: bool = False  # whether videos were taken to be as long as others


@dataclass
class Stage(ABC):
    """One step for one clip: `stage(clip, workdir) -> Artifact`; raises Reject, Invalid, Transient.

    Subclasses are dataclasses: their fields are the parameters. Models are loaded on first use
    (`cached_property`), so that a plan, a dry run and `--help` load none. A stage knows nothing of
    workers, retries, the store or other clips, and writes only below `workdir`.
    """

    name: ClassVar[str]
    version: ClassVar[int]  # raised by hand whenever the output changes
    inputs: ClassVar[tuple[str, ...]] = ()  # the stages whose artifacts it reads
    needs: ClassVar[Needs] = NO_GPU
    not_in_key: ClassVar[tuple[str, ...]] = ()  # fields that cannot change the result
    encodes: ClassVar[bool] = False  # it writes a video: the encoder is part of the store's key
    external: ClassVar[bool] = False  # its artifact is somebody else's file and stays where it is
    splits: ClassVar[bool] = False  # its metric `spans` says which clips a video becomes

    def __post_init__(self) -> None:  # noqa: B027  most have nothing to refuse
        """UserError for options that no clip could be made with; bases are asked too."""

    def parameters(self) -> JsonObject:
        """What the result depends on besides the clip: JSON values.

        All fields but those that this class or a base opts out by name in `not_in_key`: a field
        that nobody thought of is in the store's key.
        """
        out = {name for base in type(self).__mro__ for name in vars(base).get("not_in_key", ())}
        return plain({k: v for k, v in dataclasses.asdict(self).items() if k not in out})

    def of_clip(self, clip: Clip) -> JsonObject:
        """What the result depends on of the clip itself besides its artifacts: JSON values."""
        return {}

    def weights(self) -> dict[str, str]:
        """Name -> version or sha256 of the weights in use."""
        return {}

    @classmethod
    def weight_names(cls, options: Mapping[str, Json]) -> tuple[str, ...]:
        """Names in the registry of the weights that a backend with these options wants; known
        before it can be made.
        """
        return ()

    def __getstate__(self) -> JsonObject:
        """Parameters travel to workers; models and whatever else was loaded do not."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def check(self) -> None:  # noqa: B027  most have nothing to check
        """Called once before any work: UserError for what the user got wrong, such as a missing
        folder or missing weights.
        """

    def check_here(self) -> None:  # noqa: B027
        """Called after `check` where workers are on this machine: UserError where it lacks what
        they compute on.
        """

    def clip_limits(self) -> ClipLimits | None:
        """Of the stage that cuts clips; None of all others."""
        return None

    def describe_cost(self, workload: Workload) -> str | None:
        """A line on what the work ahead costs, printed before it starts; UserError where it cannot
        end well.
        """
        return None

    @abstractmethod
    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        """Make the clip's artifact below `workdir`."""
