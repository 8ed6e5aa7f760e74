"""The loop: every clip accounted for, each fault costs exactly its clip, here and on Ray."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from datagen.core.errors import UserError
from datagen.engine.clip import Clip
from datagen.engine.ledger import Ledger
from datagen.engine.pipeline import Outcome
from datagen.engine.progress import Progress
from datagen.engine.scheduler import Scheduler
from datagen.engine.stage import Needs
from datagen.engine.store import Store
from tests.datagen.engine.toys import Short, Split, artifacts, clips, journey, run

FAULTS = {"c1": "raise", "c2": "exit", "c3": "reject", "c4": "invalid", "c5": "transient"}
CLASSES = {"c1": "failed", "c2": "failed", "c3": "filtered", "c4": "invalid", "c5": "failed"}


def test_each_fault_costs_its_clip_alone_and_has_its_class(tmp_path):
    planned = clips(*[f"c{i}" for i in range(8)])
    work, events = run(tmp_path, journey(faults=FAULTS), planned)
    assert work.books.line() == "planned 8 = kept 3 + filtered 1 + invalid 1 + failed 3"
    assert {key: events[key]["outcome"] for key in CLASSES} == CLASSES
    assert events["c1"]["detail"].startswith("ValueError: a bug")
    assert events["c3"]["reason"] == "ugly"
    assert not list((tmp_path / "store" / "tmp").iterdir())


def test_second_run_computes_nothing(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    planned = clips("a", "b", "c")
    run(tmp_path, journey(marks=str(marks)), planned)
    assert len(list(marks.iterdir())) == 3
    work, _ = run(tmp_path, journey(marks=str(marks)), planned)
    assert len(list(marks.iterdir())) == 3
    assert not work.computed
    assert work.books.line() == "planned 3 = kept 3 + filtered 0 + invalid 0 + failed 0"


def test_changed_stage_and_its_descendants_run_again_and_nothing_else(tmp_path):
    planned = clips("a", "b")
    run(tmp_path, journey(), planned)
    work, _ = run(tmp_path, journey(suffix="!"), planned)
    assert dict(work.computed) == {"upper": 2, "twice": 2}


def test_rejects_are_remembered_and_failures_tried_again(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    faults = {"a": "reject", "b": "raise"}
    run(tmp_path, journey(faults=faults, marks=str(marks)), clips("a", "b"))
    run(tmp_path, journey(marks=str(marks)), clips("a", "b"))
    assert len([m for m in marks.iterdir() if m.name.startswith("a.")]) == 1
    assert len([m for m in marks.iterdir() if m.name.startswith("b.")]) == 2


def test_rule_stops_a_clip_before_work_goes_into_it(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    work, events = run(
        tmp_path, journey(Short(), marks=str(marks)), clips("short", "much-too-long")
    )
    assert events["much-too-long"]["reason"] == "long"
    assert [m.name.split(".")[0] for m in marks.iterdir()] == ["short"]
    assert work.books.line() == "planned 2 = kept 1 + filtered 1 + invalid 0 + failed 0"


def test_split_video_becomes_its_clips(tmp_path):
    planned = [Clip(key, {"name": "toy"}) for key in ("v_2", "w_0", "x_3")]
    work, events = run(tmp_path, journey(split=Split()), planned)
    assert sorted(events) == ["v_2-000", "v_2-001", "x_3-000", "x_3-001", "x_3-002"]
    assert work.books.planned == 5
    again, _ = run(tmp_path, journey(split=Split()), planned)
    assert again.books.line() == work.books.line()
    assert not again.computed


def test_a_split_without_spans_costs_its_video_alone(tmp_path):
    planned = [Clip(key, {"name": "toy"}) for key in ("v_2", "w_none")]
    work, events = run(tmp_path, journey(split=Split()), planned)
    assert work.books.line() == "planned 3 = kept 2 + filtered 0 + invalid 0 + failed 1"
    assert (events["w_none"]["reason"], events["w_none"]["stage"]) == ("bug", "")
    assert events["w_none"]["detail"].startswith("KeyError: 'spans'")


def test_full_disk_stops_the_run_with_one_sentence(tmp_path):
    with pytest.raises(UserError, match="disk is full.*run the same command again"):
        run(tmp_path, journey(faults={"b": "full"}), clips("a", "b", "c"))
    assert not list((tmp_path / "store" / "tmp").iterdir())


def test_ray_survives_killed_workers_and_endless_loops_and_equals_local(tmp_path):
    keys = [f"c{i}" for i in range(10)]
    faults = {**FAULTS, "c6": "kill", "c7": "loop"}
    # 64 processors are more than there are; the second kind of workers has to come up beside the
    # first all the same
    work, events = run(
        tmp_path, journey(faults=faults, cpus=64), clips(*keys), workers=2, deadline=4.0
    )
    assert {key: events[key]["outcome"] for key in CLASSES} == CLASSES
    assert (events["c6"]["outcome"], events["c6"]["reason"]) == ("failed", "crash")
    assert (events["c7"]["outcome"], events["c7"]["reason"]) == ("failed", "timeout")
    assert work.books.line() == "planned 10 = kept 3 + filtered 1 + invalid 1 + failed 5"
    run(tmp_path, journey(), clips("c0", "c8", "c9"), name="local")
    for path, data in artifacts(tmp_path, "local").items():
        assert artifacts(tmp_path)[path] == data


@dataclass
class Losing:
    """A pool of one worker, whose machine is lost `times` times before a clip is done."""

    times: int
    clip: Clip | None = None

    def room(self, needs: Needs) -> bool:
        return self.clip is None

    def submit(self, clip: Clip, needs: Needs) -> None:
        self.clip = clip

    def wait(self) -> list[Outcome]:
        clip, self.clip, self.times = self.clip, None, self.times - 1
        assert clip is not None
        return [Outcome(clip, "kept") if self.times < 0 else Outcome(clip, "lost", "machine_lost")]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("times, line", [(4, "kept 1 + filtered 0"), (5, "kept 0 + filtered 0")])
def test_lost_machines_cost_no_clip_unless_it_is_always_the_same(tmp_path, times, line):
    store, ledger = Store(str(tmp_path / "store")), Ledger(tmp_path / "ledger.jsonl", "0")
    work = Scheduler(journey(), store, Losing(times), ledger, Progress(0, enabled=False)).run(
        clips("a")
    )
    ledger.close()
    assert line in work.books.line()
