"""The command of a script: the engine's own session, loop, store and packing, with toys for stages.

`python -m tests.faults.driver` serves: for each line {"home", "act"} it forks a process that runs
the command, says `started PID`, and says `ended CODE` when that is over. Imports are paid for once.
"""

from __future__ import annotations

import datetime
import faulthandler
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2  # noqa: F401  so that no driver pays for it
from omegaconf import OmegaConf

from datagen.cli import _guarded
from datagen.engine import ledger
from datagen.engine.store import Store
from datagen.job import Job
from datagen.session import exit_code, session
from datagen.shards import writer as pack  # noqa: F401
from datagen.shards.samples import finish
from datagen.sources.folder import FolderSource
from tests.faults import blows, toys


def serve() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if not pid:
            _alone(task)
            return
        print(f"started {pid}", flush=True)
        print(f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}", flush=True)


def job_of(home: Path, plan: dict[str, Any]) -> Job:
    """As `Job.of` makes it from a configuration."""
    disk, raw = home / "disk", home / "raw"
    options = {
        "shard_samples": 2,
        "shard_mb": 1,
        "overwrite": False,
        "limit": None,
        "progress": False,
    }
    options |= {
        "runner": plan["runner"],
        "workers": plan["workers"],
        "deadline_s": plan["deadline_s"],
        "ray": OmegaConf.create({}),
    }
    cfg: Any = SimpleNamespace(**options, store=str(disk / "store"), output=str(disk / "out"))
    return Job(
        cfg,
        FolderSource(str(raw)),
        toys.journey(raw, plan["poisons"], plan["apart"]),
        Store(cfg.store),
        toys.SELECTION,
    )


def command(home: Path, plan: dict[str, Any]) -> int:
    """As `datagen.shards` does it."""
    job = job_of(home, plan)
    with session(job, Path(job.cfg.output)) as run:
        work = run.run()
        with run.ended(work):
            finish(job, run.ledger, work.books)
    print(work.books.line())
    return exit_code(work.books)


def _alone(task: dict[str, Any]) -> None:
    """What the forked process does, in a session of its own, its words going to a log."""
    home = Path(task["home"])
    os.setsid()
    log = os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.register(signal.SIGUSR1)
    plan = json.loads((home / "plan.json").read_text())
    os.environ |= {"FAULTS_HOME": str(home), "FAULTS_DRIVER": str(os.getpid())}
    os.environ["FAULTS_BLOWS"] = json.dumps(task["blows"])
    sys.argv = ["toy shards", f"--act={task['act']}"]
    if plan["clock"]:
        _jump(plan["seed"])
    operations = blows.watch(home, "driver")
    code = _guarded(lambda: command(home, plan))
    (home / "operations").write_text(str(operations()))
    sys.stdout.flush()
    sys.exit(code)


def _jump(seed: int) -> None:
    """Nobody but Ray can tell the time: every look at the clock is up to ten years off, back or
    forth.
    """
    draw, real = random.Random(seed), time.time

    def jumping() -> float:
        who = sys._getframe(1).f_globals["__name__"]
        return real() + (0 if who.startswith("ray.") else draw.uniform(-3e8, 3e8))

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime.datetime:
            return datetime.datetime.fromtimestamp(jumping(), tz)

    time.time = jumping
    ledger.datetime = Jumping  # type: ignore[misc]


if __name__ == "__main__":
    serve()
