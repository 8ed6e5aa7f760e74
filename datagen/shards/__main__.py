"""The whole journey: raw video to training shards.

python -m datagen.shards                                         the embedded sample
python -m datagen.shards source=folder source.input=raw/         your videos
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.cli import command
from datagen.core.json import JsonObject
from datagen.shards.options import ShardsOptions

if TYPE_CHECKING:
    from datagen.engine.ledger import RunCounts
    from datagen.engine.scheduler import RunResult
    from datagen.job import Job


@command("datagen/shards", ShardsOptions)
def main(cfg: Any) -> int:
    from datagen.job import Job
    from datagen.session import dry_run, exit_code, session
    from datagen.shards.samples import finish

    job = Job.of(cfg)
    if cfg.dry_run:
        dry_run(job)
        return 0
    with session(job, Path(cfg.output)) as run:
        result = run.run()
        with run.ended(result):
            index = finish(job, run.ledger, result.books)
    _report(job, result, index)
    return exit_code(result.books)


def _report(job: Job, result: RunResult, index: JsonObject) -> None:
    for line in _reasons(result.books):
        print(line)
    print(result.books.line())
    total = sum(split["seconds"] for split in index["splits"].values())
    counts = ", ".join(f"{name} {split['samples']}" for name, split in index["splits"].items())
    print(
        f"{job.cfg.output}: {len(index['shards'])} shards, {counts} samples, {total:.0f} s of video"
    )
    made = sum(result.seconds.values())
    if made:
        print(
            f"computed {sum(result.computed.values())} artifacts: {made:.0f} s of work in "
            f"{result.wall:.0f} s"
        )
    if advice := getattr(job.source, "advice", lambda reasons: None)(result.books.reasons):
        print(advice)


def _reasons(books: RunCounts) -> Iterator[str]:
    for (outcome, reason), count in sorted(books.reasons.items()):
        yield f"  {outcome:<8} {count:>6}  {reason}"


if __name__ == "__main__":
    main()
