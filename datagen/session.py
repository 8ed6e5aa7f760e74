"""A run in progress: what it says, the locks that it holds, its books."""

from __future__ import annotations

import contextlib
import shlex
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from datagen.core.errors import UserError
from datagen.core.files import clear_parts
from datagen.core.lock import locked, make_folder
from datagen.engine.clip import Clip
from datagen.engine.executors import Executor, LocalExecutor, RayExecutor
from datagen.engine.ledger import Ledger, RunCounts, Settled, unfinished
from datagen.engine.pipeline import cached_stages, run_clip_safely, split_clips
from datagen.engine.progress import Progress
from datagen.engine.scheduler import RunResult, Scheduler, interruptible
from datagen.engine.workload import cost_descriptions
from datagen.job import Job
from datagen.stages import stage_names
from datagen.weights.registry import is_free, licence_of


@dataclass
class Session:
    """A run in progress: holds the locks of store and output, and the open ledger."""

    job: Job
    ledger: Ledger

    def run(self) -> RunResult:
        """All clips through all stages. RunCounts are in the result; interruptions are raised after
        they are printed.
        """
        cfg, job = self.job.cfg, self.job
        progress = Progress(job.count(), enabled=cfg.progress)
        executor = _executor(job)
        kinds = {stage.needs for stage in job.pipeline.stages}
        scheduler = Scheduler(
            job.pipeline,
            job.store,
            executor,
            self.ledger,
            progress,
            most_waiting=16 if len(kinds) > 1 else 1,
        )
        try:
            for needs in kinds:
                if needs.gpus:
                    executor.room(needs)  # a cluster without a GPU says so before the first clip
            return scheduler.run(_new_first(job))
        except BaseException:
            progress.close()
            print(scheduler.result.books.line(), flush=True)
            raise
        finally:
            progress.close()
            executor.close()
            scheduler.result.start_seconds = getattr(executor, "start_seconds", 0.0)

    @contextlib.contextmanager
    def ended(self, result: RunResult) -> Iterator[None]:
        """What follows the run itself; its end is written, and its books are printed, even if that
        goes wrong.
        """
        try:
            yield
        except (Exception, KeyboardInterrupt):
            print(result.books.line(), flush=True)
            raise
        finally:
            self.ledger.append("end", books=result.books.to_json())


@contextlib.contextmanager
def session(job: Job, output: Path) -> Iterator[Session]:
    """Say what the work costs and what an earlier run left; lock store and output, and open the
    ledger.
    """
    print_costs(job)
    local = Path(job.ledger_path).parent
    make_folder(output)
    with interruptible(), contextlib.ExitStack() as held:
        for folder in sorted({local.resolve(), output.resolve()}):
            held.enter_context(locked(folder))
        clear_parts(output)
        before = unfinished(job.ledger_path)
        if before is not None:
            print(f"the last run was cut off: {before.line()}; going on from there.", flush=True)
        print_licences(job)
        job.store.check()
        job.store.clear_scratch()
        held.callback(job.store.clear_scratch)
        ledger = Ledger(job.ledger_path, uuid.uuid4().hex[:12])
        held.callback(ledger.close)
        ledger.append("start", command=shlex.join(sys.argv), output=str(output.absolute()))
        yield Session(job, ledger)


def dry_run(job: Job) -> RunCounts:
    """Which artifacts are there and which would be made; writes nothing."""
    print_licences(job)
    hits: dict[str, int] = {}
    misses: dict[str, int] = {}
    books = RunCounts()
    for clip in _with_split_clips(job):
        books.planned += 1
        outcome = run_clip_safely(clip, job.pipeline, job.store, lambda stage: False)
        for name, there in cached_stages(clip, job.pipeline, job.store).items():
            count = hits if there else misses
            count[name] = count.get(name, 0) + 1
        if outcome.name == "halt":
            raise UserError(outcome.reason)
        if outcome.name != "waiting":
            books.settle(outcome.name, outcome.reason)
    for name in [name for name in stage_names() if name in hits or name in misses]:
        print(f"{name:<8} {hits.get(name, 0):>8} there {misses.get(name, 0):>8} to make")
    print(books.line())
    print_costs(job)
    return books


def print_costs(job: Job) -> None:
    """Print a cost estimate for each stage that has one."""
    clips, seconds = _with_split_clips(job), job.source.video_seconds
    for line in cost_descriptions(clips, job.pipeline, job.store, job.cfg.deadline_s, seconds):
        print(line, flush=True)


def _new_first(job: Job) -> Iterator[Clip]:
    """Clips of which an earlier run knew no end, then the others, which mostly need no work:
    workers do not wait until the store has been asked about a million of them.
    """
    known = Settled(job.ledger_path)
    yield from (clip for clip in job.clips() if clip.key not in known)
    if known:
        yield from (clip for clip in job.clips() if clip.key in known)


def _with_split_clips(job: Job) -> Iterator[Clip]:
    for clip in job.clips():
        outcome = run_clip_safely(clip, job.pipeline, job.store, lambda stage: False)
        if outcome.name == "split":
            yield from split_clips(outcome)
        else:
            yield clip


def _executor(job: Job) -> Executor:
    cfg = job.cfg
    if cfg.runner == "local":
        return LocalExecutor(job.pipeline, job.store)
    ray: Any = OmegaConf.to_container(cfg.ray, resolve=True)
    return RayExecutor(
        job.pipeline, job.store, job.ledger_path.parent, cfg.workers, cfg.deadline_s, ray
    )


def exit_code(books: RunCounts) -> int:
    """1 if clips failed (a crash, a timeout, a bug), else 0."""
    if books.classes["failed"]:
        print(
            "some clips failed: `python -m datagen.why KEY` says why; the same command "
            "tries them again."
        )
    return int(books.classes["failed"] > 0)


def print_licences(job: Job) -> None:
    """A line for every weight in use that is not known to be free for commercial use."""
    if terms := job.source.rights:
        print(f"licence: source {terms['license']}; {terms['terms']}", flush=True)
    for stage in job.pipeline.all_stages:
        for name in stage.weights():
            if not is_free(licence := licence_of(name)):
                print(f"licence: {stage.name} {name}: {licence}", flush=True)
