"""Plays a script: the command with its blows, the same command until it ends cleanly, and what must
be true then.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from datagen.engine.ledger import Rows, read_ledger, unfinished
from tests import faults
from tests.conftest import REPOSITORY
from tests.faults import toys
from tests.faults.script import Act, Script

RUN_S = 400  # a run of toys that takes longer hangs
DEADLINE_S = 12.0  # for one stage; the loaded machine's toys take a tenth of a second
ROOM_KB = 65536
KILLED, TERMED, INTERRUPTED, MISTAKE = -signal.SIGKILL, -signal.SIGTERM, 130, 2
INFORMS = (
    "books",
    "rejects",
)  # of the index: differ by the poisoned clips, and are looked at one by one


class Server:
    """The process that forks drivers."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.driver"]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(
        self, home: Path, number: int, act: Act, blows: list[dict[str, Any]], greedy: bool
    ) -> int:
        """Exit code of the command; AssertionError when it hangs."""
        assert self._process.stdin
        task = {"home": str(home), "act": number, "blows": blows}
        self._process.stdin.write(json.dumps(task).encode() + b"\n")
        self._process.stdin.flush()
        pid = self._number("started", 60)
        end = time.monotonic() + RUN_S
        if act.kill_after_s is not None and not self._ready(act.kill_after_s):
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.kill(pid, signal.SIGKILL)
        while not self._ready(0.2):
            if greedy:
                _kill_greedy(pid)
            if time.monotonic() > end:
                os.kill(pid, signal.SIGUSR1)
                time.sleep(1)
                os.killpg(pid, signal.SIGKILL)
                self._number("ended", 60)
                raise AssertionError(f"it hangs:\n{(home / 'log').read_text()}")
        return self._number("ended", 60)

    def close(self) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def _number(self, word: str, seconds: float) -> int:
        assert self._process.stdout
        assert self._ready(seconds), "the server does not answer"
        found, number = self._process.stdout.readline().split()
        assert found.decode() == word
        return int(number)


def play(script: Script, home: Path, server: Server) -> list[int]:
    """The exit codes of the acts; AssertionError where something is not as it must be after all
    that.
    """
    plain, played = home / "plain", home / "played"
    total, again = _undisturbed(script, plain, server)
    _prepare(
        played,
        script.videos,
        script.poisons,
        script.runner,
        script.apart,
        script.clock,
        script.seed,
    )
    untouched = faults.tree(played / "raw")
    codes = []
    with _disk(played, script) as set_disk:
        for number, act in enumerate([*script.acts, Act()]):
            set_disk(act)
            blows = [
                {
                    **asdict(blow),
                    "number": f"{number}-{i}",
                    "at": _moment(blow, script.runner, total, again),
                }
                for i, blow in enumerate(act.blows)
            ]
            code = server.run(played, number, act, blows, "memory" in script.poisoned.values())
            _check_ending(script, act, code, _said(played))
            codes.append(code)
        assert code in script.expected_to_end(), (code, (played / "log").read_text())
        _check(script, plain / "disk" / "out", played)
        assert faults.tree(played / "raw") == untouched
    faults.until(lambda: not left_over(played), 90)
    return codes


def memory() -> str | None:
    """A folder in memory, where there is one: a thousand small files are flushed in no time."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def left_over(home: Path) -> list[psutil.Process]:
    """Processes that a run in `home` has started and left."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("FAULTS_HOME") == str(home):
                found.append(process)
    return faults.alive(found)


def _kill_greedy(driver: int) -> None:
    """What the system does with a process that eats the memory."""
    with contextlib.suppress(psutil.Error):
        for worker in faults.workers(driver):
            if worker.memory_info().rss > toys.GREED:
                worker.kill()


def _undisturbed(script: Script, home: Path, server: Server) -> tuple[int, int]:
    """The same without faults, the poisoned clips rejected: file operations of a first run and of a
    second one.
    """
    poisons = {
        stage: {key: "reject" for key, fault in faults.items() if fault != "slow"}
        for stage, faults in script.poisons.items()
    }
    _prepare(home, script.videos, poisons, "local", "", False, 0)
    counts = []
    for number in range(2):
        assert server.run(home, number, Act(), [], False) == 0, (home / "log").read_text()
        counts.append(int((home / "operations").read_text()))
    return counts[0], counts[1]


