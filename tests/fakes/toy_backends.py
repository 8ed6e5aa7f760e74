"""Backends that want what is not there, for the commands that tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError
from datagen.engine.clip import Artifact, Clip
from datagen.engine.network_stage import NetworkStage
from datagen.engine.stage import Stage
from datagen.weights.registry import require


@dataclass
class ToySwap(NetworkStage):
    """Wants the weight `toy`, or `file`, and on a GPU another one; prints while it looks."""

    name = "swap"
    version = 1
    inputs = ("clips", "faces")

    file: str | None = None

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("toy", "asked", *(["spare"] if options["gpus"] == 1 else []))

    def weights(self) -> dict[str, str]:
        return {"toy": "1", "nobody-knows": "1", "mediapipe": "1"}

    def check(self) -> None:
        print("looking")
        if self.file is None:
            require("toy")
        elif not Path(self.file).is_file():
            raise UserError(f"{self.file} is not there: run `make toy` or name another swap.file.")

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        raise NotImplementedError


@dataclass
class BrokenStyle(Stage):
    """Its check has a mistake in it."""

    name = "style"
    version = 1

    def check(self) -> None:
        raise ZeroDivisionError("no tone")

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        raise NotImplementedError
