"""A host with films, a list of clips, and the command that fetches them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from datagen.download.breaker import SystemClock
from tests.datagen.download.host import Host, serving
from tests.faults import Run, call

QUICK = (
    "--sleep",
    "0",
    "--max-sleep",
    "0",
    "--sleep-requests",
    "0",
    "--retry-sleep",
    "0",
    "--retries",
    "1",
)
QUICK = (
    *QUICK,
    "breaker.wait_s=0",
    "--socket-timeout",
    "5",
    "--allow-private",
    "--progress",
    "false",
)


class StillClock(SystemClock):
    """Stands still but for those who sleep."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def film(path: Path, seconds: float = 3.0, sound_only: bool = False, width: int = 96) -> bytes:
    """A film of noise, header first: what is cut off of it opens all the same."""
    noise = np.random.default_rng(0)
    with av.open(
        str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}
    ) as out:
        if sound_only:
            stream = out.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, round(16000 * seconds)), np.float32), "fltp", "mono"
            )
            frame.rate = 16000
            frames = [frame]
        else:
            stream = out.add_stream("libvpx" if path.suffix == ".webm" else "libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, width * 2 // 3, "yuv420p"
            pictures = [
                noise.integers(0, 255, (width * 2 // 3, width, 3), np.uint8)
                for _ in range(round(25 * seconds))
            ]
            frames = [av.VideoFrame.from_ndarray(picture, "rgb24") for picture in pictures]
        for frame in frames:
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path.read_bytes()


def name_of(number: int) -> str:
    """Ids as YouTube has them, the first of which begin with `-` and `_`."""
    return f"{'-_'[number] if number < 2 else 'x'}video_-{number:03d}"


@dataclass
class Place:
    """A list of clips in a folder of its own, and what the command says about it."""

    folder: Path
    url: str
    host: Host
    clips: dict[str, int] = field(default_factory=dict)  # video -> clips of it

    def list(self, *videos: str, clips: int = 1, more: dict[str, object] | None = None) -> None:
        entries: dict[str, object] = dict(more or {})
        for video in videos:
            self.clips[video] = clips
            entries |= {f"{video}_{n}": entry(video, n) for n in range(clips)}
        self.metadata.write_text(json.dumps({"meta_info": {}, "clips": entries}))

    def run(self, *words: object) -> Run:
        return call("datagen.download", *self.words(*words))

    def words(self, *words: object) -> list[object]:
        source = [f"source.metadata={self.metadata}", f"source.raw={self.raw}", "--url", self.url]
        return [*source, *QUICK, *words]

    @property
    def metadata(self) -> Path:
        return self.folder / "celebvhq_info.json"

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    def files(self) -> list[str]:
        """Ids of the videos that are here, by the names of their files."""
        return sorted(path.name[2:13] for path in self.raw.glob("v_*"))

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.raw / "manifest.jsonl").read_text().splitlines()]


def entry(video: str, number: int = 0) -> dict[str, object]:
    """A clip as CelebV-HQ lists it."""
    return {
        "ytb_id": video,
        "duration": {"start_sec": 0.2 + number, "end_sec": 0.8 + number},
        "bbox": {"top": 0.1, "bottom": 0.9, "left": 0.2, "right": 0.8},
        "attributes": {
            "appearance": [0] * 40,
            "action": [0] * 35,
            "emotion": {"sep_flag": False, "labels": "neutral"},
        },
        "version": "v0.1",
    }


def account(out: str, what: str = "clips listed") -> dict[str, int]:
    """`N listed = a kept + b removed` as numbers; AssertionError where it does not balance."""
    (line,) = [line for line in out.splitlines() if f" {what} = " in line]
    total, _, parts = line.partition(f" {what} = ")
    count = {
        name: int(number.replace(",", "")) for number, name in re.findall(r"([\d,]+) (\w+)", parts)
    }
    assert sum(count.values()) == int(total.replace(",", "")), line
    return count


@pytest.fixture(scope="session")
def one_film(tmp_path_factory) -> bytes:
    return film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def bench(tmp_path: Path, one_film: bytes) -> Iterator[Place]:
    host = Host(one_film)
    with serving(host) as url:
        yield Place(tmp_path, url, host)
