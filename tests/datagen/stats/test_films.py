"""Single pictures of a video: those that decoding all of it gives, at the cost of few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datagen.media import video
from datagen.stats.films import VideoReader, reader
from datagen.stats.pictures import spread


@pytest.fixture
def path(tmp_path) -> Path:
    """100 frames, each one level lighter than the one before."""
    with video.Writer(tmp_path / "film.mp4", 25) as writer:
        for step in range(100):
            writer.write(np.full((32, 64, 3), 60 + step, np.uint8))
    return tmp_path / "film.mp4"


@pytest.fixture
def opened(path) -> Iterator[VideoReader]:
    with open(path, "rb") as file, reader(file.fileno(), 0, path.stat().st_size) as film:
        yield film


def test_a_moment_is_the_frame_of_that_index(path, opened):
    """At keyframes and between them, forwards and backwards."""
    assert (opened.frames, opened.size) == (100, (64, 32))
    whole = [frame.mean() for frame in video.frames(path)]
    for index in (50, 49, 0, 99, 25, 26, 74, 75, 1):
        assert opened.picture(index, 25, 64).mean() == pytest.approx(whole[index], abs=0.4)


def test_it_is_as_large_as_asked_for_and_no_larger_than_it_is(opened):
    assert opened.picture(3, 25, 16).shape == (8, 16, 3)
    assert opened.picture(3, 25, 999).shape == (32, 64, 3)


def test_there_is_no_frame_after_the_last(opened):
    with pytest.raises(ValueError, match="no frame 100"):
        opened.picture(100, 25, 64)


def test_a_keyframe_costs_one_packet(opened, monkeypatch):
    monkeypatch.setattr(VideoReader, "_decoded", lambda *_: pytest.fail("a stretch is decoded"))
    assert [opened.picture(index, 25, 64).shape for index in spread(100, 3)] == [(32, 64, 3)] * 3


def test_a_part_of_a_file_is_a_file(tmp_path, path):
    """In the midst of other bytes, which are not read."""
    data = path.read_bytes()
    (tmp_path / "tar").write_bytes(bytes(1000) + data + data[:5000])
    with open(tmp_path / "tar", "rb") as file, reader(file.fileno(), 1000, len(data)) as film:
        assert film.picture(99, 25, 64).mean() == pytest.approx(159, abs=2)
