"""The command: check what is present, download the rest, print the account."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from datagen.download.accounts import Accounts, RetryPolicy, opted_out_files, plan
from datagen.download.breaker import CircuitBreaker, SystemClock
from datagen.download.fetch import FetchOptions, fetch
from datagen.download.loop import Downloader, Fetch
from datagen.download.manifest import AccessRoute, Manifest
from datagen.download.pace import DiskBudget, RateLimiter
from datagen.download.shelf import RawVideoFolder
from datagen.engine.progress import Progress
from datagen.engine.scheduler import interruptible
from datagen.sources.listed.base import ListedSource


def terms(source: ListedSource) -> str:
    """The dataset's licence and terms, in one line."""
    rights = source.rights
    return f"{source.name}: {rights['license']}; {rights['terms']} ({rights['source']})"


def dry_run(cfg: DictConfig, source: ListedSource) -> int:
    """Print what would be done; writes nothing and contacts no host."""
    accounts = Accounts.of(source)
    todo = plan(source, Manifest(Path(source.raw)), accounts, _policy(cfg))
    clips = sum(accounts.clips(video) for video in todo.fetch)
    print(
        f"would fetch {len(todo.fetch):,} videos with {clips:,} clips; their size is not "
        "known in advance."
    )
    if todo.found:
        print(
            f"would check {len(todo.found):,} files that are here but were not fetched "
            "by this command."
        )
    _report_opted_out(opted_out_files(source, accounts), purge=False)
    print("\n".join(accounts.lines()))
    return 0


def run(cfg: DictConfig, source: ListedSource, options: FetchOptions) -> int:
    """Check, download, print the account. Exit code 1 if the run gave up on the host."""
    manifest, accounts = Manifest(Path(source.raw)), Accounts.of(source)
    _report_opted_out(opted_out_files(source, accounts), cfg.purge)
    todo = plan(source, manifest, accounts, _policy(cfg))
    raw_folder = RawVideoFolder(source, manifest, accounts, cfg.drop_raw)
    raw_folder.clear()
    if todo.fetch and not cfg.offline:
        print("".join(f"note: {note}\n" for note in options.notes()), end="", flush=True)
    downloader = None
    try:
        with interruptible():
            for sentence in raw_folder.check_files(todo):
                print(sentence, flush=True)
            if todo.fetch and not cfg.offline:
                downloader = make_downloader(
                    cfg, raw_folder, len(todo.fetch), partial(fetch, options)
                )
                downloader.run(todo.fetch)
    finally:  # the account is printed however it ends
        if downloader:
            downloader.progress.close()
        print("\n".join(accounts.lines()), flush=True)
    if downloader and downloader.sentence:
        print(downloader.sentence)
    still = len(
        plan(source, manifest, accounts, replace(_policy(cfg), limit=None, again=False)).fetch
    )
    if still:
        print(f"{still:,} videos are still to fetch: run the same command again to continue.")
    return int(downloader is not None and downloader.gave_up)


def make_downloader(
    cfg: DictConfig, raw_folder: RawVideoFolder, count: int, fetch: Fetch
) -> Downloader:
    """The downloader that the configuration describes."""
    clock = SystemClock()
    used = sum(path.stat().st_size for path in raw_folder.folder.iterdir() if path.is_file())
    return Downloader(
        fetch=fetch,
        raw_folder=raw_folder,
        breaker=CircuitBreaker(clock, **cfg.breaker),
        rate_limiter=RateLimiter(
            clock, cfg.sleep, cfg.max_sleep, cfg.per_hour, raw_folder.manifest.attempts
        ),
        disk_budget=DiskBudget(None if cfg.max_gb is None else int(cfg.max_gb * 1e9), used),
        progress=Progress(count, "video", enabled=cfg.progress),
        clock=clock,
        route=AccessRoute.of(cfg.proxy, cfg.cookies),
        workers=cfg.workers,
    )


def _policy(cfg: DictConfig) -> RetryPolicy:
    return RetryPolicy(AccessRoute.of(cfg.proxy, cfg.cookies), cfg.tries, cfg.limit, cfg.again)


def _report_opted_out(paths: list[Path], purge: bool) -> None:
    for path in paths:
        print(f"opted out, {'removed' if purge else 'but still here (--purge removes it)'}: {path}")
        if purge:
            path.unlink()
