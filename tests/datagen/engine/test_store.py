"""The store: found by content, whole or absent, the same key on every machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datagen.core.errors import Reject
from datagen.core.files import write_atomically
from datagen.engine.clip import Artifact
from datagen.engine.store import Store
from tests.datagen.engine.toys import Split, Text, Twice, Upper, clips


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def make(store: Store, stage, clip):
    with store.workdir() as workdir:
        return store.put(stage, clip, stage(clip, workdir), 0.1)


def with_source(store: Store, clip):
    return clip.with_artifact("source", store.artifact(make(store, Text(), clip)))


def test_finds_what_it_was_given(store):
    (clip,) = clips("a")
    assert store.get(Text(), clip) is None
    record = make(store, Text(), clip)
    assert store.get(Text(), clip) == record
    assert store.artifact(record).path.read_text() == "a"


def test_key_depends_on_content_parameters_version_and_span_only(store):
    (clip,) = clips("a")
    clip = with_source(store, clip)
    key = store.key(Upper(), clip)
    assert store.key(Upper(marks="elsewhere"), clip) == key
    assert store.key(Upper(), replace(clip, key="b", group="g", rights={"license": "x"})) == key
    assert store.key(Upper(suffix="!"), clip) != key
    assert store.key(Upper(), replace(clip, span=(1.0, 2.0))) != key
    newer = type("Upper", (Upper,), {"version": 2})
    assert store.key(newer(), clip) != key
    other = Artifact(clip.path("source"), clip.metrics("source"), sha256="0" * 64)
    assert store.key(Upper(), clip.with_artifact("source", other)) != key


def test_key_is_the_same_on_every_machine(store):
    (clip,) = clips("a")
    assert store.key(Text(), clip) == Store("/elsewhere").key(Text(), clip)


def test_cut_artifact_counts_as_missing(store):
    (clip,) = clips("abc")
    record = make(store, Text(), clip)
    store.artifact(record).path.write_text("ab")
    assert store.get(Text(), clip) is None
    store.artifact(record).path.unlink()
    assert store.get(Text(), clip) is None


@pytest.mark.parametrize("damage", [b"", b'{"key": "x"', b"[]", b'{"strange": 1}'])
def test_damaged_record_counts_as_missing(store, damage, tmp_path):
    (clip,) = clips("a")
    make(store, Text(), clip)
    (path,) = (tmp_path / "store").rglob("done.json")
    path.write_bytes(damage)
    assert store.get(Text(), clip) is None


def test_remembers_rejects(store):
    (clip,) = clips("a")
    store.put_reject(Text(), clip, Reject("ugly", "no beauty"), 0.1)
    record = store.get(Text(), clip)
    assert record is not None
    assert (record.outcome, record.reason, record.detail) == ("filtered", "ugly", "no beauty")


def test_workdir_is_gone_whatever_happens(store):
    with pytest.raises(ValueError, match="bug"), store.workdir() as workdir:
        (workdir / "half").write_text("half")
        raise ValueError("bug")
    assert not workdir.exists()


def test_remote_store_gives_the_same_keys_and_files(tmp_path):
    remote, local = Store("memory://megactor-test"), Store(str(tmp_path / "store"))
    (clip,) = clips("far")
    there, here = with_source(remote, clip), with_source(local, clip)
    brought = remote.brought(there, ["source"], tmp_path)
    assert make(remote, Upper(), brought).key == make(local, Upper(), here).key
    record = remote.get(Upper(), there)
    assert record is not None
    with remote.open(record) as file:
        assert file.read() == b"FAR"
    remote.clear_scratch()


@pytest.mark.parametrize("root", ["store", "memory://megactor-signs"])
def test_a_sign_tells_whether_another_sees_the_same_store(tmp_path, root):
    one, same = (Store(str(tmp_path / root) if root == "store" else root) for _ in range(2))
    assert not one.has_sign("a")
    one.sign("a")
    assert same.has_sign("a") and not same.has_sign("b")
    one.clear_sign()
    assert not same.has_sign("a")


def test_two_stages_of_one_input_do_not_meet(store):
    (clip,) = clips("a_2")
    clip = with_source(store, clip)
    made = {make(store, stage, clip).key for stage in (Upper(), Split())}
    clip = clip.with_artifact("upper", store.artifact(store.get(Upper(), clip)))
    made.add(make(store, Twice(), clip).key)
    assert len(made) == 3


def test_write_atomically_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
