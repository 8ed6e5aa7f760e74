"""A stage that gives something else than an artifact, or harms its input, costs its clip alone and
damages nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from datagen.core.errors import Reject
from datagen.engine.clip import Artifact, Clip
from datagen.engine.pipeline import Pipeline, run_clip_safely
from datagen.engine.stage import Stage
from datagen.engine.store import Store
from datagen.sources.folder import VideoFile
from tests.datagen.engine.toys import Nothing, Text
from tests.faults.toys import FAULTS

DETAILS = {
    "nothing": "copy returned NoneType: an Artifact is expected.",
    "gone": "copy returned copy, which does not exist: a file that copy wrote below its workdir "
    "is expected.",
    "folder": ", which is no file: a file that copy wrote below its workdir is expected.",
    "input": "copy returned its input source: a file that copy wrote below its workdir is "
    "expected.",
    "linked": "copy returned its input source: a file that copy wrote below its workdir is "
    "expected.",
    "moved": "the input source of copy was changed or taken away while it was at work: a stage "
    "may only read it.",
    "grown": "the input source of copy was changed or taken away while it was at work: a stage "
    "may only read it.",
    "empty": "copy wrote nothing into copy: an artifact has bytes.",
    "mark": "copy calls its artifact done.json, which is the store's own name: choose another one.",
    "nan": "the metrics of copy cannot be written as JSON (Out of range float values are not "
    "JSON compliant",
    "object": "the metrics of copy cannot be written as JSON ('object' object has no attribute "
    "'item'): numbers are",
}


@dataclass
class Copy(Stage):
    """The source's bytes; `fault` says what goes wrong."""

    name = "copy"
    version = 1
    inputs = ("source",)

    fault: str = ""

    def parameters(self) -> dict:
        return {}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        (workdir / "copy").write_bytes(clip.path("source").read_bytes())
        artifact = Artifact(workdir / "copy")
        return FAULTS[self.fault](artifact, clip.path("source")) if self.fault else artifact


def walked(store: Store, source: Stage, fault: str = ""):
    clip = Clip("a", {"path": "a.mp4"}, span=(0.0, 1.0))
    return run_clip_safely(
        clip, Pipeline(source, [Copy(fault)], Nothing()), store, lambda stage: True
    )


@pytest.mark.parametrize("fault", DETAILS)
def test_it_is_a_bug_with_a_sentence_and_the_input_stays_or_is_made_again(fault, tmp_path):
    store = Store(str(tmp_path / "store"))
    outcome = walked(store, Text(), fault)
    assert (outcome.name, outcome.reason) == ("failed", "bug")
    assert DETAILS[fault] in outcome.detail.splitlines()[0]
    assert not list((tmp_path / "store").glob("copy/*/*/*"))
    assert not list((tmp_path / "store" / "tmp").iterdir())
    again = walked(store, Text())
    assert again.name == "kept"
    assert again.computed == (("source", "copy") if fault in ("moved", "grown") else ("copy",))
    assert again.clip.path("copy").read_text() == "a"


def test_a_users_file_that_a_stage_returns_stays_where_it_is(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").write_text("of the user")
    outcome = walked(Store(str(tmp_path / "store")), VideoFile(str(tmp_path / "raw")), "input")
    assert (outcome.name, outcome.reason) == ("failed", "bug")
    assert (tmp_path / "raw" / "a.mp4").read_text() == "of the user"


def test_a_file_elsewhere_is_not_taken(tmp_path):
    @dataclass
    class Elsewhere(Copy):
        def __call__(self, clip: Clip, workdir: Path) -> Artifact:
            (tmp_path / "mine").write_text("mine")
            return Artifact(tmp_path / "mine")

    clip = Clip("a", {}, span=(0.0, 1.0))
    journey = Pipeline(Text(), [Elsewhere()], Nothing())
    outcome = run_clip_safely(clip, journey, Store(str(tmp_path / "store")), lambda stage: True)
    assert f"copy returned {tmp_path / 'mine'}, which is a link or elsewhere" in outcome.detail
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_a_killed_worker_leaves_of_a_record_lies_in_the_scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "datagen.core.files.os.replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    monkeypatch.setattr(
        Path, "unlink", lambda self, missing_ok=False: None
    )  # as if there were no time for it
    store = Store(str(tmp_path / "store"))
    with pytest.raises(KeyboardInterrupt):
        store.put_reject(Text(), Clip("a", {}), Reject("ugly"), 0.1)
    assert [path.parent.name for path in tmp_path.rglob("*.part")] == ["tmp"]
