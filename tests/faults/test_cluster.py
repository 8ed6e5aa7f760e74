"""Two machines, of which one dies and another joins late: no clip is lost, and the same bytes come
out.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datagen.engine.clip import Artifact, Clip
from datagen.engine.pipeline import Pipeline
from datagen.engine.workers import WorkerPool
from tests.datagen.engine import toys
from tests.faults import SAMPLE, contents, leftovers, nodes, started, until


@dataclass
class Held(toys.Upper):
    """Marks who works at what, as key.raylet.time, and goes on when the file `go` is there."""

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        (Path(self.marks) / f"{clip.key}.{os.getppid()}.{time.time_ns()}").touch()
        until(lambda: (Path(self.marks) / "go").exists())
        toys.fail(self.faults.get(clip.key, ""), workdir)
        return toys.Upper(suffix=self.suffix)(clip, workdir)


@pytest.fixture
def cluster() -> Iterator[nodes.Nodes]:
    with nodes.cluster() as found:
        yield found


def test_a_machine_that_dies_and_one_that_joins_late_cost_nothing(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nodes were started elsewhere, and yet paths are relative to here
    marks, planned = Path("marks"), toys.clips(*[f"c{i}" for i in range(12)])
    marks.mkdir()
    held = Pipeline(
        toys.Text(), [Held(marks=str(marks), faults={"c7": "kill"}), toys.Twice()], toys.Nothing()
    )

    def at_work(node: nodes.Node) -> set[str]:
        found = [mark.name.split(".") for mark in marks.glob("*.*.*")]
        return {key for key, raylet, _ in found if raylet == str(raylets[node])}

    def fate() -> set[str]:
        """One node dies with a clip on it; the run goes on when the next is at work."""
        second = cluster.join()
        raylets[second] = until(lambda: second.raylet)
        until(lambda: at_work(cluster.all[0]) and at_work(second))
        lost = at_work(second)
        second.kill()
        third = cluster.join()
        raylets[third] = until(lambda: third.raylet)
        until(lambda: at_work(third))
        (marks / "go").touch()
        return lost

    raylets: dict[nodes.Node, int | None] = {cluster.all[0]: cluster.all[0].raylet}
    with ThreadPoolExecutor(1) as thread:
        lost = thread.submit(fate)
        work, events = toys.run(tmp_path, held, planned, address=cluster.address)
    assert {events[key]["outcome"] for key in lost.result()} == {"kept"}
    assert (events["c7"]["outcome"], events["c7"]["reason"]) == ("failed", "crash")
    assert work.books.line() == "planned 12 = kept 11 + filtered 0 + invalid 0 + failed 1"
    assert {len(list(marks.glob(f"{key}.*"))) for key in ("c7", *lost.result())} == {2}
    alone = toys.journey()
    toys.run(
        tmp_path,
        Pipeline(alone.source, [Held(marks=str(marks)), toys.Twice()], alone.rules),
        planned,
        name="one",
    )
    made, expected = toys.artifacts(tmp_path), toys.artifacts(tmp_path, "one")
    assert {path: expected[path] for path in made} == made and len(expected) == len(made) + 2


@pytest.mark.slow
def test_two_machines_make_the_shards_of_one_though_one_dies(
    cluster, sample, tmp_path, monkeypatch
):
    """The real journey by its command, which finds the cluster by itself."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    store, log = tmp_path / "store", tmp_path / "log"
    second = cluster.join()
    until(lambda: "Ray runtime started" in (cluster.home / "node-1.log").read_text())
    words = (*SAMPLE, "--store", store, "--output", tmp_path / "out", "ray=cluster")
    with started(log, "datagen.shards", *words) as driver:
        until(lambda: len(list(store.glob("clips/*/*/done.json"))) == 2)  # so both are at work
        second.kill()
        cluster.join()
        assert driver.wait(timeout=600) == 0, log.read_text()
    assert contents(tmp_path / "out") == contents(sample)
    assert leftovers(store, tmp_path / "out") == []


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_store_is_named_and_not_used(
    cluster, tmp_path, capfd, monkeypatch
):
    def refuse(self: WorkerPool, *arguments: Any) -> None:
        refused(self, *arguments)
        (tmp_path / "go").touch()

    refused = WorkerPool._refuse
    monkeypatch.setattr(WorkerPool, "_refuse", refuse)
    (tmp_path / "store").mkdir()
    hide = f"mount -t tmpfs none {tmp_path}/store && exec "
    if subprocess.run(["unshare", "-m", "sh", "-c", f"{hide} true"], check=False).returncode:
        pytest.skip("a mount of one's own is not permitted here")
    cluster.start(
        f"--address={cluster.address}", before=("unshare", "-m", "sh", "-c", f'{hide} "$@"', "sh")
    )
    until(lambda: "Ray runtime started" in (cluster.home / "node-1.log").read_text())
    held = Pipeline(toys.Text(), [Held(marks=str(tmp_path))], toys.Nothing())
    work, _ = toys.run(
        tmp_path, held, toys.clips("a", "b", "c"), workers=2, address=cluster.address
    )
    assert work.books.line() == "planned 3 = kept 3 + filtered 0 + invalid 0 + failed 0"
    assert "does not see the store" in capfd.readouterr().err
