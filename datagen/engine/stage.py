"""What a stage is: a callable that knows one clip, and says what its result depends on."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from datagen.engine.clip import Artefact, Clip

if TYPE_CHECKING:
    pass


if TYPE_CHECKING:
    from datagen.engine.workload import Ahead


@dataclass(frozen=True)
class Needs:
    """What a stage needs to run: stages with equal needs share a worker."""

    cpus: float = 1
    gpus: float = 0


NO_GPU = Needs()


@dataclass
class Stage(ABC):
    """One step of the journey for one clip.  `stage(clip, workdir) -> Artefact`; may raise Reject,
    Invalid, Transient.

    Subclasses are dataclasses: their fields are the parameters. Models are loaded on first use
    (`cached_property`), so that a plan, a dry run and `--help` load none. A stage knows nothing of
    workers, retries, the store or other clips, and writes only below `workdir`.
    """

    name: ClassVar[str]
    version: ClassVar[int]  # raised by hand whenever the output changes
    inputs: ClassVar[tuple[str, ...]] = ()  # the stages whose artefacts it reads
    needs: ClassVar[Needs] = NO_GPU
    encodes: ClassVar[bool] = (
        False  # its artefact is a video: the encoder is part of the store's key
    )
    external: ClassVar[bool] = False  # its artefact is somebody else's file and stays where it is

    def parameters(self) -> dict[str, Any]:
        """What the result depends on besides the clip: JSON values, by default the fields."""
        return dataclasses.asdict(self)

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        """What the result depends on of the clip itself besides its artefacts: JSON values, by
        default nothing.
        """
        return {}

    def weights(self) -> dict[str, str]:
        """Name -> version or sha256 of the weights in use."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Parameters travel to workers; models and whatever else was loaded does not."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def check(self) -> None:  # noqa: B027  most have nothing to check
        """Called once before any work: UserError for what the user got wrong (a missing folder,
        missing weights).
        """

    def check_here(self) -> None:  # noqa: B027
        """Called after `check` where workers are on this machine: UserError where it lacks what
        they compute on.
        """

    def announce(self, ahead: Ahead) -> str | None:
        """A line on what the work ahead costs, told before it starts; UserError where it cannot end
        well.
        """
        return None

    @abstractmethod
    def __call__(self, clip: Clip, workdir: Path) -> Artefact:
        """Make the clip's artefact below `workdir`."""


def needs(gpus: float) -> Needs:
    """Of a stage that takes this share of a GPU; 0 is none."""
    return Needs(gpus=gpus)
