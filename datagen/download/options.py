"""The command's options, all checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
MAY_BE_NULL = ("limit", "per_hour", "rate_limit", "max_gb")
BREAKER = ("after", "wait_s", "max_wait_s", "openings")
TEXTS = ("cookies", "proxy", "format")  # may be null
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
    mistakes += [_text(cfg, name) for name in ("url", *TEXTS)] + [_runtimes(cfg)]
    if isinstance(cfg.breaker, Mapping):
        mistakes += [_breaker(cfg, name) for name in BREAKER]
    else:
        mistakes.append(
            f"breaker is {cfg.breaker!r}, options like breaker.{BREAKER[0]}=5 are expected"
        )
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
    value = cfg[name]
    if (value is None and name in MAY_BE_NULL) or (type(value) is int and value >= least):
        return ""
    return f"--{name.replace('_', '-')} is {value!r}, a whole number from {least} is expected"


def _number(cfg: DictConfig, name: str) -> str:
    value = cfg[name]
    if (value is None and name in MAY_BE_NULL) or (_is_number(value) and value >= 0):
        return ""
    return f"--{name.replace('_', '-')} is {value!r}, a number from 0 is expected"


def _text(cfg: DictConfig, name: str) -> str:
    value = cfg[name]
    if isinstance(value, str) or (value is None and name in TEXTS):
        return ""
    return f"--{name} is {value!r}, a text is expected"


def _runtimes(cfg: DictConfig) -> str:
    value = cfg.runtimes
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(name, str) for name in value)
    ):
        return ""
    return f"runtimes is {value!r}, a list of names like [deno, node] is expected"


def _breaker(cfg: DictConfig, name: str) -> str:
    value = cfg.breaker[name]
    fits = (
        _is_number(value) and value >= 0
        if name.endswith("_s")
        else type(value) is int and value >= 1
    )
    return (
        ""
        if fits
        else f"breaker.{name} is {value!r}, a number from {0 if name.endswith('_s') else 1} "
        "is expected"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
