"""What a million clips cost the driver, by simulation: stages that return at once, everything else
as it is.

    python -m tests.benchmarks.scale [--clips 1000 10000 100000 1000000]

A row for each number of clips: seconds to plan them all; to take them all through the loop, with a
pool that answers at once and a ledger on disk; to come to the first new clip after a kill (half of
the clips are settled); to read the ledger for packing; to write and to read the index. Memory is
the process's largest, less what it had at the start.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import resource
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.engine.clip import Clip
from datagen.engine.ledger import Ledger, Rows, Settled
from datagen.engine.pipeline import Outcome
from datagen.engine.progress import Progress
from datagen.engine.scheduler import Scheduler
from datagen.engine.stage import NO_GPU, Needs
from datagen.engine.store import Store
from datagen.shards.index import read_index
from tests.datagen.engine import toys

NAMES = (
    "plan s",
    "loop s",
    "loop MiB",
    "restart s",
    "restart MiB",
    "rows s",
    "rows MiB",
    "index s",
    "ledger MB",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    print(f"{'clips':>9}" + "".join(f"{name:>13}" for name in NAMES), flush=True)
    for count in parser.parse_args().clips:
        with tempfile.TemporaryDirectory(prefix="megactor-scale-") as folder:
            measured = _measured(count, Path(folder))
        print(f"{count:>9}" + "".join(f"{measured[name]:>13.2f}" for name in NAMES), flush=True)


def _measured(count: int, folder: Path) -> dict[str, float]:
    """Each phase in a process of its own, so that their memory is theirs."""
    context, told = multiprocessing.get_context("spawn"), {}
    for phase in (_plan, _loop, _restart, _rows, _index):
        with ProcessPoolExecutor(1, context) as pool:
            told |= pool.submit(phase, count, folder).result()
    return told


def clips(count: int) -> Iterator[Clip]:
    """As a listed source plans them: keys, spans and rights of VFHQ's size."""
    rights = {"license": "research only", "terms": "https://example.org/terms"}
    for number in range(count):
        video = f"Video{number // 12:06d}"
        source = {"name": "toy", "video": video, "clip": f"Clip-{video}-P0-C{number % 12}"}
        yield Clip(
            f"Clip-{video}-P0-C{number % 12}-F{number}",
            source,
            (0.0, 4.0),
            group=video,
            rights=rights,
        )


@dataclass
class Instant:
    """A pool whose workers answer at once: one in ten clips is filtered."""

    done: deque[Outcome] = field(default_factory=deque)

    def room(self, needs: Needs) -> bool:
        return len(self.done) < 16

    def submit(self, clip: Clip, needs: Needs) -> None:
        number = int(clip.key.rpartition("F")[2])
        self.done.append(
            Outcome(clip, "filtered", "ugly")
            if number % 10 == 0
            else Outcome(clip, "kept", needs=NO_GPU)
        )

    def wait(self) -> list[Outcome]:
        return [self.done.popleft()]

    def close(self) -> None:
        self.done.clear()


def _plan(count: int, folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    assert sum(1 for _ in clips(count)) == count
    return {"plan s": time.perf_counter() - began}


def _loop(count: int, folder: Path) -> dict[str, float]:
    """All clips, half of them before a kill: the ledger of the rest is cut off below."""
    before, began = _peak(), time.perf_counter()
    books = _run(clips(count), count, folder, "first").result.books
    assert (
        books.planned == count
        and not books.pending
        and books.classes["filtered"] == -(-count // 10)
    )
    size = (folder / "ledger.jsonl").stat().st_size
    return {
        "loop s": time.perf_counter() - began,
        "loop MiB": _peak() - before,
        "ledger MB": size / 1e6,
    }


def _restart(count: int, folder: Path) -> dict[str, float]:
    """From a ledger that ends in the middle to the first clip that is new."""
    whole, half = folder / "ledger.jsonl", folder / "half.jsonl"
    with whole.open("rb") as source, half.open("wb") as target:
        target.writelines(itertools.islice(source, count))  # two lines a clip
    before, began = _peak(), time.perf_counter()
    known = Settled(half)
    first = next(clip for clip in clips(count) if clip.key not in known)
    assert abs(int(first.key.rpartition("F")[2]) - count / 2) < 20
    return {"restart s": time.perf_counter() - began, "restart MiB": _peak() - before}


def _rows(count: int, folder: Path) -> dict[str, float]:
    before, began = _peak(), time.perf_counter()
    assert (
        sum(row["outcome"] == "kept" for row in Rows(folder / "ledger.jsonl", "first").values())
        == count * 9 // 10
    )
    return {"rows s": time.perf_counter() - began, "rows MiB": _peak() - before}


def _index(count: int, folder: Path) -> dict[str, float]:
    """index.json of shards with a thousand samples each."""
    entries, own = [], clips(count)
    for number in range(-(-count // 1000)):
        keys = [clip.key for clip in itertools.islice(own, 1000)]
        entries.append(
            {
                "file": f"train-{number:06d}.tar",
                "split": "train",
                "keys": keys,
                "groups": keys[::12],
            }
        )
    index: dict[str, Any] = {"format": "megactor-kit shards 1", "shards": entries}
    began = time.perf_counter()
    (folder / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True))
    assert sum(len(entry["keys"]) for entry in read_index(folder)["shards"]) == count
    return {"index s": time.perf_counter() - began}


def _run(planned: Iterator[Clip], count: int, folder: Path, run: str) -> Scheduler:
    ledger = Ledger(folder / "ledger.jsonl", run)
    progress = Progress(count, enabled=False)
    scheduler = Scheduler(toys.journey(), Store(str(folder / "store")), Instant(), ledger, progress)
    scheduler.run(planned)
    ledger.append("end", books=scheduler.result.books.to_json())
    ledger.close()
    return scheduler


def _peak() -> float:
    """MiB, the most that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
