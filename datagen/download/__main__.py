"""Fetch the videos of a listed source.

python -m datagen.download source=celebvhq --limit 100
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.cli import command
from datagen.options import option


@dataclass
class Breaker:
    """What happens when the host refuses."""

    after: int = option(5, "troubles in a row")
    wait_s: float = option(60, "s of the first pause, doubled each time")
    max_wait_s: float = option(3600, "s of a pause at most, whatever the host asks for")
    openings: int = option(6, "pauses in a row; then the run stops")


@dataclass
class DownloadOptions:
    limit: int | None = option(None, "consider only the first N videos of the list")
    dry_run: bool = option(False, "say what would be fetched; write nothing, ask nobody")
    offline: bool = option(False, "check what is here and account, fetch nothing")
    again: bool = option(False, "try those too that are removed, private or out of tries")
    exclude: str | None = option(
        None, "file of ids, one a line: these videos are not fetched, these clips not cut"
    )
    purge: bool = option(False, "remove raw files of videos whose owners opted out")
    height: int = option(1080, "px of the shorter side, at most where there is a choice")
    format: str | None = option(
        None, "yt-dlp's format expression; by default the best picture and sound up to the height"
    )
    drop_raw: bool = option(
        False,
        "cut the clips of each video at once, then remove its raw file, unless one could not "
        "be cut",
    )
    max_gb: float | None = option(None, "GB of raw files on disk at most; then the run stops")
    workers: int = option(1, "videos under way at once")
    sleep: float = option(5, "s between two videos at least")
    max_sleep: float = option(10, "s between two videos at most; drawn anew each time")
    sleep_requests: float = option(0.5, "s between two questions about one video")
    per_hour: int | None = option(
        250, "videos an hour at most, earlier runs included; null for no bound"
    )
    rate_limit: int | None = option(None, "bytes a second")
    retries: int = option(3, "of a file that breaks off, within one try")
    retry_sleep: float = option(2, "s before the first of them, doubled each time")
    tries: int = option(5, "of a video that fails for now, over all runs")
    socket_timeout: float = option(30, "s without a byte")
    cookies: str | None = option(None, "cookies.txt of a browser; only read")
    proxy: str | None = option(None, "http://, https:// or socks5:// address")
    url: str = option(
        "https://www.youtube.com/watch?v={id}", "where a video is; {id} becomes its id"
    )
    allow_private: bool = option(False, "ask addresses of this machine or network too")
    progress: bool = option(True, "a bar in a terminal, a line now and then in a log")
    breaker: Breaker = option(
        Breaker(),
        "when the host refuses: breaker.after troubles in a row, then a pause that doubles "
        "each time",
    )
    runtimes: list[str] = option(
        ["deno", "node"], "what yt-dlp may run YouTube's script with; the first that is installed"
    )


@command("datagen/download", DownloadOptions)
def main(cfg: Any) -> int:
    from datagen.core.lock import locked
    from datagen.download.options import check, fetching, make_source
    from datagen.download.run import dry_run, run, terms

    source = make_source(cfg)
    check(cfg)
    options = fetching(cfg)
    print(terms(source), flush=True)
    if cfg.dry_run:
        return dry_run(cfg, source)
    with locked(Path(source.raw)):
        return run(cfg, source, options)


if __name__ == "__main__":
    main()
