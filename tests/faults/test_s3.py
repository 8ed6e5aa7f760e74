"""A store on an S3 service: the same shards as with a folder, and what the service does wrong costs
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datagen.engine.ledger import read_ledger
from tests.faults import SAMPLE, call, contents, s3, started, until

for package in ("s3fs", "moto", "flask"):
    pytest.importorskip(
        package, reason=f"{package}, which the extra s3 or dev brings, is not installed"
    )
STORE = f"s3://{s3.BUCKET}/store"
LEDGER = Path("data", "ledgers", f"s3-{s3.BUCKET}-store", "ledger.jsonl")
LOCAL = ("datagen.shards", *SAMPLE, "--limit", "1", "--runner", "local", "--output", "out")


@pytest.fixture
def door(monkeypatch, tmp_path) -> Iterator[s3.Door]:
    monkeypatch.chdir(tmp_path)  # where the ledger of a remote store is
    monkeypatch.setattr("datagen.engine.remote.PAUSES", (0.1, 0.1))
    with s3.service(monkeypatch) as found:
        yield found


def test_a_service_that_stumbles_makes_the_same_shard(door, sample):
    door.fate = lambda number: {8: "busy", 13: "broken", 18: "cut"}.get(number % 19, "")
    made = call(*LOCAL, "--store", STORE)
    assert made.code == 0, made.err
    assert min(door.struck[fault] for fault in ("busy", "broken", "cut")) > 0
    first = "train-000000.tar"
    assert contents(Path("out"))[first] == contents(sample)[first]
    door.fate = lambda number: ""
    again = call(*LOCAL, "--store", STORE)
    assert again.code == 0 and "computed" not in again.out


@pytest.mark.parametrize(
    "store, fate, said",
    [
        (STORE, "refused", f"--store {STORE} refuses us (no): mend the credentials."),
        (STORE, "broken", f"stopped, the store {STORE} does not answer ("),
        (
            "s3://nowhere/store",
            "",
            "--store s3://nowhere/store is not there (The specified bucket does not exist): make",
        ),
    ],
)
def test_what_the_user_must_mend_is_one_sentence(door, store, fate, said):
    door.fate = lambda number: fate
    ended = call(*LOCAL, "--store", store)
    assert (ended.code, ended.sentence[: len(said) + 7]) == (2, f"error: {said}")
    assert not Path("out", "index.json").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_from_what_the_service_keeps(door, sample, tmp_path):
    """On Ray, whose workers reach the service by themselves."""
    words = (*SAMPLE, "--workers", "2", "--store", STORE, "--output", tmp_path / "out")

    def made() -> int:
        return (
            sum(len(event.get("seconds", {})) for event in read_ledger(LEDGER))
            if LEDGER.exists()
            else 0
        )

    with started(tmp_path / "log", "datagen.shards", *words, folder=tmp_path) as driver:
        until(lambda: s3.count("done.json") > 4)
        driver.kill()
    before = s3.count("done.json")
    with started(tmp_path / "log", "datagen.shards", *words, folder=tmp_path) as driver:
        assert driver.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    assert 0 < made() <= 2 * 8 - before
    assert contents(tmp_path / "out") == contents(sample)
