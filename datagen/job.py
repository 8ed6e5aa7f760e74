"""A command's configuration made into work: source, stages, store, workers; run, and say what came
of it.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from datagen.core.errors import UserError
from datagen.core.files import clear_parts
from datagen.core.lock import locked, make_folder
from datagen.engine.clip import Clip
from datagen.engine.exclude import Excluded
from datagen.engine.executors import LocalPool, Pool, RayPool
from datagen.engine.ledger import Books, Ledger, Settled, unfinished
from datagen.engine.pipeline import Journey, guarded, outlook
from datagen.engine.progress import Progress
from datagen.engine.scheduler import Loop, Work, interruptible
from datagen.engine.store import Store
from datagen.engine.workload import announcements
from datagen.sources.folder import Folder
from datagen.weights.registry import is_free, licence_of

ORDER = ("clips", "faces", "mask", "gaze", "swap", "style", "agree")  # the journey of one clip
RUNNERS = ("ray", "local")


@dataclass
class Job:
    """What a command is asked to do, checked."""

    cfg: DictConfig
    source: Any
    journey: Journey
    store: Store
    selection: Any

    @classmethod
    def of(cls, cfg: DictConfig) -> Job:
        """UserError that lists all mistakes of the configuration at once."""
        mistakes, made = _mistakes(cfg), {}
        excluded = Excluded()
        try:
            excluded = Excluded.read(cfg.exclude)
        except UserError as error:
            mistakes.append(str(error).removesuffix("."))
        for name in (name for name in ("source", "shots", "select", *ORDER) if name in cfg):
            try:
                made[name] = _make(cfg, name)
            except UserError as error:
                mistakes.append(str(error).removesuffix("."))
        if mistakes:
            raise UserError("; ".join(mistakes) + ".")
        source, selection = made["source"], made["select"]
        stages = [made[name] for name in ORDER if name in made]
        if isinstance(source, Folder):
            source.leave_out = tuple(
                str(folder) for folder in (cfg.store, cfg.get("output")) if folder
            )
        source.count()  # says at once what is wrong with the input
        for stage in stages:
            stage.check()
            if cfg.runner == "local" or cfg.ray.address == "local":
                stage.check_here()
        journey = Journey(source.stage(), stages, selection, made.get("shots"), excluded)
        try:
            store = Store(cfg.store)
        except (ValueError, ImportError) as error:
            raise UserError(f"--store {cfg.store}: {' '.join(str(error).split())}") from None
        return cls(cfg, source, journey, store, selection)

    @property
    def ledger_path(self) -> Path:
        return ledger_path(self.cfg.store)

    def clips(self) -> Iterator[Clip]:
        return islice(self.source.plan(), self.cfg.limit)

    def count(self) -> int:
        return min(self.source.count(), self.cfg.limit or sys.maxsize)


@dataclass
class Session:
    """A run in progress: holds the locks of store and output, and the open ledger."""

    job: Job
    ledger: Ledger

    def run(self) -> Work:
        """All clips through all stages. Books are in the result; interruptions are raised after
        they are printed.
        """
        cfg, job = self.job.cfg, self.job
        progress = Progress(job.count(), enabled=cfg.progress)
        pool = _pool(job)
        kinds = {stage.needs for stage in job.journey.stages}
        loop = Loop(
            job.journey,
            job.store,
            pool,
            self.ledger,
            progress,
            most_waiting=16 if len(kinds) > 1 else 1,
        )
        try:
            for needs in kinds:
                if needs.gpus:
                    pool.room(needs)  # a cluster without a GPU says so before the first clip
            return loop.run(_new_first(job))
        except BaseException:
            progress.close()
            print(loop.work.books.line(), flush=True)
            raise
        finally:
            progress.close()
            pool.close()
            loop.work.start_seconds = getattr(pool, "start_seconds", 0.0)

    @contextlib.contextmanager
    def ended(self, work: Work) -> Iterator[None]:
        """What follows the run itself; its end is written, and its books are told, even if that
        goes wrong.
        """
        try:
            yield
        except (Exception, KeyboardInterrupt):
            print(work.books.line(), flush=True)
            raise
        finally:
            self.ledger.append("end", books=work.books.to_json())


@contextlib.contextmanager
def session(job: Job, output: Path) -> Iterator[Session]:
    """Say what the work costs and what an earlier run left; lock store and output, and open the
    ledger.
    """
    announce(job)
    local = Path(job.ledger_path).parent
    make_folder(output)
    with interruptible(), contextlib.ExitStack() as held:
        for folder in sorted({local.resolve(), output.resolve()}):
            held.enter_context(locked(folder))
        clear_parts(output)
        before = unfinished(job.ledger_path)
        if before is not None:
            print(f"the last run was cut off: {before.line()}; going on from there.", flush=True)
        tell_licences(job)
        job.store.check()
        job.store.clear_scratch()
        held.callback(job.store.clear_scratch)
        ledger = Ledger(job.ledger_path, uuid.uuid4().hex[:12])
        held.callback(ledger.close)
        ledger.append("start", command=shlex.join(sys.argv), output=str(output.absolute()))
        yield Session(job, ledger)


def dry_run(job: Job) -> Books:
    """Which artefacts are there and which would be made; writes nothing."""
    tell_licences(job)
    hits: dict[str, int] = {}
    misses: dict[str, int] = {}
    books = Books()
    for clip in _with_children(job):
        books.planned += 1
        outcome = guarded(clip, job.journey, job.store, lambda stage: False)
        for name, there in outlook(clip, job.journey, job.store).items():
            count = hits if there else misses
            count[name] = count.get(name, 0) + 1
        if outcome.name == "halt":
            raise UserError(outcome.reason)
        if outcome.name != "waiting":
            books.settle(outcome.name, outcome.reason)
    names = ["source", "shots", *ORDER]
    for name in [name for name in names if name in hits or name in misses]:
        print(f"{name:<8} {hits.get(name, 0):>8} there {misses.get(name, 0):>8} to make")
    print(books.line())
    announce(job)
    return books


def announce(job: Job) -> None:
    """Print what dear stages have before them."""
    for line in announcements(_with_children(job), job.journey, job.store, job.cfg.deadline_s):
        print(line, flush=True)


def ledger_path(store: str) -> Path:
    """Beside the artefacts; for a remote store in a local folder named after it."""
    local = store.removeprefix("file://")
    if "://" not in local:
        return Path(local) / "ledger.jsonl"
    return Path("data") / "ledgers" / store.replace("://", "-").replace("/", "-") / "ledger.jsonl"


def _new_first(job: Job) -> Iterator[Clip]:
    """Clips of which an earlier run knew no end, then the others, which mostly need no work:
    workers do not wait until the store has said so of a million of them.
    """
    known = Settled(job.ledger_path)
    yield from (clip for clip in job.clips() if clip.key not in known)
    if known:
        yield from (clip for clip in job.clips() if clip.key in known)


def _with_children(job: Job) -> Iterator[Clip]:
    from datagen.engine.pipeline import children

    for clip in job.clips():
        outcome = guarded(clip, job.journey, job.store, lambda stage: False)
        if outcome.name == "split":
            yield from children(outcome)
        else:
            yield clip


def _pool(job: Job) -> Pool:
    cfg = job.cfg
    if cfg.runner == "local":
        return LocalPool(job.journey, job.store)
    ray: Any = OmegaConf.to_container(cfg.ray, resolve=True)
    return RayPool(job.journey, job.store, job.ledger_path.parent, cfg.workers, cfg.deadline_s, ray)


def exit_code(books: Books) -> int:
    """1 if clips failed (a crash, a timeout, a bug), else 0."""
    if books.classes["failed"]:
        print(
            "some clips failed: `python -m datagen.why KEY` says why; the same command "
            "tries them again."
        )
    return int(books.classes["failed"] > 0)


def tell_licences(job: Job) -> None:
    """A line for every weight in use that is not known to be free for commercial use."""
    journey, terms = job.journey, getattr(job.source, "rights", {})
    if terms:
        print(f"licence: source {terms['license']}; {terms['terms']}", flush=True)
    for stage in filter(None, (journey.source, journey.split, *journey.stages)):
        for name in stage.weights():
            if not is_free(licence := licence_of(name)):
                print(f"licence: {stage.name} {name}: {licence}", flush=True)


def _mistakes(cfg: DictConfig) -> list[str]:
    """What is wrong with the command's own options."""
    mistakes = []
    for name in ("workers", "limit", "shard_samples", "shard_mb"):
        value = cfg.get(name)
        if value is not None and (type(value) is not int or value < 1):
            mistakes.append(
                f"--{name.replace('_', '-')} is {value!r}, a whole number from 1 is expected"
            )
    mistakes += [
        f"--{name} is empty, a folder is expected"
        for name in ("store", "output")
        if cfg.get(name) == ""
    ]
    if cfg.runner not in RUNNERS:
        mistakes.append(f"--runner is {cfg.runner!r}, {' or '.join(RUNNERS)} is expected")
    if not isinstance(cfg.deadline_s, int | float) or cfg.deadline_s <= 0:
        mistakes.append(f"--deadline-s is {cfg.deadline_s!r}, seconds above 0 are expected")
    return mistakes


def _make(cfg: DictConfig, name: str) -> Any:
    try:
        return instantiate(cfg[name], _convert_="all")
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{name}: {' '.join(str(cause).split())}") from None
