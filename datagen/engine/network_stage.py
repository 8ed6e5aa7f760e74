"""The bases of stages that run a neural network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from datagen.core.device import refuse_gpus, refuse_no_gpu
from datagen.engine.stage import Needs, Stage


@dataclass
class NetworkStage(Stage):
    """A stage whose workers each take a share of a GPU: `gpus` 0 computes on the CPU.

    Name it before the stage's own base: `class L2csGaze(TorchStage, GazeStage)`.
    """

    not_in_key: ClassVar[tuple[str, ...]] = (
        "gpus",
    )  # half precision on a GPU is a parameter of its own

    gpus: float = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        refuse_gpus(f"{self.name}.gpus", self.gpus)
        super().__post_init__()

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(gpus=self.gpus)


@dataclass
class TorchStage(NetworkStage):
    """A stage whose network runs on PyTorch in the worker itself."""

    def check_here(self) -> None:
        refuse_no_gpu(f"{self.name}.gpus", self.gpus)
