"""The `__main__` of a stage: `python -m datagen.swap --input raw/`."""

from __future__ import annotations

from typing import Any

from datagen.cli import command


def stage_main(stage: str) -> None:
    """Run the command of this stage; `--help` answers before the heavy imports."""

    @command(f"datagen/{stage}")
    def main(cfg: Any) -> int:
        from datagen.stage_command import run_verb

        return run_verb(cfg, stage)

    main()
