"""Speed of the loader: against decoding alone, and against decoding whole clips as the official
loader does.

    python -m tests.benchmarks.loader --input data/shards [--side 64] [--frames 12] [--stride 2]
                                      [--rounds 5] [--length 250]

`--length` first makes clips as long as those of real data, of the first 3

All ways get the same samples, one after the other in every round, in one process with one thread.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from datagen.media import video
from datagen.shards import writer as pack
from model.background import preparation
from training.data import decode
from training.data.dataset import ClipDataset
from training.data.index import TWINS, read_shard_index
from training.data.module import ClipDataModule, Resolution

CHUNK = 12  # samples in a round
GOALS = {"decoding alone": 0.8, "decoding whole clips": 4.0}
MANY = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", default="data/shards")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--stride", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    side = given.side
    resolution, clip = (
        (Resolution(side, side, side // 8), 224)
        if side >= 256
        else (Resolution(side, 2 * side, side // 4), 56)
    )
    with tempfile.TemporaryDirectory() as folder:
        if given.length:
            longer(Path(given.input), Path(folder), given.length)
        measure(given, folder if given.length else given.input, resolution, clip)
    indexing()


def measure(given: argparse.Namespace, shards: str, resolution: Resolution, clip: int) -> None:
    options = {"frames": given.frames, "stride": given.stride}
    clips = ClipDataModule(shards, resolution, preparation(clip), **options).dataset("train")
    print(
        f"{len(clips.shards)} clips, windows of {given.frames} frames, pictures of "
        f"{resolution.frame} px, one thread"
    )
    ways = {
        "the loader": clips.__getitem__,
        "decoding alone": bare(clips),
        "decoding whole clips": whole(clips),
    }
    seconds = side_by_side(ways, given.rounds)
    for name, values in seconds.items():
        print(f"  {name:<22} {CHUNK / statistics.median(values):7.1f} samples/s")
    for name, goal in GOALS.items():
        ratios = [
            other / own for own, other in zip(seconds["the loader"], seconds[name], strict=True)
        ]
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  loader over {name}: {shown}, goal {goal}")


def longer(shards: Path, folder: Path, length: int, count: int = 3) -> None:
    """Shards of the first clips, played forth and back until they have `length` frames."""
    found, samples = read_shard_index(shards, "train"), []
    for place in range(min(count, len(found))):
        there = int(found.frames[place])
        order = [abs((i + there - 1) % max(2 * there - 2, 1) - (there - 1)) for i in range(length)]
        members = {"json": json.dumps({"key": found.key(place), "frames": length}).encode()}
        for field, data in found.read(
            place, [name for name in pack.FIELDS if name != "json"]
        ).items():
            members[field] = (
                _points(data, order) if field == "faces.npz" else _film(folder, data, order)
            )
        ordered = tuple(pack.Member.of_bytes(field, members[field]) for field in pack.FIELDS)
        samples.append(
            pack.Sample(found.key(place), "train", length / 25, length, found.key(place), ordered)
        )
    pack.pack(samples, folder, {})


def _points(data: bytes, order: list[int]) -> bytes:
    file = io.BytesIO()
    with np.load(io.BytesIO(data)) as arrays:
        np.savez_compressed(file, **{name: arrays[name][order] for name in arrays})
    return file.getvalue()


def _film(folder: Path, data: bytes, order: list[int]) -> bytes:
    path, shown = folder / "film.mp4", decode.decode_frames(data, order)
    with video.Writer(path, 25) as writer:
        for index in order:
            writer.write(shown[index].to_ndarray(format="rgb24"))
    film = path.read_bytes()
    path.unlink()
    return film


def side_by_side(ways: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each round for each way, which other programs hardly move; a first round
    warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begun = time.process_time()
            for position in range(number * CHUNK, (number + 1) * CHUNK):
                way(position)
            seconds[name].append(time.process_time() - begun)
    return {name: values[1:] for name, values in seconds.items()}


def bare(clips: ClipDataset) -> Callable[[int], object]:
    """Decodes the frames that the loader shows, of the same streams, to RGB of the model's sides;
    nothing else.
    """
    side, driving = clips.options.resolution.frame, clips.options.resolution.driving

    def way(position: int) -> None:
        place, twin, frames, reference = drawn(clips, position)
        names = ["mp4", "mask.mp4", *([TWINS[twin]] if twin != "target" else [])]
        for field, data in clips.shards.read(place, names).items():
            wanted = frames if field == TWINS.get(twin) else [*frames, reference]
            wanted = [reference] if field == "mask.mp4" else wanted
            found = decode.decode_frames(data, wanted)
            shown = [found[i] for i in wanted]
            if field == "mask.mp4":
                decode.levels(shown, side, (0, 0, shown[0].width))
            else:
                decode.rgb(shown, side if field == "mp4" else driving)
            if field == "mp4" and twin == "target" and side != driving:
                decode.rgb(shown[:-1], driving)

    return way


def whole(clips: ClipDataset) -> Callable[[int], object]:
    """Decodes target and both twins from end to end, then takes the window, as the official loader
    does.
    """

    def way(position: int) -> None:
        place, twin, frames, reference = drawn(clips, position)
        for field, data in clips.shards.read(place, ["mp4", *TWINS.values()]).items():
            with av.open(io.BytesIO(data), "r") as container:
                stream = container.streams.video[0]
                stream.thread_type = "NONE"
                shown = [picture.to_ndarray(format="rgb24") for picture in container.decode(stream)]
            if field in ("mp4", TWINS.get(twin)):
                taken = torch.from_numpy(
                    np.stack([shown[i] for i in [*frames, reference]])
                ).permute(0, 3, 1, 2)
                side = clips.options.resolution.frame
                torch.nn.functional.interpolate(
                    taken.float(), (side, side), mode="bilinear", align_corners=False
                )

    return way


def drawn(clips: ClipDataset, position: int) -> tuple[int, str, list[int], int]:
    """Sample, twin, frames and reference frame that the loader takes for a position."""
    place, generator = clips.order.sample(position), clips.generator(position)
    window = clips.windows.draw(
        int(clips.shards.frames[place]), clips.shards.twins(place), generator
    )
    return place, window.twin, window.frames.tolist(), int(window.references[0])


def indexing() -> None:
    """Seconds and bytes of the index of MANY samples, whose json is as large as the sample
    source's.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack.pack((_small(i) for i in range(MANY)), folder, {})
        begun = time.perf_counter()
        found = read_shard_index(folder, "train")
        seconds = time.perf_counter() - begun
    arrays = [
        getattr(found, f.name)
        for f in fields(found)
        if isinstance(getattr(found, f.name), np.ndarray)
    ]
    print(
        f"  index of {MANY} samples: {seconds:.1f} s, "
        f"{sum(a.nbytes for a in arrays) / 2**20:.1f} MiB"
    )


def _small(number: int) -> pack.Sample:
    key = f"sample-{number:06d}"
    told = {
        "key": key,
        "frames": 100,
        "identity": key,
        "truth": {str(i): [0.5] * 100 for i in range(20)},
    }
    data = json.dumps(told).encode()
    members = (
        pack.Member.of_bytes(field, data if field == "json" else b"0") for field in pack.FIELDS
    )
    return pack.Sample(key, "train", 4.0, 100, key, tuple(members))


if __name__ == "__main__":
    main()
