"""Statistics of ten thousand made-up clips: seconds and memory of the whole command.

Every tenth clip, and every clip that the report shows, has films of the toolkit's own size:
512x512, 250 frames that move. Scores of swap and style are independent, so that the worst and best
are many clips.

python -m tests.benchmarks.stats [--clips 10000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
import psutil

from datagen.core.files import canonical
from datagen.media import video
from datagen.shards.index import FIELDS, read_index
from datagen.shards.writer import Member, Sample, pack
from datagen.stats.dataset import read_dataset
from datagen.stats.pictures import extremes, gallery
from tests.conftest import REPOSITORY
from tests.datagen.stats import made_up

GOAL = "goal 10 s, 500 MB"
SIDE, FRAMES = 512, 250
GRAIN = {
    "mp4": 3,
    "swapped.mp4": 3,
    "styled.mp4": 11,
    "mask.mp4": 0,
}  # field -> levels, s.d. of the picture's texture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory(prefix="megactor-bench-") as folder:
        shards, store = Path(folder) / "shards", Path(folder) / "store"
        filmed = _packed(shards, clips, clips // 10)
        made_up.ledger(store / "ledger.jsonl", clips, clips // 10)
        print(
            f"{clips:,} clips in {len(list(shards.glob('*.tar')))} shards, "
            f"{_size(shards):.0f} MB, {GOAL}"
        )
        each = sum(len(film(field)) for field in GRAIN) / 1e6
        print(
            f"  {filmed:,} of them with films of {SIDE}x{SIDE} and {FRAMES} frames, "
            f"{each:.1f} MB a clip"
        )
        for name, words in (
            ("numbers (--json)", ["--json"]),
            ("tables, report with pictures, card", []),
        ):
            seconds, memory = measured(["--input", str(shards), "--store", str(store), *words])
            print(f"  {name:<36}{seconds:6.1f} s {memory:7.0f} MB")
        print(f"  report.html {(shards / 'report.html').stat().st_size / 1e6:.1f} MB")


def measured(words: list[str]) -> tuple[float, float]:
    """Seconds and the most memory (MB) of `python -m datagen.stats`."""
    started, most = time.perf_counter(), 0
    command = [sys.executable, "-m", "datagen.stats", *words]
    process = psutil.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            most = max(most, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.02)
    assert process.wait() == 0
    return time.perf_counter() - started, most / 1e6


@cache
def film(field: str) -> bytes:
    """A head-sized ball with a texture that goes round before a slope of light; about as many bytes
    as real clips.
    """
    y, x = np.mgrid[:SIDE, :SIDE]
    texture = np.random.default_rng(0).normal(0, GRAIN[field], (SIDE, SIDE))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with video.Writer(path, 25) as writer:
            for step in range(FRAMES):
                right, down = round(40 * np.cos(step / 20)), round(40 * np.sin(step / 20))
                far = np.hypot(x - SIDE / 2 - right, y - SIDE / 2 - down)
                light = np.where(far < 150, 220 - far, x / 4) + np.roll(
                    texture, (down, right), (0, 1)
                )
                writer.write(np.repeat(light.clip(0, 255).astype(np.uint8)[..., None], 3, 2))
        return path.read_bytes()


def _packed(folder: Path, clips: int, lost: int) -> int:
    """Pack without films, to learn which clips the report shows, and again with theirs; the number
    of filmed clips.
    """
    index = read_index(made_up.shards(folder, clips, lost, films=False))
    extra = {name: index[name] for name in ("books", "rejects", "select")}
    pack((_sample(number, ()) for number in range(clips)), folder, extra, overwrite=True)
    dataset = read_dataset(folder, folder / "no ledger")
    ends = (key for worst, best in extremes(dataset).values() for key in (*worst, *best))
    filmed = {*gallery(dataset, 100), *ends, *(row.key for row in dataset.rows[::10])}
    pack((_sample(number, filmed) for number in range(clips)), folder, extra, overwrite=True)
    return len(filmed)


def _sample(number: int, filmed: Collection[str]) -> Sample:
    said = made_up.described(number, {})
    styled, other = (
        said["metrics"]["agree"]["style"],
        made_up.described(number + 10**6, {})["metrics"]["agree"]["swap"],
    )
    said["metrics"]["agree"]["style"] = {**other, "mouth_r": styled["mouth_r"]}
    said["frames"], said["metrics"]["clips"]["seconds"] = FRAMES, FRAMES / 25
    members = {field: _member(field, said["key"] in filmed) for field in FIELDS}
    members["json"] = Member.of_bytes("json", canonical(said).encode())
    return Sample(
        said["key"], said["split"], FRAMES / 25, FRAMES, said["group"], tuple(members.values())
    )


@cache
def _member(field: str, is_filmed: bool) -> Member:
    return Member.of_bytes(field, film(field) if is_filmed and field in GRAIN else bytes(16))


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


if __name__ == "__main__":
    main()
