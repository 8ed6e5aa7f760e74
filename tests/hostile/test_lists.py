"""Lists of datasets, ledgers and manifests that somebody else wrote, or that a crash tore."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen import why
from datagen.core import limits
from datagen.core.errors import Invalid, UserError
from datagen.core.keys import is_key
from datagen.core.limits import MAX_JSON, MAX_LINE
from datagen.download.manifest import NAME, Manifest
from datagen.engine.ledger import Ledger, Rows, Settled, read_ledger, unfinished
from datagen.sources.celebvhq import CelebVHQ
from datagen.sources.listed import frames, streamed
from datagen.sources.listed.raw import is_video
from datagen.sources.vfhq import VFHQ, entry_of
from datagen.stats.history import history
from tests.datagen.stats import made_up
from tests.fakes import lists as listed
from tests.faults import call
from tests.hostile import EXAMPLES, JSON, MIB, confined, fuzzing, replaced, spoilt

VIDEO = "M2Ohb0FAaJU"
CLIP = f"Clip+{VIDEO}+P0+C0+F10-20"


def source(path) -> CelebVHQ:
    return CelebVHQ(raw=str(path.parent), metadata=str(path))


def entries(dataset) -> list[tuple[str, str | None]]:
    """(id, problem) of all entries, whose clips are planned too."""
    assert all(is_key(clip.key) for clip in dataset.plan())
    return [(entry.id, entry.problem) for entry in dataset.entries()]


HEADS = {
    "one string": '{"clips": {"a": "',
    "one name": '{"clips": {"',
    "before the clips": '{"meta_info": "',
    "one number": '{"clips": {"a": 1',
    "a list": '{"clips": [[',
    "white space": '{"clips": {',
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_list_of_a_gigabyte(kind, tmp_path):
    """One value without end: no more of it is held than a value may have."""
    path = tmp_path / "a.json"
    fill = {"one number": b"1", "a list": b"[", "white space": b" "}.get(kind, b"a")
    with path.open("wb") as file:
        file.write(HEADS[kind].encode())
        for _ in range(80):
            file.write(fill * MIB)
    for reader in (lambda: source(path).count(), lambda: entries(source(path))):
        ending = confined(reader, UserError, mebibytes=260)
        assert "complete JSON" in ending.refusal


def test_a_list_of_more_entries_than_there_are_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "MAX_ENTRIES", 1000)
    (tmp_path / "a.json").write_text(
        '{"clips": {' + ",".join(f'"a{n}": 0' for n in range(1001)) + "}}"
    )
    with pytest.raises(UserError, match="more than 1000"):
        source(tmp_path / "a.json").count()
    assert limits.MAX_ENTRIES > 35_666 * 100


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        '{"clips":' * 10**5,
        '{"clips": {"a": ' + "[" * 10**6,
        '{"clips": {"a": ' + '{"b":' * 10**5,
    ]
    + [
        '{"clips": {"a": ' + "9" * 10**6 + "}}",
        "\x00",
        "\ufeff",
        '{"clips": {"a": NaN}',
        "3",
        '{"clips": {3: 4}}',
    ],
    ids=range(10),
)
def test_nested_and_endless_lists(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    assert confined(lambda: entries(source(tmp_path / "a.json")), UserError).refusal


def test_text_that_is_none(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"clips": {"\xff\xfe": {}}}')
    assert confined(lambda: entries(source(tmp_path / "a.json")), UserError).refusal


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_lists(examples, tmp_path):
    """An entry that is spoilt costs itself; what is no list is one sentence; ids stay ids."""
    path = tmp_path / "a.json"
    good = {"a": listed.celebvhq_entry(VIDEO, 1, 4), "b": listed.celebvhq_entry("x" * 11, 0, 2)}
    listed.celebvhq_json(path, good)
    whole = path.read_bytes()

    @fuzzing(examples)
    @given(
        st.one_of(
            spoilt(whole), replaced(json.loads(whole)), replaced(good).map(lambda g: {"clips": g})
        )
    )
    def read(data):
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        try:
            dataset = source(path)
            for entry in dataset.entries():
                assert not entry.video or is_video(entry.video)
                assert is_key(dataset.clip(entry).key)
        except UserError as error:
            assert "\n" not in str(error)

    confined(read, seconds=600)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_texts(examples):
    text = listed.vfhq_text(VIDEO).encode()

    @fuzzing(examples)
    @given(
        spoilt(text),
        st.sampled_from([CLIP])
        | st.text(max_size=30)
        | spoilt(CLIP.encode()).map(lambda name: name.decode(errors="replace")),
    )
    def read(data, name):
        entry = entry_of(name, data)
        assert entry.problem or is_video(entry.video)

    confined(read, seconds=600)


def archive(
    path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED, attributes: int = 0
):
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = kind, attributes
            file.writestr(info, data)
    return path


def texts(path) -> list[tuple[str, str | None]]:
    return entries(VFHQ(raw=str(path.parent), metadata=str(path)))


@pytest.mark.parametrize(
    "name", ["../../x.txt", "/etc/x.txt", "a/../../x.txt", "..\\x.txt", "C:x.txt", "a\n.txt"]
)
def test_texts_lead_nowhere(name, tmp_path):
    path = archive(tmp_path / "a.zip", (name, b"x"))
    assert [problem for _, problem in texts(path)] and all(problem for _, problem in texts(path))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip"]


def test_links_in_archives_are_texts(tmp_path):
    path = archive(tmp_path / "a.zip", (f"{CLIP}.txt", b"/etc/passwd"), attributes=0o120777 << 16)
    assert texts(path) == [(CLIP, "bad_metadata:no_size")]


def test_bombs_in_archives(tmp_path):
    path = archive(tmp_path / "a.zip", (f"{CLIP}.txt", bytes(600 * MIB)))
    assert path.stat().st_size < MIB
    assert confined(lambda: texts(path), mebibytes=30).value == [(CLIP, "bad_metadata:too_large")]
    data = path.read_bytes().replace(
        (600 * MIB).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    )
    path.write_bytes(data)
    assert confined(lambda: texts(path), mebibytes=60).value[0][1].startswith("bad_metadata:")


def png(width: int, height: int) -> bytes:
    """A header of such a size, and nothing behind it."""
    chunks = [
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib_bomb()),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zipfile.crc32(name + data))
        for name, data in chunks
    )


def zlib_bomb() -> bytes:
    import zlib

    return zlib.compress(bytes(MIB), 9)


def test_pictures_of_archives(tmp_path):
    """60000 x 60000 px, and more bytes than a picture has."""
    for member, reason in (
        (png(60000, 60000), "too_large"),
        (bytes(80 * MIB), "too_large"),
        (b"%!PS", "damaged"),
    ):
        path = archive(tmp_path / "g.zip", (f"{CLIP}/0001.png", member))
        ending = confined(
            lambda path=path: list(frames.pictures(path, CLIP)), Invalid, mebibytes=150
        )
        assert ending.refusal.startswith(f"Invalid: {reason}")


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_archives(examples, tmp_path):
    picture = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (16, 16)).save(picture, "PNG")
    members = [
        (f"{CLIP}.txt", listed.vfhq_text(VIDEO).encode()),
        (f"{CLIP}/0001.png", picture.getvalue()),
    ]
    path = archive(tmp_path / "a.zip", *members)
    whole = path.read_bytes()

    @fuzzing(examples)
    @given(spoilt(whole))
    def read(data):
        path.write_bytes(data)
        for reader in (lambda: texts(path), lambda: list(frames.pictures(path, CLIP))):
            try:
                reader()
            except (UserError, Invalid) as error:
                assert "\n" not in str(error)

    confined(read, seconds=600)


LINES = [
    b"\x00" * 100 + b"\n",
    b"[" * 10**5 + b"\n",
    b'{"event":"clip","run":"r1"}\n',
    b'{"event":"clip","run":"run1","key":3,"outcome":"kept"}\n',
    b'{"event":"clip","run":"run1","key":"a","outcome":"lost"}\n',
    b'{"event":"clip","run":"run1","key":"a","outcome":["kept"]}\n',
    b'{"event":"clip","run":"run1","key":"a","outcome":"kept","reason":{}}\n',
    b'{"event":"clip","run":"run1","key":"\\ud800","outcome":"kept"}\n',
    b'{"event":"clip","run":"run1","key":"clip-000001","outcome":"kept","source":[1],"records":"x","span":[1]}\n',
    b'{"event":"clip","run":"run1","key":"clip-000001","outcome":"kept","span":["a","b"]}\n',
    b'{"event":"clip","run":"run1","key":"clip-000001","outcome":"filtered","records":{"clips":"../../../etc"}}\n',
    b'{"event":"planned","run":"run1","count":"9"}\n',
    b'{"event":"planned","run":"run1"}\n',
    b'{"event":3,"run":"run1"}\n',
    b'{"event":"start","run":["run1"]}\n',
    b'{"event":"made","run":"run1","key":"a"}\n',
    b"3\n",
    b'{"event":"cl',
]


def read_story(path) -> None:
    """All that reads a ledger."""
    list(read_ledger(path))
    unfinished(path)
    assert "clip-000000" in Settled(path)
    assert len(Rows(path, "run1")) >= 3
    index = {"rejects": [], "shards": [{"keys": ["clip-000000"]}]}
    history(path, path.parent, index)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_lines_that_are_none_of_ours_cost_themselves(line, tmp_path):
    path = made_up.ledger(tmp_path / "ledger.jsonl", 3, 1)
    before = path.read_bytes()
    path.write_bytes(line + (b"\n" if not line.endswith(b"\n") else b"") + before + line)
    read_story(path)
    for word in ("clip", "clip-000001", "\ud800"):
        ended = call("datagen.why", word, "--store", tmp_path)
        assert ended.code in (0, 2) and (ended.out or ended.sentence)
    ledger = Ledger(path, "r2")
    ledger.append("start")
    ledger.close()
    assert list(read_ledger(path))[-1]["run"] == "r2"


def test_a_line_without_end(tmp_path):
    path = made_up.ledger(tmp_path / "ledger.jsonl", 3, 1)
    with path.open("ab") as file:
        file.write(b'{"event":"clip","event":"')
        file.truncate(256 * MIB)
    ending = confined(lambda: read_story(path), mebibytes=6 * MAX_LINE // MIB)
    assert not ending.refusal


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_ledgers(examples, tmp_path):
    path = made_up.ledger(tmp_path / "ledger.jsonl", 3, 1)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    event = json.loads(lines[2])

    @fuzzing(examples)
    @given(
        st.one_of(
            spoilt(b"".join(lines[:3])), replaced(event).map(lambda e: json.dumps(e).encode())
        )
    )
    def read(data):
        path.write_bytes(data + b"\n" + whole)
        read_story(path)
        for events in why.find(path, "clip").values():
            list(why.story(events, Nothing()))

    confined(read, seconds=600)


class Nothing:
    """A store without artifacts."""

    def read(self, stage: str, key: str):
        raise FileNotFoundError(key)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_manifests(examples, tmp_path):
    good = b'{"at":"2024-01-01T00:00:00+00:00","how":"fetched","outcome":"kept",'
    good += b'"video":"M2Ohb0FAaJU","bytes":3}\n'

    @fuzzing(examples)
    @given(
        st.one_of(
            spoilt(good),
            replaced(json.loads(good)).map(lambda bad_value: json.dumps(bad_value).encode()),
            JSON.map(
                lambda bad_value: json.dumps(
                    {"video": "x", "outcome": "geo", "proxy": bad_value}
                ).encode()
            ),
        )
    )
    def read(data):
        (tmp_path / NAME).write_bytes(data + b"\n" + good)
        assert Manifest(tmp_path).states[VIDEO].outcome == "kept"

    confined(read, seconds=600)


def test_a_manifest_without_end(tmp_path):
    with (tmp_path / NAME).open("wb") as file:
        file.write(b'{"video":"')
        file.truncate(256 * MIB)
    assert confined(lambda: Manifest(tmp_path).states, mebibytes=6 * MAX_LINE // MIB).value == {}
    assert os.path.getsize(tmp_path / NAME) > MAX_JSON
