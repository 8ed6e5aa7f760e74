"""What an error from the host means: one class for each, by type, HTTP status and message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

# When a video is tried again automatically: never; only with another proxy or other cookies; a few
# times; always.
RETRIED = {
    "removed": "never",
    "private": "never",
    "geo": "proxy",
    "age": "cookies",
    "members": "cookies",
    "unavailable": "tries",
    "incomplete": "tries",
    "blocked": "always",
}

# The first match decides. `blocked` comes first: a bot check does not mean that a video is gone.
MESSAGES = tuple(
    (outcome, re.compile(pattern, re.IGNORECASE))
    for outcome, pattern in (
        (
            "blocked",
            r"not a (?:ro)?bot\b|captcha|unusual traffic|rate.?limited|too many "
            r"requests|HTTP Error 429",
        ),
        ("blocked", r"content isn.t available, try again later|cloudflare anti-bot"),
        (
            "geo",
            r"\b(?:in|from) your (?:country|location|region)|geo.?restrict|not available in your",
        ),
        (
            "members",
            r"members.only|channel.s members|premium members|requires payment|DRM "
            r"protected|rental|purchase",
        ),
        ("age", r"confirm your age|age.restricted|inappropriate for some users|age.verif"),
        ("private", r"private video|video is private|been granted access"),
        (
            "removed",
            r"account associated with this video|account .*terminated|copyright (?:claim|grounds)",
        ),
        (
            "removed",
            r"(?:has been|was) (?:removed|deleted)|removed by the (?:uploader|user)|no "
            r"longer available",
        ),
        ("removed", r"video does not exist|violat\w+ .*(?:terms of service|policy|guidelines)"),
        ("removed", r"Unable to download webpage: HTTP Error (?:404|410)"),
        ("unavailable", r"live event|premiere|processing this video|live stream recording"),
        (
            "removed",
            r"video unavailable(?!\. (?:this video|this content|the following content) "
            r"is(?:n.t| not) available)",
        ),
        ("blocked", r"HTTP Error 403"),
        (
            "incomplete",
            r"bytes read|more expected|content too short|Downloaded \d+ bytes, "
            r"expected|any data blocks",
        ),
    )
)
# Faults of the connection or of this machine that could affect every video: no video is given up
# because of them.
EVERYWHERE = re.compile(
    r"failed to extract any player response|requested format is not available|please "
    r"sign in|page needs to be reloaded|"
    r"postprocessing: .*conversion failed",
    re.IGNORECASE,
)
NETWORK = re.compile(
    r"timed? ?out|refused|reset by peer|failed to resolve|name resolution|name or "
    r"service not known|unreachable|"
    r"remote end closed|connection (?:aborted|broken)|proxy|certificate|ssl",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """The result of one attempt.

    `is_trouble`: the fault lies with the host or the connection, not with this video. `counts`: it
    uses up one of the video's tries. `retry_after`: seconds to wait, as the host asks.
    """

    outcome: str
    reason: str
    is_trouble: bool = False
    counts: bool = False
    retry_after: float | None = None


class Incomplete(Exception):
    """The downloaded file is not the whole video; the message says why in a few words."""


def classify(error: BaseException) -> Answer:
    """Classify what a download raised; an unknown message is `unavailable` and retried."""
    chain = list(causes(error))
    texts = [str(link) for link in chain]
    reason = plain(texts[0] if _is_of_downloader(error) else f"{type(error).__name__}: {error}")
    for link in chain:
        if isinstance(link, Incomplete):
            return Answer("incomplete", str(link), counts=True)
    status, after = _status(chain)
    if any(type(link).__name__ == "GeoRestrictedError" for link in chain):
        return Answer("geo", reason)
    outcome = next((name for name, pattern in MESSAGES if any(map(pattern.search, texts))), None)
    if outcome == "blocked" or status in (403, 429):
        return Answer("blocked", reason, is_trouble=True, retry_after=after)
    if outcome in ("removed", "private", "geo", "age", "members"):
        return Answer(outcome, reason)
    if outcome == "incomplete":
        return Answer("incomplete", reason, counts=True)
    if status is not None and status >= 500:
        return Answer("unavailable", reason, is_trouble=True, retry_after=after)
    if outcome is None and any(map(EVERYWHERE.search, texts)):
        return Answer("unavailable", reason, is_trouble=True, retry_after=after)
    if status is None and outcome is None and any(map(NETWORK.search, texts)):
        return Answer("unavailable", reason, is_trouble=True)
    return Answer("unavailable", reason, counts=True, retry_after=after)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all of its causes, each once; yt-dlp keeps them in `exc_info` and `cause`."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if any(link is other for other in seen):
            continue
        seen.append(link)
        yield link
        info = getattr(link, "exc_info", None)
        nexts = [
            info[1] if info else None,
            getattr(link, "cause", None),
            link.__cause__,
            link.__context__,
        ]
        waiting += [other for other in nexts if isinstance(other, BaseException)]


def plain(message: str) -> str:
    """The reason without colours, prefix, video id and advice; at most 160 characters.

    Equal reasons thus have equal texts.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", message).strip()
    text = re.sub(r"^(?:ERROR:\s*)?(?:\[[\w:+-]+\]\s*(?:[^\s:]+:\s)?)?", "", text)
    text = re.split(
        r"\s*\(caused by |; please report|\.? Use --cookies|\s+https?://| For more information",
        text,
    )[0]
    text = re.sub(r"Requested format.*", "Requested format is not available", text)
    return (
        "".join(ch if ch.isprintable() else " " for ch in " ".join(text.split()))[:160]
        or "no reason given"
    )


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None if it is neither."""
    if not value:
        return None
    if re.fullmatch(r"[0-9]+", value.strip()):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _is_of_downloader(error: BaseException) -> bool:
    """Whether the message is written for people; others are not clear without their type."""
    return type(error).__module__.startswith("yt_dlp")


def _status(chain: list[BaseException]) -> tuple[int | None, float | None]:
    """Status and requested pause of the first HTTP error in the chain, else from the message."""
    for link in chain:
        response: Any = getattr(link, "response", None)
        status = getattr(link, "status", None)
        if isinstance(status, int) and response is not None:
            headers = getattr(response, "headers", None) or {}
            return status, retry_after(headers.get("Retry-After"))
    match = re.search(r"HTTP Error (\d{3})\b", str(chain[0]))
    return (int(match[1]) if match else None), None
