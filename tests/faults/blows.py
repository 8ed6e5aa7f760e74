"""Blows at exact moments: an audit hook counts a process's file operations below a folder and
strikes at the n-th.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

GROWS = {"os.rename": 1, "os.mkdir": 0}  # event -> where its path stands
REMOVES = {"os.remove": 0, "os.rmdir": 0}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

REFUSED = {"full": ("grows",), "readonly": ("grows", "writes")}
ERRORS = {"full": "ENOSPC", "readonly": "EROFS"}


def watch(home: Path, where: str) -> Callable[[], int]:
    """Count this process's operations below `home/disk`, and let those of FAULTS_BLOWS fall that
    wait for it.
    """
    blows = json.loads(os.environ["FAULTS_BLOWS"])
    disk, count = str(home / "disk") + "/", 0
    mine = [blow for blow in blows if blow["where"] == where]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        kind = _kind(event, arguments, disk)
        if kind is None:
            return
        count += 1
        for blow in mine:
            if count == blow["at"] and blow["what"] not in REFUSED:
                _strike(home, blow)
            elif count >= blow["at"] and kind in REFUSED.get(blow["what"], ()):
                number = getattr(errno, ERRORS[blow["what"]])
                raise OSError(number, os.strerror(number), disk)

    sys.addaudithook(hook)
    return lambda: count


@functools.cache
def watch_worker() -> None:
    """In a worker of the driver that was told of blows: from here on they may fall."""
    driver = os.environ.get("FAULTS_DRIVER")
    if driver and driver != str(os.getpid()):
        watch(Path(os.environ["FAULTS_HOME"]), "worker")


def _kind(event: str, arguments: tuple[Any, ...], disk: str) -> str | None:
    """None for what is none of ours, `reads`, `grows` for what needs room, `writes` for what needs
    none.
    """
    if event == "open":
        path, kind = arguments[0], "grows" if arguments[2] & WRITING else "reads"
    elif event in GROWS:
        path, kind = arguments[GROWS[event]], "grows"
    elif event in REMOVES:
        path, kind = arguments[0], "writes"
    else:
        return None
    return kind if isinstance(path, str | Path) and str(path).startswith(disk) else None


def _strike(home: Path, blow: dict[str, Any]) -> None:
    """Once in a script, whichever worker comes first."""
    try:
        (home / f"blow-{blow['number']}").touch(exist_ok=False)
    except FileExistsError:
        return
    number = signal.SIGTERM if blow["what"] == "term" else signal.SIGKILL
    if blow["who"] == "raylet":
        psutil.Process().parent().send_signal(number)  # who started this worker
    elif blow["who"] == "driver":
        os.kill(int(os.environ["FAULTS_DRIVER"]), number)
    else:
        os.kill(os.getpid(), number)
