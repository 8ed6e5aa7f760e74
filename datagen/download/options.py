"""The command's options, all checked before any work."""

from __future__ import annotations

from omegaconf import DictConfig

from datagen.core.errors import UserError
from datagen.download.fetch import FetchOptions
from datagen.sources.listed.base import ListedSource

WHOLE = {
    "limit": 1,
    "workers": 1,
    "per_hour": 1,
    "tries": 1,
    "height": 1,
    "retries": 0,
    "rate_limit": 1,
}
BREAKER = {"after": 1, "wait_s": 0, "max_wait_s": 0, "openings": 1}
NUMBERS = ("sleep", "max_sleep", "sleep_requests", "retry_sleep", "socket_timeout", "max_gb")


def make_source(cfg: DictConfig) -> ListedSource:
    """The listed source; UserError if the source has no list of videos."""
    from hydra.utils import instantiate

    try:
        source = instantiate(cfg.source, _convert_="all")
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"source: {' '.join(str(cause).split())}") from None
    if not isinstance(source, ListedSource):
        kind = type(source).__name__.lower()
        raise UserError(
            f"source={kind} has no list of videos: source=celebvhq or source=vfhq is expected."
        )
    return source


def check(cfg: DictConfig) -> None:
    """UserError that names every mistake."""
    mistakes = [_whole(cfg, name, least) for name, least in WHOLE.items()] + [
        _number(cfg, name) for name in NUMBERS
    ]
    mistakes += [_breaker(cfg, name) for name in BREAKER]
    found = [mistake for mistake in mistakes if mistake]
    if found:
        raise UserError("; ".join(found) + ".")


def fetching(cfg: DictConfig) -> FetchOptions:
    """The download options, checked; yt-dlp is loaded only if something will be downloaded."""
    options = FetchOptions(
        url=str(cfg.url),
        height=cfg.height,
        format=cfg.format,
        rate_limit=cfg.rate_limit,
        sleep_requests=cfg.sleep_requests,
        retries=cfg.retries,
        retry_sleep=cfg.retry_sleep,
        socket_timeout=cfg.socket_timeout,
        cookies=cfg.cookies,
        proxy=cfg.proxy,
        runtimes=tuple(cfg.runtimes),
        allow_private=cfg.allow_private,
    )
    if "{id}" not in options.url:
        raise UserError(f"--url {options.url}: {{id}} is expected in place of the video's id.")
    if not (cfg.dry_run or cfg.offline):
        options.check()
    return options


def _whole(cfg: DictConfig, name: str, least: int) -> str:
    return _below(f"--{name.replace('_', '-')}", cfg[name], least, "a whole number")


def _number(cfg: DictConfig, name: str) -> str:
    return _below(f"--{name.replace('_', '-')}", cfg[name], 0, "a number")


def _breaker(cfg: DictConfig, name: str) -> str:
    return _below(f"breaker.{name}", cfg.breaker[name], BREAKER[name], "a number")


def _below(option: str, value: float | None, least: int, words: str) -> str:
    """What is wrong with a value that is too small; null is always right."""
    if value is None or value >= least:
        return ""
    return f"{option} is {value:g}, {words} from {least} is expected"
