"""The command: what is here, what is fetched, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from datagen.download.accounts import Accounts, Rules, opted_out_files, plan
from datagen.download.breaker import Breaker, Clock
from datagen.download.fetch import Options, fetch
from datagen.download.loop import Scheduler
from datagen.download.manifest import Manifest, Way
from datagen.download.pace import Pace, Room
from datagen.download.shelf import Shelf
from datagen.engine.progress import Progress
from datagen.engine.scheduler import interruptible
from datagen.sources.listed.base import ListedSource


def terms(source: ListedSource) -> str:
    """Under what conditions the dataset may be used, in one line."""
    told = source.rights
    return f"{source.name}: {told['license']}; {told['terms']} ({told['source']})"


def dry_run(cfg: DictConfig, source: ListedSource) -> int:
    """What would be done; writes nothing and asks no host."""
    accounts = Accounts.of(source)
    todo = plan(source, Manifest(Path(source.raw)), accounts, _rules(cfg))
    clips = sum(accounts.clips(video) for video in todo.fetch)
    print(
        f"would fetch {len(todo.fetch):,} videos with {clips:,} clips; their size is not "
        "known before."
    )
    if todo.found:
        print(
            f"would check {len(todo.found):,} files that are here and were not fetched "
            "by this command."
        )
    _tell_opted_out(opted_out_files(source, accounts), purge=False)
    print("\n".join(accounts.lines()))
    return 0


def run(cfg: DictConfig, source: ListedSource, options: Options) -> int:
    """Look, fetch, account. Exit code 1 if the host refused so long that the run gave up."""
    manifest, accounts = Manifest(Path(source.raw)), Accounts.of(source)
    _tell_opted_out(opted_out_files(source, accounts), cfg.purge)
    todo = plan(source, manifest, accounts, _rules(cfg))
    shelf = Shelf(source, manifest, accounts, cfg.drop_raw)
    shelf.clear()
    if todo.fetch and not cfg.offline:
        print("".join(f"note: {note}\n" for note in options.notes()), end="", flush=True)
    loop = None
    try:
        with interruptible():
            for sentence in shelf.look(todo):
                print(sentence, flush=True)
            if todo.fetch and not cfg.offline:
                loop = make_loop(cfg, shelf, len(todo.fetch), partial(fetch, options))
                loop.run(todo.fetch)
    finally:  # the books are told however it ends
        if loop:
            loop.progress.close()
        print("\n".join(accounts.lines()), flush=True)
    if loop and loop.sentence:
        print(loop.sentence)
    still = len(
        plan(source, manifest, accounts, replace(_rules(cfg), limit=None, again=False)).fetch
    )
    if still:
        print(f"{still:,} videos may still come: the same command goes on with them.")
    return int(loop is not None and loop.gave_up)


def make_loop(cfg: DictConfig, shelf: Shelf, count: int, fetch: Callable[..., Any]) -> Scheduler:
    """The loop of a configuration."""
    clock = Clock()
    used = sum(path.stat().st_size for path in shelf.folder.iterdir() if path.is_file())
    return Scheduler(
        fetch=fetch,
        shelf=shelf,
        breaker=Breaker(clock, **cfg.breaker),
        pace=Pace(clock, cfg.sleep, cfg.max_sleep, cfg.per_hour, shelf.manifest.attempts),
        room=Room(None if cfg.max_gb is None else int(cfg.max_gb * 1e9), used),
        progress=Progress(count, "video", enabled=cfg.progress),
        clock=clock,
        way=Way.of(cfg.proxy, cfg.cookies),
        workers=cfg.workers,
    )


def _rules(cfg: DictConfig) -> Rules:
    return Rules(Way.of(cfg.proxy, cfg.cookies), cfg.tries, cfg.limit, cfg.again)


def _tell_opted_out(paths: list[Path], purge: bool) -> None:
    for path in paths:
        print(f"opted out, {'removed' if purge else 'but still here (--purge removes it)'}: {path}")
        if purge:
            path.unlink()
