"""Speed of the journey: what the parts need alone, and what the whole makes of it.  (make bench)

    python -m tests.benchmarks.journey [--clips 6]

Everything is measured in one run on the same clips of the sample source, so the ratios hold
whatever the machine does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOALS = {
    "faces": 8.0,
    "mask": 8.0,
    "swap": 25.0,
    "style": 60.0,
    "decode + encode": 12.0,
}  # ms a frame, one core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=6)
    clips = parser.parse_args().clips
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**30)
    parts()
    with tempfile.TemporaryDirectory(prefix="megactor-bench-") as folder:
        one = journey(Path(folder) / "one", clips, 1)
        two = journey(Path(folder) / "two", clips, 2)
    report(one, two)


def parts() -> None:
    """ms a frame of every part alone, one thread, on frames of one sample clip: median of three
    rounds.
    """
    import cv2

    from datagen.mask.polygon import PolygonMask
    from datagen.style.looks import LOOKS
    from datagen.swap.donors import builtin_donors
    from datagen.swap.swapper import Swapper
    from datagen.vision.landmarks import FaceMesh
    from datagen.vision.regions import face_polygon

    cv2.setNumThreads(1)
    frames = sample_frames(50)
    mesh, mask, swap = FaceMesh(), PolygonMask(), Swapper(builtin_donors()[0].drawn)
    points = [mesh(rgb) for rgb in frames]
    assert all(p is not None for p in points)
    table: dict[str, list[float]] = {"decode + encode": coding(frames)}
    table["faces"] = timed(lambda i: mesh(frames[i]), len(frames))
    table["mask"] = timed(
        lambda i: mask.person(frames[i]) | face_polygon(frames[i].shape, points[i]), len(frames)
    )
    table["swap"] = timed(lambda i: swap(frames[i], points[i]), len(frames))
    for name, look in LOOKS.items():
        table[f"style: {name}"] = timed(lambda i, look=look: look(frames[i]), len(frames))
    print("part alone            ms a frame   goal")
    for name, values in table.items():
        goal = GOALS[name.partition(":")[0]]
        print(f"{name:<22}{statistics.median(values):>9.1f}{goal:>8.0f}")


def sample_frames(count: int) -> list[Any]:
    from datagen.sources.rendering.motion import motion
    from datagen.sources.rendering.people import person
    from datagen.sources.rendering.talking_head import TalkingHead

    head, moves = TalkingHead(person(0)), motion("talk", count / 25, 25, 1)
    return [head.render(moves, index) for index in range(count)]


def timed(work: Callable[[int], Any], count: int) -> list[float]:
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for index in range(count):
            work(index)
        rounds.append(1000 * (time.perf_counter() - started) / count)
    return rounds


def coding(frames: list[Any]) -> list[float]:
    from datagen.media import video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"

        def twin(_: int) -> None:
            with video.Writer(path, 25) as writer:
                for rgb in frames:
                    writer.write(rgb)
            for _rgb in video.frames(path):
                pass

        return [value / len(frames) for value in timed(twin, 1)]


def journey(folder: Path, clips: int, workers: int) -> dict[str, Any]:
    """One fresh run on Ray: its work by stage, wall time without Ray's start, and memory."""
    from hydra import compose, initialize_config_dir

    from datagen.cli import CONF
    from datagen.job import Job
    from datagen.options import register
    from datagen.session import session
    from datagen.shards.options import ShardsOptions

    words = [
        f"output={folder}/shards",
        f"store={folder}/store",
        f"workers={workers}",
        "progress=false",
    ]
    register(ShardsOptions)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("datagen/shards", [*words, f"source.clips={clips}"])
    job = Job.of(cfg)
    with session(job, folder / "shards") as run, memory_watched() as memory:
        work = run.run()
    wall = work.wall - work.start_seconds
    return {
        "seconds": work.seconds,
        "wall": wall,
        "start": work.start_seconds,
        "workers": workers,
        **memory,
    }


@contextmanager
def memory_watched() -> Iterator[dict[str, float]]:
    """Highest resident size, MiB, of this process and of the largest worker."""
    import psutil

    own, peak, done = psutil.Process(), {"driver": 0.0, "worker": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak["driver"] = max(peak["driver"], own.memory_info().rss / 2**20)
            for child in own.children(recursive=True):
                try:
                    if "Worker" in " ".join(child.cmdline()):
                        peak["worker"] = max(peak["worker"], child.memory_info().rss / 2**20)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def report(one: dict[str, Any], two: dict[str, Any]) -> None:
    print("\nstage        one worker, s   two workers, s")
    for stage, seconds in one["seconds"].items():
        print(f"{stage:<12}{seconds:>14.1f}{two['seconds'][stage]:>17.1f}")
    for run in (one, two):
        run["work"] = sum(run["seconds"].values())
    print(f"{'work':<12}{one['work']:>14.1f}{two['work']:>17.1f}")
    print(f"{'wall':<12}{one['wall']:>14.1f}{two['wall']:>17.1f}")
    print(f"(Ray's start, left out: {one['start']:.1f} and {two['start']:.1f})")
    print(f"work / wall, one worker     {one['work'] / one['wall']:.2f}   goal 0.85")
    print(f"wall of one / wall of two   {one['wall'] / two['wall']:.2f}   goal 1.70")
    worker, driver = (max(one[name], two[name]) for name in ("worker", "driver"))
    print(f"memory: largest worker {worker:.0f} MiB (goal 1536), driver {driver:.0f} MiB")


if __name__ == "__main__":
    main()
