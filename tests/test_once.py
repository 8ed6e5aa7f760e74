"""What workers share is made once, by whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest

from tests.once import once


def worker(root: Path, number: int) -> SimpleNamespace:
    """A worker's factory of folders."""
    own = root / f"popen-gw{number}"
    own.mkdir()
    return SimpleNamespace(
        getbasetemp=lambda: own, mktemp=lambda name: (own / name).mkdir() or own / name
    )


def test_workers_that_come_together_share_what_one_of_them_makes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    made, together = [], Barrier(4)

    def ask(number: int) -> Path:
        factory = worker(tmp_path, number)
        together.wait(10)
        return once(
            factory, "words", lambda home: made.append(number) or (home / "a").write_text("whole")
        )

    with ThreadPoolExecutor(4) as pool:
        folders = {*pool.map(ask, range(4))}
    assert (
        folders == {tmp_path / "once-words"}
        and (tmp_path / "once-words" / "a").read_text() == "whole"
    )
    assert len(made) == 1


def test_where_the_making_fails_the_next_one_tries(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with pytest.raises(ZeroDivisionError):
        once(worker(tmp_path, 0), "words", lambda home: 1 / 0)
    assert list(once(worker(tmp_path, 1), "words", lambda home: (home / "a").touch()).iterdir())


def test_without_workers_each_run_makes_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    found = [once(worker(tmp_path, number), "words", lambda home: None) for number in range(2)]
    assert found == [tmp_path / "popen-gw0" / "once-words", tmp_path / "popen-gw1" / "once-words"]
