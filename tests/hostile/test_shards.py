"""Shards, indexes and arrays that somebody else made: readers refuse in one sentence what is not as
it should be.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.core import npz as arrays
from datagen.core.errors import UserError
from datagen.engine.ledger import RunCounts
from datagen.shards.index import FIELDS, read_index
from datagen.shards.reader import members
from datagen.shards.writer import pack
from datagen.stats.dataset import read_dataset
from datagen.verify import problems
from tests.datagen.stats import made_up
from tests.faults import call, tree
from tests.hostile import EXAMPLES, JSON, MIB, confined, fuzzing, replaced, spoilt
from training.data import record as clips
from training.data.decode import Unreadable
from training.data.index import read_shard_index
from training.evaluation.self_cases import self_cases

ANY = {field: b"x" for field in FIELDS}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return made_up.shards(tmp_path_factory.mktemp("good") / "shards", kept=2, lost=0, films=False)


@pytest.fixture
def folder(good, tmp_path):
    """A copy that may be spoilt."""
    (tmp_path / "shards").mkdir()
    for path in good.iterdir():
        (tmp_path / "shards" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "shards"


def shard(folder):
    return folder / read_index(folder)["shards"][0]["file"]


def again(folder) -> None:
    """The index says the bytes of the shard as it is now."""
    index = json.loads((folder / "index.json").read_text())
    for entry in index["shards"]:
        entry["bytes"] = (folder / entry["file"]).stat().st_size
    (folder / "index.json").write_text(json.dumps(index))


def sentences(folder) -> list[str]:
    """What the readers of a folder of shards say; each in its own process."""
    readers = [
        lambda: list(problems(folder)),
        lambda: read_dataset(folder, folder / "no-ledger"),
        lambda: len(read_shard_index(folder, "train")),
        lambda: self_cases(folder, 1, 4),
    ]
    endings = [confined(reader, UserError) for reader in readers]
    assert endings[0].refusal or endings[0].value, "verify has seen nothing"
    return [ending.refusal for ending in endings]


def tar(path, **fields) -> tarfile.TarInfo:
    """A shard of one member whose header has these fields."""
    info = tarfile.TarInfo(fields.pop("name", "clip-000000.json"))
    data = fields.pop("data", b"{}")
    info.size = len(data)
    for name, value in fields.items():
        setattr(info, name, value)
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(data + bytes(-len(data) % 512) + bytes(1024))
    return info


HEADERS = {
    "above": {"name": "../../x.json"},
    "absolute": {"name": "/etc/x.json"},
    "symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "../../etc/passwd"},
    "device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "pipe": {"type": tarfile.FIFOTYPE},
    "folder": {"type": tarfile.DIRTYPE},
    "larger than the file": {"size": 10**12},
    "as large as can be": {"size": 2**62},
    "negative": {"size": -1024},
    "a pickle": {"name": "clip-000000.pyd", "data": b"\x80\x04cos\nsystem\n."},
    "control characters": {"name": "\x1b[2J\r.json"},
    "a name of two lines": {"name": "a\nb.json"},
    "no letters": {"name": "\udcff.json"},
    "extended": {"type": tarfile.XHDTYPE, "data": b"30 path=" + b"a" * 21 + b"\n"},
    "extended, large": {"type": tarfile.XHDTYPE, "size": 10**12},
    "global, large": {"type": tarfile.XGLTYPE, "size": 10**12},
    "long name, large": {"type": tarfile.GNUTYPE_LONGNAME, "size": 10**12},
    "sparse": {"type": tarfile.GNUTYPE_SPARSE},
    "nested json": {"data": b"[" * 10**6},
    "json of another kind": {"data": b"3"},
    "a number too long": {"data": b'{"frames":' + b"9" * 10**5 + b"}"},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_what_no_member_of_ours_is(kind, folder):
    tar(shard(folder), **HEADERS[kind])
    again(folder)
    before = tree(folder)
    assert all(sentences(folder)[1:])
    assert tree(folder) == before


def sparse(path, claimed: int) -> None:
    """A sparse member of old GNU kind that claims to unpack to so many bytes."""
    tar(path, type=tarfile.GNUTYPE_SPARSE, data=b"{}" + bytes(510))
    data = bytearray(path.read_bytes())
    data[386:410] = b"%011o\0%011o\0" % (0, 512)
    data[483:495] = b"\x80" + claimed.to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)


def test_members_that_unpack_to_terabytes(folder):
    sparse(shard(folder), 2**42)
    again(folder)
    assert all(sentences(folder)[1:])
    told = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n31 GNU.sparse.realsize=%d\n" % 2**42
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, len(told)
    tar(shard(folder), data=b"1\n0\n2\n" + bytes(506))
    data = (
        header.tobuf(tarfile.USTAR_FORMAT)
        + told
        + bytes(-len(told) % 512)
        + shard(folder).read_bytes()
    )
    shard(folder).write_bytes(data)
    again(folder)
    assert all(sentences(folder)[1:])


@pytest.mark.parametrize("field", ["json", "mp4", "faces.npz"])
def test_members_of_gigabytes(field, folder):
    """Of holes, so that they lie in the file."""
    size = 64 * MIB if field == "json" else 2**30 + 512
    path = shard(folder)
    tar(path, name=f"clip-000000.{field}", size=size, data=b"")
    os.truncate(path, 512 + size + 1024)
    again(folder)
    assert (
        "at most"
        in confined(lambda: sum(1 for _ in members(path)), tarfile.TarError, mebibytes=30).refusal
    )
    if field == "json":
        assert all(sentences(folder)[1:])


def test_a_long_extended_header(folder):
    path = shard(folder)
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        tar(path, type=kind, size=64 * MIB, data=b"")
        os.truncate(path, 64 * MIB + 4096)
        again(folder)
        assert all(sentences(folder)[1:])


INDEXES = {
    "a list": "[]",
    "nested": "[" * 10**6,
    "nested in a name": '{"format":"megactor-kit shards 1","shards":' + "[" * 10**5,
    "not a number": '{"format":"megactor-kit shards 1","shards":NaN}',
    "no list": '{"format":"megactor-kit shards 1","shards":{"file":3}}',
    "nothing": "",
    "bytes": "\x00\x01",
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_that_is_none(kind, folder):
    (folder / "index.json").write_text(INDEXES[kind])
    assert confined(lambda: read_index(folder), UserError).refusal


def test_an_index_of_a_gigabyte(folder):
    with (folder / "index.json").open("wb") as file:
        file.write(b'{"format":"')
        file.truncate(2**30)
    assert "512 MiB" in confined(lambda: read_index(folder), UserError, mebibytes=1200).refusal


@pytest.mark.parametrize(
    "file", ["../outside.tar", "/etc/passwd", "/dev/zero", "..", ".", "", "a/b.tar", "x.tar\0"]
)
def test_no_index_leads_out_of_its_folder(file, folder):
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0]["file"] = file
    (folder / "index.json").write_text(json.dumps(index))
    shard_like = folder.parent / "outside.tar"
    shard_like.write_bytes(b"mine")
    for command in (["datagen.verify", "--input", folder], ["datagen.stats", "--input", folder]):
        ended = call(*command)
        assert ended.code == 2 and "is damaged" in ended.sentence
    with pytest.raises(UserError, match="is damaged"):
        pack([], folder, {"books": RunCounts().to_json(), "rejects": []}, overwrite=True)
    assert shard_like.read_bytes() == b"mine"


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_indexes(examples, folder):
    told = json.loads((folder / "index.json").read_text())

    @fuzzing(examples)
    @given(replaced(told))
    def read(index):
        (folder / "index.json").write_text(json.dumps(index))
        for reader in (
            lambda: list(problems(folder)),
            lambda: read_dataset(folder, folder / "x"),
            lambda: read_shard_index(folder, "train"),
            lambda: read_shard_index(folder, "val"),
        ):
            try:
                reader()
            except UserError as error:
                assert len(str(error)) < 2000

    confined(read, seconds=600)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_shards(examples, folder):
    path = shard(folder)
    whole = path.read_bytes()
    begin = whole.index(b'{"') - 512  # the json's header

    @fuzzing(examples)
    @given(
        st.one_of(
            spoilt(whole), spoilt(whole[begin : begin + 2048]), replaced(made_up.described(0, {}))
        )
    )
    def read(data):
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            tar(path, data=json.dumps(data).encode())
        again(folder)
        for reader in (
            lambda: list(problems(folder)),
            lambda: read_dataset(folder, folder / "x"),
            lambda: read_shard_index(folder, "train"),
            lambda: self_cases(folder, 1, 4),
        ):
            try:
                reader()
            except UserError as error:
                assert len(str(error)) < 2000

    confined(read, seconds=600)


def test_people_who_said_no_are_looked_for_in_spoilt_shards(folder, tmp_path):
    (tmp_path / "no.txt").write_text("nobody\n")
    for said in (
        "3",
        "[]",
        '{"source":3,"synthetic":[],"frames":1}',
        '{"synthetic":{"swapped.mp4":"x"},"frames":1}',
    ):
        tar(shard(folder), data=said.encode())
        again(folder)
        ended = call("datagen.verify", "--input", folder, "--exclude", tmp_path / "no.txt")
        assert ended.code == 1 and not ended.err


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def npy(shape: str, dtype: str = "'<f4'", data: bytes = b"") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def saved(**given_arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **given_arrays)
    return file.getvalue()


ARRAYS = {
    "no archive": b"x" * 64,
    "nothing": b"",
    "no array": npz(boxes=b"hello"),
    "10^12 numbers": npz(boxes=npy("(10**12,)".replace("10**12", str(10**12)))),
    "10^30 numbers": npz(boxes=npy(f"({10**15},{10**15})")),
    "of no size": npz(boxes=npy(f"({10**12},)", "'<U0'")),
    "negative": npz(boxes=npy("(-1,-4)", data=bytes(16))),
    "objects": saved(boxes=np.array([{}], object)),
    "code": npz(boxes=npy("(__import__('os').system('true'),)")),
    "nested": npz(boxes=npy("(" * 4000)),
    "fields": npz(boxes=npy("(1,)", "[('a', 'O')]", bytes(8))),
    "of another version": npz(boxes=b"\x93NUMPY\x09\x00" + bytes(64)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_are_none(kind, tmp_path):
    (tmp_path / "a.npz").write_bytes(ARRAYS[kind])
    for call_ in (
        lambda: arrays.load(tmp_path / "a.npz"),
        lambda: arrays.load(io.BytesIO(ARRAYS[kind])),
    ):
        assert confined(call_, ValueError, mebibytes=50).refusal
    assert confined(lambda: clips.faces_of(ARRAYS[kind], 2), Unreadable, mebibytes=50).refusal


def test_arrays_that_unpack_to_gigabytes():
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as member,
    ):
        member.write(npy(f"({300 * MIB},)", "'|u1'"))
        for _ in range(300):
            member.write(bytes(MIB))
    bomb = file.getvalue()
    assert len(bomb) < 2 * MIB
    assert (
        "256 MiB"
        in confined(lambda: arrays.load(io.BytesIO(bomb)), ValueError, mebibytes=50).refusal
    )
    lying = bomb.replace((300 * MIB + 128).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert confined(lambda: arrays.load(io.BytesIO(lying)), ValueError, mebibytes=50).refusal


@pytest.mark.parametrize(
    "faces",
    [
        {
            "boxes": np.zeros((2, 4), "U9"),
            "landmarks": np.zeros((2, 478, 2)),
            "confidence": np.ones(2),
        },
        {"boxes": np.zeros((2, 5)), "landmarks": np.zeros((2, 478, 2)), "confidence": np.ones(2)},
        {"boxes": np.zeros((2, 4)), "landmarks": np.zeros((2, 3)), "confidence": np.ones(2)},
        {
            "boxes": np.zeros((2, 4)),
            "landmarks": np.zeros((2, 478, 2)),
            "confidence": np.ones((2, 2, 2)),
        },
        {"boxes": np.zeros(4), "landmarks": np.zeros((2, 478, 2)), "confidence": np.ones(2)},
        {"boxes": np.zeros((2, 4))},
    ],
)
def test_faces_of_other_shapes(faces):
    with pytest.raises(Unreadable):
        clips.faces_of(saved(**faces), 2)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_arrays(examples):
    good = saved(
        boxes=np.zeros((2, 4)), landmarks=np.zeros((2, 478, 2), np.float32), confidence=np.ones(2)
    )
    whole = clips.faces_of(good, 2)
    assert whole.boxes.shape == (2, 4)

    @fuzzing(examples)
    @given(
        st.one_of(
            spoilt(good),
            spoilt(good[:600]),
            JSON.map(lambda said: str(said).encode(errors="replace")),
        )
    )
    def read(data):
        with contextlib.suppress(Unreadable):
            clips.faces_of(data, 2)

    confined(read, seconds=600)
