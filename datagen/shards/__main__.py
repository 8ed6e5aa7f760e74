"""The whole journey: raw video to training shards.

python -m datagen.shards                                         the embedded sample
python -m datagen.shards source=folder source.input=raw/         your videos
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.cli import command
from datagen.shards.options import ShardsOptions

if TYPE_CHECKING:
    from datagen.job import Job


@command("datagen/shards", ShardsOptions)
def main(cfg: Any) -> int:
    from datagen.job import Job, dry_run, exit_code, session
    from datagen.shards.samples import finish

    job = Job.of(cfg)
    if cfg.dry_run:
        dry_run(job)
        return 0
    with session(job, Path(cfg.output)) as run:
        work = run.run()
        with run.ended(work):
            index = finish(job, run.ledger, work.books)
    _report(job, work, index)
    return exit_code(work.books)


def _report(job: Job, work: Any, index: dict[str, Any]) -> None:
    for line in _reasons(work.books):
        print(line)
    print(work.books.line())
    total = sum(split["seconds"] for split in index["splits"].values())
    counts = ", ".join(f"{name} {split['samples']}" for name, split in index["splits"].items())
    print(
        f"{job.cfg.output}: {len(index['shards'])} shards, {counts} samples, {total:.0f} s of video"
    )
    made = sum(work.seconds.values())
    if made:
        print(
            f"computed {sum(work.computed.values())} artefacts: {made:.0f} s of work in "
            f"{work.wall:.0f} s"
        )
    if advice := getattr(job.source, "advice", lambda reasons: None)(work.books.reasons):
        print(advice)


def _reasons(books: Any) -> Iterator[str]:
    for (outcome, reason), count in sorted(books.reasons.items()):
        yield f"  {outcome:<8} {count:>6}  {reason}"


if __name__ == "__main__":
    main()
