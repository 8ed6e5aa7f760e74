"""Tars in the official layout, from anybody: nothing leaves the folder, nothing is unpickled,
nothing grows.
"""

from __future__ import annotations

import bz2
import io
import os
import pickle
import tarfile

import pytest
from hypothesis import given

from datagen.prepare.official import samples
from tests.faults import call
from tests.hostile import EXAMPLES, MIB, confined, film, fuzzing, spoilt
from tests.hostile.test_shards import sparse
from tests.hostile.test_shards import tar as lying


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def tar(path, *files, kind: str = "w", **fields):
    """Members (name, data), each header with these fields."""
    with tarfile.open(path, kind) as opened:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            opened.addfile(info, io.BytesIO(data))
    return path


def found(path, into) -> list[tuple[str, list[str], str]]:
    """(key, fields, fault) of the samples of a tar."""
    into.mkdir(exist_ok=True)
    return [(s.key, sorted(s.films), s.fault) for s in samples(path, into)]


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/../../x", "C:\\x", "x\n", "\x1b[2J", "a" * 300]
)
def test_names_lead_nowhere(name, tmp_path):
    """Whatever they are, the files are named by us, and the keys are made anew."""
    films = [(f"{name}.{field}", film()) for field in ("mp4", "swapped.mp4", "mp4_styled")]
    inside = tmp_path / "deep" / "deeper"
    inside.mkdir(parents=True)
    (inside / "tars").mkdir()
    path = tar(inside / "tars" / "a.tar", *films)
    (ending,) = confined(lambda: found(path, inside / "out")).value
    assert ending[1] == ["mp4", "styled.mp4", "swapped.mp4"] and not ending[2]
    own = {inside / "out", inside / "shards"}
    before = {p for p in tmp_path.rglob("*") if not own & {p, *p.parents}}
    ended = call("datagen.prepare", "--input", inside / "tars", "--output", inside / "shards")
    assert ended.code == 0 and "1 samples = kept 0" in ended.out
    assert all(word.isprintable() for word in ended.out.splitlines())
    assert {p for p in tmp_path.rglob("*") if not own & {p, *p.parents}} == before
    assert {p.name for p in (inside / "shards").iterdir()} <= {"index.json", ".lock"}


def test_no_pickle_is_opened(tmp_path):
    mark = tmp_path / "ran"
    evil = pickle.dumps(Evil(mark))
    path = tar(
        tmp_path / "a.tar",
        ("a.mp4", film()),
        ("a.landmarks.pyd", evil),
        ("a.pyd", evil),
        ("a.pkl", evil),
    )
    (ending,) = found(path, tmp_path / "out")
    assert ending[0] == "a" and not mark.exists()
    pickle.loads(evil).close()
    assert mark.exists(), "the trap works"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_what_is_no_file_is_left_out(kind, tmp_path):
    path = tar(tmp_path / "a.tar", ("a.mp4", b""), type=kind, linkname="/etc/passwd")
    assert found(path, tmp_path / "out") == []
    assert list((tmp_path / "out").iterdir()) == []


def test_members_that_grow(tmp_path):
    path = tmp_path / "a.tar"
    sparse(path, 2**42)
    assert "sparse" in confined(lambda: found(path, tmp_path / "out")).value[0][2]
    for fields in ({"size": 2**40}, {"size": -512}, {"type": tarfile.XHDTYPE, "size": 2**40}):
        lying(path, name="a.mp4", **fields)
        assert confined(lambda: found(path, tmp_path / "out")).value[0][2]
    lying(path, name="a.mp4", size=2**31, data=b"")
    os.truncate(path, 2**31 + 2048)
    assert "at most" in confined(lambda: found(path, tmp_path / "out")).value[0][2]


@pytest.mark.parametrize("field", ["mp4", "txt"])
def test_compressed_tars_do_not_explode(field, tmp_path):
    """700 MiB of zeros out of a kilobyte, whether they are asked for or passed over."""
    header = tarfile.TarInfo(f"a.{field}")
    header.size = 700 * MIB
    zeros = bz2.compress(bytes(50 * MIB), 9)
    (tmp_path / "a.tar").write_bytes(
        bz2.compress(header.tobuf()) + 14 * zeros + bz2.compress(bytes(1024))
    )
    ending = confined(lambda: found(tmp_path / "a.tar", tmp_path / "out"))
    assert "more than there can be" in ending.value[0][2]
    assert not any(p.stat().st_size for p in (tmp_path / "out").iterdir())


def test_compressed_tars_of_videos_are_read(tmp_path):
    path = tar(tmp_path / "a.tar", ("a.mp4", film()), ("a.swapped.mp4", film()), kind="w:gz")
    assert found(path, tmp_path / "out") == [("a", ["mp4", "swapped.mp4"], "")]


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
def test_spoilt_tars(kind, examples, tmp_path):
    path = tar(
        tmp_path / "a.tar",
        ("a.mp4", film()),
        ("a.swapped.mp4", film()),
        ("b.mp4", film()),
        kind=kind,
    )
    whole = path.read_bytes()

    @fuzzing(examples)
    @given(spoilt(whole))
    def read(data):
        path.write_bytes(data)
        found(path, tmp_path / "out")

    confined(read, seconds=600)
