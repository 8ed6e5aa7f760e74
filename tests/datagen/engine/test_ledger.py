"""The ledger: whole lines, and books that balance."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.engine.ledger import Ledger, RunCounts, read_ledger, unfinished


def test_reads_what_was_written(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "r1")
    ledger.append("start", command="x")
    ledger.append("clip", key="ä<b>", outcome="kept")
    ledger.close()
    events = list(read_ledger(path))
    assert [(e["event"], e["run"]) for e in events] == [("start", "r1"), ("clip", "r1")]
    assert events[1]["key"] == "ä<b>"


def test_line_cut_by_a_crash_is_skipped_and_closed(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"event": "start", "run": "r1"}\n{"event": "cl')
    ledger = Ledger(path, "r2")
    ledger.append("start")
    ledger.close()
    assert [e["run"] for e in read_ledger(path)] == ["r1", "r2"]


def test_unfinished_run_is_told_with_its_pending_clips(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "r1")
    ledger.append("start")
    ledger.append("planned", count=3)
    ledger.append("clip", key="a", outcome="filtered", reason="small_face")
    books = unfinished(path)
    assert books is not None
    assert books.line() == "planned 3 = kept 0 + filtered 1 + invalid 0 + failed 0 + pending 2"
    ledger.append("end", books={})
    assert unfinished(path) is None
    ledger.close()


def test_books_balance():
    books = RunCounts(planned=4)
    for outcome, reason in [
        ("kept", ""),
        ("kept", ""),
        ("invalid", "damaged"),
        ("failed", "crash"),
    ]:
        books.settle(outcome, reason)
    books.move("duplicate")
    assert books.line() == "planned 4 = kept 1 + filtered 1 + invalid 1 + failed 1"
    assert books.to_json()["reasons"] == {
        "filtered": {"duplicate": 1},
        "invalid": {"damaged": 1},
        "failed": {"crash": 1},
    }
    with pytest.raises(AssertionError):
        books.settle("lost")


def test_what_a_full_disk_refuses_is_told_once():
    ledger = Ledger(Path("/dev/full"), "run")
    with pytest.raises(OSError, match="No space left"):
        ledger.append("start")
    ledger.close()
