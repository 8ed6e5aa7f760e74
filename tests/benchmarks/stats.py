"""Statistics of ten thousand made-up clips: seconds and memory of the whole command.

python -m tests.benchmarks.stats [--clips 10000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.conftest import REPOSITORY
from tests.stats import made_up

GOAL = "goal 10 s, 500 MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory(prefix="megactor-bench-") as folder:
        shards, store = Path(folder) / "shards", Path(folder) / "store"
        made_up.shards(shards, clips, clips // 10, films=True)
        made_up.ledger(store / "ledger.jsonl", clips, clips // 10)
        print(f"{clips:,} clips in {len(list(shards.glob('*.tar')))} shards, {_size(shards):.0f} MB, {GOAL}")
        for name, words in (("numbers (--json)", ["--json"]), ("tables, report with pictures, card", [])):
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


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


if __name__ == "__main__":
    main()
