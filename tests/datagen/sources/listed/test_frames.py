"""Archives of frames: a clip's pictures in order, whatever the archive's; what is hostile or
damaged costs one clip.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.core.errors import Invalid
from datagen.media import video
from datagen.sources.listed import frames
from datagen.sources.vfhq import VFHQ
from tests.fakes.lists import number_of, numbered, vfhq_text

NAMES = [f"Clip+-_Qx3a9-Z0_+P{n}+C0+F{10 * n}-{10 * n + 9}" for n in range(4)]


def picture(number: int, kind: str = "PNG", size=(160, 160)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numbered(number, *size)).save(file, kind, quality=95)
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def huge(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def source(folder: Path, **options) -> VFHQ:
    return VFHQ(raw=str(folder), metadata=None, frames=str(folder), min_side=0, **options)


def cut(made: VFHQ, name: str, folder: Path) -> list[tuple[float, int]]:
    """Time and number of each frame."""
    clip = next(clip for clip in made.plan() if clip.source["id"] == name)
    shown = video.read(made.stage()(clip, folder).path)
    return [(round(frame.time, 4), number_of(frame.rgb)) for frame in shown]


def test_interleaved_and_unsorted_members_come_in_order(tmp_path):
    pictures = {
        f"{name}/{n:08d}.png": picture(100 * i + n)
        for n in range(1, 13)
        for i, name in enumerate(NAMES[:3])
    }
    order = np.random.default_rng(0).permutation(list(pictures))
    archive(tmp_path / "group1.zip", {name: pictures[name] for name in order})
    jpegs = {
        f"train/{NAMES[3]}/{n}.jpg": picture(300 + n, "JPEG") for n in range(8, 13)
    }  # 10 comes after 9
    archive(
        tmp_path / "group2.zip",
        {f"train/{NAMES[3]}/": b"", f"__MACOSX/{NAMES[3]}/._8.jpg": b"", **jpegs},
    )
    made = source(tmp_path)
    assert [entry.id for entry in made.entries()] == NAMES and made.count() == 4
    assert [entry.span for entry in made.entries()] == [(1, 12)] * 3 + [(1, 5)]
    assert cut(made, NAMES[1], tmp_path) == [(round(n / 25, 4), 101 + n) for n in range(12)]
    assert [number for _, number in cut(made, NAMES[3], tmp_path)] == list(range(308, 313))


def test_the_rate_is_that_of_the_metadata_where_that_knows(tmp_path):
    members = {f"{name}/{n}.png": picture(n) for n in range(6) for name in NAMES[:2]}
    archive(tmp_path / "group1.zip", members)
    (tmp_path / f"{NAMES[0]}.txt").write_text(vfhq_text("-_Qx3a9-Z0_", fps=29.97))
    made = VFHQ(raw=str(tmp_path), metadata=str(tmp_path), frames=str(tmp_path), min_side=0, fps=50)
    assert [entry.fps for entry in made.entries()] == [29.97, 50]
    assert cut(made, NAMES[0], tmp_path) == [(round(n * 1001 / 30000, 4), n) for n in range(6)]
    assert cut(made, NAMES[1], tmp_path) == [(n / 50, n) for n in range(6)]


@pytest.mark.parametrize(
    ("reason", "second"),
    [
        ("damaged", b"no picture"),
        ("damaged", picture(2)[:-200]),
        ("damaged", picture(2)[:60] + b"\xff" * 8 + picture(2)[68:]),
        ("damaged", picture(2, "BMP")),
        ("too_large", huge(30000, 30000)),
        ("too_large", huge(8000, 8000)),
        ("too_large", b"\0" * (frames.MAX_BYTES + 1)),
        ("size_changes", picture(2, size=(160, 158))),
        ("frames_missing", None),
    ],
    ids=range(9),
)
def test_a_picture_that_is_none_costs_its_clip_alone(reason, second, tmp_path):
    members = {f"{name}/{n}.png": picture(n) for n in range(1, 4) for name in NAMES[:2]}
    members[f"{NAMES[0]}/2.png"] = second
    archive(
        tmp_path / "group1.zip", {name: data for name, data in members.items() if data is not None}
    )
    made = source(tmp_path)
    with pytest.raises(Invalid) as error:
        cut(made, NAMES[0], tmp_path)
    assert error.value.reason == reason
    assert [number for _, number in cut(made, NAMES[1], tmp_path)] == [1, 2, 3]


def test_a_damaged_member_costs_its_clip_alone(tmp_path):
    pictures = {f"{name}/{n}.png": picture(n) for n in range(3) for name in NAMES[:2]}
    path = archive(tmp_path / "group1.zip", pictures)
    with zipfile.ZipFile(path) as file:
        at = file.getinfo(f"{NAMES[0]}/1.png").header_offset + 80
    data = bytearray(path.read_bytes())
    data[at : at + 40] = b"\x55" * 40
    path.write_bytes(data)
    with pytest.raises(Invalid, match="damaged"):
        cut(source(tmp_path), NAMES[0], tmp_path)
    assert [number for _, number in cut(source(tmp_path), NAMES[1], tmp_path)] == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_lead_elsewhere_or_are_none_are_refused(tmp_path):
    unsafe = {f"../{NAMES[0]}/1.png": b"", f"/{NAMES[1]}/1.png": b"", f"C:\\{NAMES[2]}/1.png": b""}
    archive(
        tmp_path / "group1.zip",
        {**unsafe, f"{NAMES[3]}/1.png": picture(1), "other/1.png": picture(1), "1.png": b""},
    )
    with zipfile.ZipFile(tmp_path / "group1.zip", "a") as file:
        file.writestr(f"{NAMES[3]}/01.png", picture(1))
    found = {entry.id: entry.problem for entry in source(tmp_path).entries()}
    assert found[NAMES[0]] == found[NAMES[1]] == "bad_frames:unsafe_name"
    assert found[NAMES[3]] == "bad_frames:repeated_frame"
    assert found["other"] == found[""] == "bad_frames:name"
    assert set(found.values()) == {
        "bad_frames:unsafe_name",
        "bad_frames:repeated_frame",
        "bad_frames:name",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"group1.zip"}
    for clip in source(tmp_path).plan():
        with pytest.raises(Invalid, match="bad_frames"):
            source(tmp_path).stage()(clip, tmp_path)
