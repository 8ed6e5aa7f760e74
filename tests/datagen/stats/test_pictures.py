"""The pictures: the right video in the right panel at the same moments, and nothing that a bad file
could do.
"""

from __future__ import annotations

import base64
import json
import math
import os
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

from datagen.engine.store import Record, Store
from datagen.media import video
from datagen.stats import films, pictures
from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.films import BLOCK, VideoReader, frame_size
from datagen.stats.history import LostClip, RunHistory
from datagen.stats.pictures import PANELS, sheets, spread, thumbnails
from tests.datagen.stats.made_up import VIDEOS, film, shards

LEVELS = [VIDEOS[field] for field in PANELS]
NO_PICTURE = 208


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Six clips with films of five frames, each frame one level lighter than the one before."""
    folder = shards(tmp_path / "shards")
    return read_dataset(folder, folder / "no ledger")


def rgb(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[
        ..., ::-1
    ].astype(int)


def panels(uri: str, side: int) -> list[int]:
    """The grey level of each panel of a strip, NO_PICTURE where there is none."""
    strip = rgb(uri)
    assert strip.shape == (side, 4 * side, 3)
    assert np.abs(strip - strip.mean(2, keepdims=True)).max() <= 6  # grey
    return [int(np.median(strip[:, n * side : (n + 1) * side])) for n in range(4)]


def near(levels: Sequence[int]) -> object:
    return pytest.approx(levels, abs=3)


def spoil(dataset: Dataset, name: str, data: bytes, at: int = 0) -> None:
    """Write these bytes into a member, from its byte `at` on; the block before it is its header."""
    for shard in dataset.shards:
        whole = (dataset.folder / shard).read_bytes()
        start = whole.find(name.encode() + b"\0")
        if start >= 0:
            start += BLOCK + at
            (dataset.folder / shard).write_bytes(whole[:start] + data + whole[start + len(data) :])


def test_each_panel_shows_its_video_at_its_moment(dataset):
    keys = [row.key for row in dataset.rows]
    found = sheets(dataset, dict.fromkeys((keys[3], keys[0], "unknown"), 3), side=48)
    assert list(found) == [keys[3], keys[0]]
    for strips in found.values():
        assert [panels(strip, 48) for strip in strips] == [
            near([v + step for v in LEVELS]) for step in (0, 2, 4)
        ]
    first, _, last = (np.sum(panels(strip, 48)) for strip in found[keys[0]])
    assert first + 8 <= last


def test_same_bytes_whatever_else_is_asked_for(dataset):
    keys = [row.key for row in dataset.rows]
    assert (
        sheets(dataset, dict.fromkeys(keys, 2))[keys[2]] == sheets(dataset, {keys[2]: 2})[keys[2]]
    )


def test_colours_are_those_of_the_video(dataset, monkeypatch):
    colour = np.empty((48, 48, 3), np.uint8)
    colour[:] = (200, 60, 20)
    monkeypatch.setattr(VideoReader, "picture", lambda *_: colour)
    ((strip,),) = sheets(dataset, {dataset.rows[0].key: 1}, side=48).values()
    assert np.median(rgb(strip), axis=(0, 1)) == pytest.approx([200, 60, 20], abs=4)


def test_no_other_clip_is_read(dataset):
    key, *others = [row.key for row in dataset.rows]
    expected = sheets(dataset, {key: 3})
    for other in others:
        for field in PANELS:
            spoil(dataset, f"{other}.{field}", bytes(200))
    assert sheets(dataset, {key: 3}) == expected


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


SIZE = len(film(VIDEOS["swapped.mp4"]))
PLAYLIST = b"ffconcat version 1.0\nfile mp4\n"  # FFmpeg would show the target


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (bytes(300), 0),
        (PLAYLIST + b"#" * (SIZE - len(PLAYLIST) - 1) + b"\n", 0),
        (bytes(BLOCK), -BLOCK),
        (header("clip-000001.swapped.mp4", SIZE), -BLOCK),
        (header("clip-000000.swapped.mp4", SIZE - 1), -BLOCK),
    ],
)
def test_a_damaged_video_costs_its_panel_only(dataset, data, at):
    spoil(dataset, "clip-000000.swapped.mp4", data, at)
    strips = sheets(dataset, {"clip-000000": 3}, side=48)["clip-000000"]
    for step, strip in zip((0, 2, 4), strips, strict=True):
        target, _, styled, mask = (level + step for level in LEVELS)
        assert panels(strip, 48) == near([target, NO_PICTURE, styled, mask])


def test_a_damaged_target_does_not_hide_its_twins(dataset):
    key = dataset.rows[0].key
    spoil(dataset, f"{key}.mp4", bytes(300))
    short = replace(dataset.rows[0], frames=5)
    alone = Dataset(
        dataset.folder,
        dataset.index,
        dataset.measures,
        {dataset.rows[0].shard: [short]},
        dataset.history,
    )
    (strip,) = sheets(alone, {key: 1}, side=48)[key]
    assert panels(strip, 48) == near([NO_PICTURE, *(level + 2 for level in LEVELS[1:])])


@pytest.mark.parametrize(
    "change", [{"fps": 0.0}, {"fps": math.nan}, {"frames": 10**30}, {"frames": -3}, {"sizes": {}}]
)
def test_odd_numbers_give_pictures(dataset, change):
    rows = [replace(dataset.rows[0], **change)]
    odd = Dataset(
        dataset.folder,
        dataset.index,
        dataset.measures,
        {dataset.rows[0].shard: rows},
        dataset.history,
    )
    strips = sheets(odd, {rows[0].key: 3}, side=48)[rows[0].key]
    assert [len(panels(strip, 48)) for strip in strips] == [4, 4, 4]


def test_a_shard_that_is_gone_and_videos_that_claim_too_much(dataset, monkeypatch):
    key = dataset.rows[0].key
    assert frame_size(dataset) == (64, 64)
    monkeypatch.setattr(films, "MAX_PIXELS", 64 * 64 - 1)
    assert panels(sheets(dataset, {key: 1}, 48)[key][0], 48) == near([NO_PICTURE] * 4)
    monkeypatch.undo()
    (dataset.folder / dataset.rows[0].shard).unlink()
    assert panels(sheets(dataset, {key: 1}, 48)[key][0], 48) == near([NO_PICTURE] * 4)
    assert frame_size(dataset) is None


def test_moments_are_even_and_follow_keyframes():
    assert spread(100, 3) == [25, 50, 75]
    assert spread(5, 3) == [0, 2, 4]
    assert spread(1, 3) == [0, 0, 0]
    for frames in range(1, 400):
        for moments in range(1, 5):
            indices = spread(frames, moments)
            even = [(n + 0.5) * frames / moments for n in range(moments)]
            assert len(indices) == moments and indices == sorted(indices)
            assert all(0 <= index < frames for index in indices)
            assert max(abs(index - ideal) for index, ideal in zip(indices, even, strict=True)) <= 14
            assert frames < 30 * moments + 15 or all(
                index % video.KEYFRAME_EVERY == 0 for index in indices
            )


def lost(dataset: Dataset, losses: Sequence[LostClip]) -> Dataset:
    return replace(dataset, history=RunHistory(tuple(losses)))


def loss(
    number: int, reason: str = "small_face", stages: Sequence[str] = ("clips", "source")
) -> LostClip:
    return LostClip(
        f"lost-{number:03}",
        "filtered",
        reason,
        "clips",
        records={stage: f"{stage}{number}" for stage in stages},
    )


def put(root: Path, stage: str, number: int, data: bytes | None, **words) -> Path:
    """A record of the store, with its artifact where there are bytes; where that lies."""
    key = f"{stage}{number}"
    folder = root / stage / key[:2] / key
    folder.mkdir(parents=True)
    words = {
        "file": "clip.mp4",
        "metrics": {"fps": 25},
        "identity": {"clip": {"span": None}},
        **words,
    }
    record = Record(key, stage, 1, bytes=len(data or b""), **words)
    (folder / "done.json").write_text(json.dumps(asdict(record)))
    if data is not None:
        (folder / "clip.mp4").write_bytes(data)
    return folder


def long_film(path: Path, seconds: int = 4) -> Path:
    """Each second 40 levels lighter than the one before, twice as wide as high."""
    with video.Writer(path, 25) as writer:
        for second in range(seconds):
            for _ in range(25):
                writer.write(np.full((32, 64, 3), 20 + 40 * second, np.uint8))
    return path


def levels(found: dict[str, str | None]) -> dict[str, int]:
    return {key: round(float(rgb(uri).mean())) for key, uri in found.items()}


def test_a_lost_clip_is_shown_in_its_middle(dataset, tmp_path):
    put(tmp_path, "clips", 0, long_film(tmp_path / "film.mp4").read_bytes())
    put(tmp_path, "source", 0, film(200))
    found = thumbnails(lost(dataset, [loss(0)]), Store(str(tmp_path)), side=48)
    assert rgb(found["lost-000"]).shape == (24, 48, 3)
    assert levels(found) == near({"lost-000": 100})


def test_without_its_clip_the_source_is_shown_where_the_clip_began(dataset, tmp_path):
    source = str(long_film(tmp_path / "film.mp4"))
    put(
        tmp_path,
        "clips",
        0,
        None,
        file="",
        outcome="filtered",
        identity={"clip": {"span": [2.8, 4.0]}},
    )
    put(tmp_path, "clips", 1, None, identity={"clip": {"span": [1.0, 3.0]}})  # its file is gone
    put(tmp_path, "clips", 2, bytes(1000))
    put(tmp_path, "clips", 3, None, file="", identity={"clip": {"span": [99.0, 100.0]}})
    for number in range(4):
        put(tmp_path, "source", number, None, file=source)
    found = thumbnails(lost(dataset, [loss(0), loss(1), loss(2), loss(3)]), Store(str(tmp_path)))
    assert levels(found) == near({"lost-000": 140, "lost-001": 60, "lost-002": 20, "lost-003": 20})


def test_what_is_gone_damaged_or_odd_has_no_picture(dataset, tmp_path):
    put(tmp_path, "source", 0, None, file=str(tmp_path / "gone.mp4"))
    put(tmp_path, "source", 1, b"no video")
    (put(tmp_path, "source", 2, film(60)) / "done.json").write_text("[1, 2")
    (put(tmp_path, "source", 3, film(60)) / "done.json").write_text('["a list"]')
    put(tmp_path, "source", 4, film(60)[:200])
    put(tmp_path, "clips", 5, film(60), metrics={"fps": 0})
    put(tmp_path, "source", 6, None, file=str(tmp_path))
    put(tmp_path, "source", 8, film(60), identity={})
    dataset = lost(dataset, [loss(number) for number in range(9)])
    found = thumbnails(dataset, Store(str(tmp_path)))
    assert len(found) == 9 and found.pop("lost-008") and not any(found.values())
    assert not any(thumbnails(dataset, Store(str(tmp_path / "nowhere"))).values())


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    put(tmp_path, "source", 0, None, file=str(tmp_path / "pipe.mp4"))
    store = Store(str(tmp_path))
    with pytest.raises(FileNotFoundError), pictures._local(store, store.read("source", "source0")):
        pass


def test_clips_of_a_remote_store(dataset, tmp_path):
    put(tmp_path, "clips", 0, film(60))
    put(tmp_path, "clips", 1, film(60), metrics={})
    remote = Store("memory://thumbnails")
    fsspec.filesystem("memory").put(str(tmp_path / "clips"), "/thumbnails/clips", recursive=True)
    assert not remote.is_local
    found = thumbnails(lost(dataset, [loss(0), loss(1)]), remote)
    assert found.pop("lost-001") is None
    assert levels(found) == near({"lost-000": 62})


def test_every_reason_has_its_share(dataset, tmp_path):
    losses = [loss(number, "small_face" if number < 7 else "no_face") for number in range(9)]
    losses += [loss(9, "empty", stages=())]
    for number in range(9):
        put(tmp_path, "clips", number, film(60))
    found = thumbnails(lost(dataset, losses), Store(str(tmp_path)), limit=5)
    assert sorted(found) == ["lost-000", "lost-001", "lost-002", "lost-007", "lost-008"]
