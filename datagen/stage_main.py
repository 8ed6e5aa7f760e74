"""The command of a stage: `python -m datagen.swap --input raw/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datagen.cli import command
from datagen.job_options import JobOptions
from datagen.options import REQUIRED, option


@dataclass
class StageOptions(JobOptions):
    input: str = option(REQUIRED, "folder of videos")
    output: str | None = option(
        None,
        "folder for the results; by default beside the input, named after the stage: "
        "raw/ -> raw-clips/",
    )


def stage_main(stage: str, declared: type[StageOptions] = StageOptions) -> Callable[..., None]:
    """The command of this stage; `--help` answers before the heavy imports."""

    @command(f"datagen/{stage}", declared)
    def main(cfg: Any) -> int:
        from datagen.stage_command import run_verb

        return run_verb(cfg, stage)

    return main