def _prepare(
    home: Path, videos: Any, poisons: Any, runner: str, apart: str, clock: bool, seed: int
) -> None:
    (home / "raw").mkdir(parents=True)
    (home / "disk").mkdir()
    for video in videos:
        (home / "raw" / video).write_text(f"a video of the name {video}")
    plan = {"poisons": poisons, "runner": runner, "apart": apart, "clock": clock, "seed": seed}
    plan |= {"workers": 2, "deadline_s": DEADLINE_S}
    (home / "plan.json").write_text(json.dumps(plan))


def _moment(blow: Any, runner: str, total: int, again: int) -> int:
    """The number of the file operation. On Ray the driver only asks and packs, and workers share
    the rest.
    """
    most = total if runner == "local" else total // 4 if blow.where == "worker" else again
    return 1 + int(blow.at * most)


@contextlib.contextmanager
def _disk(home: Path, script: Script) -> Iterator[Any]:
    """Gives a function that makes the disk what an act asks for."""
    disk = home / "disk"
    if not script.needs_mount:
        yield lambda act: None
        return
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM_KB}k", "none", disk], capture_output=True
    ).returncode:
        print("mounting is not permitted here: the disk stays as it is")
        yield lambda act: None
        return

    def set_disk(act: Act) -> None:
        options = f"remount,{'ro' if act.readonly else 'rw'},size={act.disk_kb or ROOM_KB}k"
        subprocess.run(["mount", "-o", options, disk], check=False, capture_output=True)

    try:
        yield set_disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _said(home: Path) -> str:
    """What the last run said; the next one begins with nothing said."""
    text = (home / "log").read_text()
    (home / "log").rename(home / f"log-{len(list(home.glob('log-*')))}")
    (home / "log").touch()
    return text


def _check_ending(script: Script, act: Act, code: int, said: str) -> None:
    """Every ending is a clean one: killed, interrupted, one sentence, or the work is done."""
    clean = script.expected_to_end() | {1}
    whats = {blow.what for blow in act.blows}
    whos = {blow.who for blow in act.blows}
    if ("kill" in whats and "driver" in whos) or act.kill_after_s is not None:
        clean.add(KILLED)
    if "term" in whats:
        clean |= {TERMED, INTERRUPTED}
    if whats & {"full", "readonly"} or act.disk_kb or act.readonly or "raylet" in whos:
        clean.add(MISTAKE)
    assert code in clean, (code, said)
    assert "Traceback" not in said, said
    if code == MISTAKE:
        sentences = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(sentences) == 1, said


def _check(script: Script, plain: Path, played: Path) -> None:
    """Shards, books, every clip's class and reason, nothing half-written."""
    store, output = played / "disk" / "store", played / "disk" / "out"
    want, got = faults.contents(plain), faults.contents(output)
    assert got.keys() == want.keys()
    assert {name for name in want if want[name] != got[name]} <= {"index.json"}
    indices = [json.loads(files["index.json"]) for files in (want, got)]
    assert _without(indices[0], INFORMS) == _without(indices[1], INFORMS)
    if not script.poisoned:
        assert want == got
    last = [
        event["run"] for event in read_ledger(store / "ledger.jsonl") if event["event"] == "start"
    ][-1]
    rows = Rows(store / "ledger.jsonl", last)
    assert {key: (row["outcome"], row["reason"]) for key, row in rows.items()} == script.endings
    assert {row["key"]: row["outcome"] for row in indices[1]["rejects"]} == {
        key: outcome for key, (outcome, _) in script.endings.items() if outcome != "kept"
    }
    assert script.books in (played / f"log-{len(script.acts)}").read_text().splitlines()
    assert unfinished(store / "ledger.jsonl") is None
    assert faults.leftovers(store, output) == []
    _check_store(store)


def _without(fields: dict[str, Any], names: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _check_store(store: Path) -> None:
    """What has a done.json is whole."""
    for path in store.glob("*/*/*/done.json"):
        record = json.loads(path.read_bytes())
        if record["outcome"] == "done" and not os.path.isabs(record["file"]):
            assert (path.parent / record["file"]).stat().st_size == record["bytes"], path
            assert {file.name for file in path.parent.iterdir()} == {"done.json", record["file"]}
