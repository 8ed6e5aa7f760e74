"""What this machine has, what each chosen backend needs, and the commands that fix what is missing.

python -m datagen.doctor swap=inswapper gaze=l2cs
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datagen.cli import command
from datagen.options import option
from datagen.shards.options import ShardsOptions


@dataclass
class DoctorOptions(ShardsOptions):
    all: bool = option(False, "the backends that are not chosen too, with a line on each")
    json: bool = option(False, "the same for programs")


@command("datagen/doctor", DoctorOptions)
def main(cfg: Any) -> int:
    """0 if every chosen backend can run, else 1."""
    from datagen.doctor.report import examined

    report = examined(cfg)
    print(report.json() if cfg.json else report.text())
    return int(not report.is_ready)


if __name__ == "__main__":
    main()
