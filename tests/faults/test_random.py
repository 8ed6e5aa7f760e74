"""Faults at random points: after each script the same command ends cleanly, with the shards of an
undisturbed run.

A failing seed prints its script; `python -m tests.faults.replay SEED` plays it again and keeps its
folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.faults.play")

from tests.faults.play import INTERRUPTED, Server, memory, play  # noqa: E402
from tests.faults.script import Act, Blow, Script  # noqa: E402

VIDEOS = ("v0_1.mp4", "v1_2.mp4")
SAID = "interrupted: what is done is kept; the same command goes on from here."
SOAK = int(os.environ.get("SOAK_RUNS", 200))
# on Ray, with faults that are also those of 0, of the scheduler's tests and of the journey's
LONG = (8, 16)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=memory()))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("seed", [seed for seed in range(20) if seed not in LONG])
def test_the_same_command_mends_everything(seed, server, home):
    _play(seed, server, home)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*LONG, *range(20, 20 + SOAK)])
def test_the_same_command_mends_everything_again_and_again(seed, server, home):
    _play(seed, server, home)


def test_sigterm_while_shards_are_packed_ends_with_the_books(server, home):
    late = Act((Blow("driver", "term", 0.99),))
    assert play(Script(0, "local", VIDEOS, acts=(late,)), home, server)[0] == INTERRUPTED
    said = (home / "played" / "log-0").read_text().splitlines()
    assert said == ["planned 3 = kept 3 + filtered 0 + invalid 0 + failed 0", SAID]


def test_on_ray_sigterm_ends_with_the_books_and_workers_that_die_cost_their_clips(server, home):
    (first, second, _) = (key for video in VIDEOS for key in Script.shots(video))
    poisons = {"swap": {first: "crash"}, "gaze": {second: "memory"}}
    half_way = Act((Blow("driver", "term", 0.3, "worker"),))
    assert play(Script(0, "ray", VIDEOS, poisons, (half_way,)), home, server)[0] == INTERRUPTED
    assert SAID in (home / "played" / "log-0").read_text().splitlines()


def _play(seed: int, server: Server, home: Path) -> None:
    script = Script.draw(seed)
    print("\n".join([*script.lines(), f"again: python -m tests.faults.replay {seed}"]))
    play(script, home, server)
