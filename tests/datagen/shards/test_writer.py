"""Shards: the same bytes for the same samples, readable by everybody, and verify finds every
fault.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from datagen.core.errors import UserError
from datagen.shards.index import FIELDS
from datagen.shards.writer import MARK, Member, Sample, add_member, pack
from datagen.verify import problems


def sample(key: str, split: str = "train", group: str = "", size: int = 3000) -> Sample:
    def data(field: str) -> bytes:
        if field == "json":
            return json.dumps({"key": key, "split": split, "frames": 100}).encode()
        if field == "faces.npz":
            file = io.BytesIO()
            np.savez_compressed(file, boxes=np.zeros((4, 4), np.float32))
            return file.getvalue()
        return hashlib.sha256(f"{key}{field}".encode()).digest() * (size // 32)

    return Sample(
        key, split, 4.0, 100, group or key, tuple(Member.of_bytes(f, data(f)) for f in FIELDS)
    )


SAMPLES = [sample("b"), sample("a"), sample("d", "val"), sample("c")]


def digests(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


def make(folder: Path, samples=SAMPLES, **options) -> Path:
    folder.mkdir(exist_ok=True)
    pack(samples, folder, {"books": {}}, **{"shard_samples": 2, **options})
    return folder


def test_same_samples_same_bytes_in_any_order(tmp_path):
    one, two = make(tmp_path / "1"), make(tmp_path / "2", SAMPLES[::-1])
    assert digests(one) == digests(two)
    assert sorted(digests(one)) == [
        "index.json",
        "train-000000.tar",
        "train-000001.tar",
        "val-000000.tar",
    ]


def test_second_run_touches_nothing(tmp_path):
    folder = make(tmp_path / "s")
    before = {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
    make(folder)
    assert before == {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}


def test_more_samples_rewrite_only_what_changes(tmp_path):
    folder = make(tmp_path / "s")
    before = (folder / "train-000000.tar").stat().st_mtime_ns
    make(folder, [*SAMPLES, sample("e")])
    assert (folder / "train-000000.tar").stat().st_mtime_ns == before
    assert not list(problems(folder))


def test_size_limit_starts_a_new_shard(tmp_path):
    folder = make(tmp_path / "s", shard_samples=100, shard_bytes=15_000)
    assert (folder / "train-000002.tar").exists()


def test_samples_are_not_lost_unasked(tmp_path):
    folder = make(tmp_path / "s")
    before = digests(folder)
    with pytest.raises(UserError, match="2 samples that this run does not make: add --overwrite"):
        make(folder, SAMPLES[:2])
    assert digests(folder) == before
    make(folder, SAMPLES[:2], overwrite=True)
    assert sorted(digests(folder)) == ["index.json", "train-000000.tar"]


def test_strange_shards_are_not_overwritten_unasked(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "train-000000.tar").write_bytes(b"somebody else's")
    with pytest.raises(UserError, match="train-000000.tar, which no index names"):
        make(folder)
    assert (folder / "train-000000.tar").read_bytes() == b"somebody else's"


def test_a_crash_while_shards_are_put_in_place_is_mended(tmp_path):
    folder, whole = make(tmp_path / "s"), make(tmp_path / "whole")
    (folder / "index.json").unlink()
    (folder / MARK).touch()
    (folder / "train-000001.tar").write_bytes(b"half")
    make(folder)
    assert digests(folder) == digests(whole)


def test_no_part_is_left_when_a_member_cannot_be_read(tmp_path):
    gone = partial((tmp_path / "gone").open, "rb")
    broken = Sample("x", "train", 1, 1, "x", tuple(Member(f, "0" * 64, 1, gone) for f in FIELDS))
    folder = tmp_path / "s"
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        pack([broken], folder, {})
    assert not list(folder.iterdir())


def test_damaged_artifact_is_not_packed(tmp_path):
    (tmp_path / "bad").write_bytes(b"other bytes")
    broken = Sample(
        "x",
        "train",
        1,
        1,
        "x",
        tuple(Member(f, "0" * 64, 1, partial((tmp_path / "bad").open, "rb")) for f in FIELDS),
    )
    with pytest.raises(UserError, match="an artifact in the store is damaged"):
        make(tmp_path / "s", [broken])
    assert not list((tmp_path / "s").iterdir())


def test_tar_headers_are_bare(tmp_path):
    folder = make(tmp_path / "s")
    with tarfile.open(folder / "train-000000.tar") as tar:
        infos = tar.getmembers()
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode) for i in infos} == {
        (0, 0, 0, "", "", 0o644)
    }
    assert [i.name for i in infos[:6]] == [f"a.{field}" for field in FIELDS]


def flip(folder: Path) -> None:
    path = folder / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)


def cut_at_member(folder: Path) -> None:
    path = folder / "train-000000.tar"
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[6].offset
    path.write_bytes(path.read_bytes()[:offset])


def append(folder: Path) -> None:
    path = folder / "val-000000.tar"
    path.write_bytes(path.read_bytes() + b"x")


def repack(folder: Path, name: str) -> None:
    """Another member in a shard, and the index taught its new hash."""
    path = folder / "train-000000.tar"
    with tarfile.open(path, "a") as tar:
        add_member(tar, name, b"x")
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0] |= {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }
    (folder / "index.json").write_text(json.dumps(index))


FAULTS = {
    "flipped bit": (flip, "train-000001.tar: changed"),
    "cut at a member": (cut_at_member, "1 of 2 samples are missing, the first is b"),
    "missing shard": (lambda f: (f / "val-000000.tar").unlink(), "val-000000.tar: missing"),
    "extra shard": (lambda f: (f / "train-000009.tar").write_bytes(b""), "train-000009.tar: extra"),
    "appended byte": (append, "bytes, the index says"),
    "extra sample": (lambda f: repack(f, "z.mp4"), "sample z is not in the index"),
    "extra field": (
        lambda f: repack(f, "b.pyd"),
        "sample b has faces.npz, json, mask.mp4, mp4, pyd",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds(tmp_path, fault):
    folder = make(tmp_path / "s")
    assert not list(problems(folder))
    damage, sentence = FAULTS[fault]
    damage(folder)
    found = list(problems(folder))
    assert any(sentence in problem for problem in found), found


def test_verify_finds_a_person_in_both_splits(tmp_path):
    folder = make(tmp_path / "s", [sample("a", group="g"), sample("b", "val", group="g")])
    assert any("g is in train and in val" in problem for problem in problems(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}'])
def test_foreign_index_is_one_sentence(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match="index.json"):
        list(problems(tmp_path))
