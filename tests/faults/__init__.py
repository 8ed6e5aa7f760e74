"""What the tests of the whole journey share: commands called or started and killed, small videos,
folders compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datagen.engine.ledger import read_ledger
from datagen.media import video
from datagen.shards.reader import members
from datagen.sources.rendering.motion import Motion
from datagen.sources.rendering.people import person
from datagen.sources.rendering.talking_head import TalkingHead
from tests.conftest import REPOSITORY

SAMPLE = (
    "--limit",
    "2",
    "source.clips=12",
    "source.people=6",
    "source.seconds=[1.1,1.2]",
    "--shard-samples",
    "1",
)  # two clips, two shards
BROKEN = "broken.mp4"  # in `raw`, with the name of the file that cannot be read


@dataclass(frozen=True)
class Run:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What it said on stderr, which after a user's mistake is one line."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


def call(module: str, *words: object) -> Run:
    """`python -m module words` in this process."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    package = hasattr(importlib.import_module(module), "__path__")
    command = importlib.import_module(f"{module}.__main__" if package else module).main
    try:
        sys.argv = [module, *map(str, words)]
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ending,
        ):
            command()
    finally:
        sys.argv = argv
    assert isinstance(ending.value.code, int)
    return Run(ending.value.code, out.getvalue(), err.getvalue())


def run(module: str, *words: object) -> Run:
    """`python -m module words` as a process of its own."""
    command = [sys.executable, "-m", module, *map(str, words)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    return Run(result.returncode, result.stdout, result.stderr)


@contextlib.contextmanager
def started(
    log: Path, module: str, *words: object, folder: Path = REPOSITORY
) -> Iterator[subprocess.Popen]:
    """`python -m module words` at work in `folder`, its words going to `log`; killed at the end if
    it still runs.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    with log.open("wb") as sink:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=sink, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until something is true and return it; AssertionError when that takes too long."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "the condition has not come true"
        time.sleep(0.02)
    return value


def workers(driver: int) -> list[psutil.Process]:
    """Ray's actors below a process."""
    return [
        p
        for p in psutil.Process(driver).children(recursive=True)
        if _title(p).startswith("ray::Worker")
    ]


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; Ray's idle agents, which end by themselves after a minute, are
    left out.
    """
    return [
        p
        for p in processes
        if p.is_running() and _title(p) and not _title(p).split()[0].endswith("Agent")
    ]


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Relative path -> (sha256, time of change) of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (
            _digest(path) if path.is_file() else "",
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of the files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def leftovers(*folders: Path) -> list[str]:
    """What a run should not leave behind: part files, marks, scratch."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    return [
        str(path)
        for path in paths
        if path.name.startswith(".") or path.name == "tmp" or ".part" in path.name
    ]


def samples(shards: Path) -> dict[str, dict[str, bytes]]:
    """Key -> field -> bytes of all samples of a folder of shards."""
    found: dict[str, dict[str, bytes]] = {}
    for file in sorted(shards.glob("*.tar")):
        for key, field, data in members(file):
            found.setdefault(key, {})[field] = data
    return found


def computed(store: Path) -> dict[str, int]:
    """Stage -> number of artifacts that the last run made, by its ledger."""
    counts: dict[str, int] = {}
    for event in read_ledger(store / "ledger.jsonl"):
        if event["event"] == "start":
            counts = {}
        for stage in event.get("seconds", {}):
            counts[stage] = counts.get(stage, 0) + 1
    return counts


def sample_shards(output: Path, store: Path) -> Path:
    """Make the small sample's shards in this process."""
    made = call(
        "datagen.shards", *SAMPLE, "--runner", "local", "--store", store, "--output", output
    )
    assert made.code == 0, made.err
    return output


def raw(folder: Path) -> Path:
    """Fill a folder of videos: one.mp4 and sub/two.mp4 are talking heads, BROKEN is none."""
    (folder / "sub").mkdir()
    count = 28
    step = np.arange(count) - (count - 1) / 2
    film(
        folder / "one.mp4",
        2,
        poses(count, shift_x=3 * step, mouth=0.5 + 0.4 * np.sin(step)),
        numbered,
    )
    film(folder / "sub" / "two.mp4", 4, poses(count, gaze_yaw=step, head_yaw=0.4 * step))
    (folder / BROKEN).write_text("no video")
    return folder


def poses(count: int, **curves: np.ndarray) -> Motion:
    """A motion at 25 fps that is still but for the given curves [count]."""
    names = [f.name for f in fields(Motion) if f.name != "fps"]
    return Motion(
        25.0, **{name: np.asarray(curves.get(name, np.zeros(count)), float) for name in names}
    )


@cache
def head(who: int) -> TalkingHead:
    return TalkingHead(person(who))


def film(
    path: Path,
    who: int,
    motion: Motion,
    change: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> None:
    """Write a talking head as video; `change(rgb, index)` may alter its frames."""
    with video.Writer(path, round(motion.fps)) as writer:
        for index, rgb in enumerate(head(who).frames(motion)):
            writer.write(change(rgb, index) if change else rgb)


BITS, SQUARE = 6, 26


def numbered(rgb: np.ndarray, number: int) -> np.ndarray:
    """A number burnt into the upper left corner: a bit is a pair of squares, white-black for 1,
    black-white for 0.
    """
    rgb = rgb.copy()
    for bit in range(BITS):
        for side, squares in enumerate(_pair(rgb, bit)):
            squares[:] = 235 if (number >> bit & 1) != side else 20
    return rgb


def number_of(rgb: np.ndarray) -> int:
    """The number that `numbered` burnt in, also after compression and redrawing in another look."""
    pairs = [[square[4:-4, 4:-4].mean() for square in _pair(rgb, bit)] for bit in range(BITS)]
    return sum((left > right) << bit for bit, (left, right) in enumerate(pairs))


def _pair(rgb: np.ndarray, bit: int) -> list[np.ndarray]:
    rows = slice(6 + bit * SQUARE, 6 + (bit + 1) * SQUARE)
    return [rgb[rows, 6 + side * SQUARE : 6 + (side + 1) * SQUARE] for side in range(2)]


def _title(process: psutil.Process) -> str:
    """Its command line, empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
