"""The permanent record of every download: one JSON object per line, beside the raw files.

Each line is on disk before the run relies on it, and the next run starts from it. A line that a
crash cut off is skipped when reading, and ended before the next one is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from datagen.core.errors import UserError
from datagen.core.files import canonical
from datagen.core.limits import lines
from datagen.download.answers import RETRIED, Answer

NAME = "manifest.jsonl"
# the raw file is present; it was removed after its clips were cut
KEPT, DROPPED = "kept", "dropped"


@dataclass(frozen=True)
class AccessRoute:
    """The proxy and cookies of a request, as digests.

    The proxy's address may hold a password. Cookies are told apart by the content of their file,
    not by its name.
    """

    proxy: str = ""
    cookies: str = ""

    @classmethod
    def of(cls, proxy: str | None, cookies: str | None) -> AccessRoute:
        """UserError if the file of `cookies` cannot be read."""
        return cls(
            _digest(proxy.encode()) if proxy else "", _digest(_read(cookies)) if cookies else ""
        )


@dataclass
class VideoState:
    """What the manifest knows of one video."""

    outcome: str
    reason: str = ""
    tries: int = 0  # failures so far, of a video that may become available
    routes: dict[str, set[str]] = field(default_factory=lambda: {"proxy": set(), "cookies": set()})
    facts: Mapping[str, object] = field(default_factory=dict)

    def is_open(self, route: AccessRoute, tries: int) -> bool:
        """Whether the video is tried again automatically."""
        policy = RETRIED.get(self.outcome, "never")
        if policy in ("proxy", "cookies"):
            return getattr(route, policy) not in self.routes[policy]
        return policy == "always" or (policy == "tries" and self.tries < tries)


class Manifest:
    """Reads the record and appends to it. Only the holder of the folder's lock may write."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.states: dict[str, VideoState] = {}
        self.attempts: list[float] = []  # times of the requests, in seconds since 1970
        for line in _lines(self.path):
            self._apply(line)

    def kept(self, video: str, file: str, facts: Mapping[str, object], how: str) -> None:
        """`how`: fetched, local or found."""
        self._append({"video": video, "outcome": KEPT, "how": how, "file": file, **facts})

    def dropped(self, video: str) -> None:
        self._append({"video": video, "outcome": DROPPED})

    def answered(self, video: str, answer: Answer, route: AccessRoute) -> None:
        fields = {"outcome": answer.outcome, "reason": answer.reason, "counts": answer.counts}
        self._append(
            {
                "video": video,
                "how": "fetched",
                **fields,
                "proxy": route.proxy,
                "cookies": route.cookies,
            }
        )

    def _append(self, line: dict[str, Any]) -> None:
        line = {**line, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if file.tell() and not _ends_whole(file):
                file.write(b"\n")
            file.write(canonical(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        video, outcome = line["video"], line["outcome"]
        before = self.states.get(video)
        if outcome == KEPT:
            self.states[video] = VideoState(outcome, facts=line)
        elif outcome == DROPPED:
            self.states[video] = VideoState(outcome, facts=before.facts if before else {})
        else:
            state = VideoState(outcome, str(line.get("reason", "")), before.tries if before else 0)
            state.tries += line.get("counts") is True
            state.routes = before.routes if before else state.routes
            if (policy := RETRIED.get(outcome)) in state.routes:
                state.routes[policy].add(str(line.get(policy, "")))
            self.states[video] = state
        if line.get("how") == "fetched":
            self.attempts.append(_seconds(line.get("at")))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines that name a video and its outcome."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for text in lines(file):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and all(
                isinstance(line.get(key), str) for key in ("video", "outcome")
            ):
                yield line


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _read(cookies: str) -> bytes:
    try:
        return Path(cookies).read_bytes()
    except OSError as error:
        raise UserError(
            f"--cookies {cookies} cannot be read ({error.strerror}): export it from a browser."
        ) from None


def _ends_whole(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _seconds(at: object) -> float:
    try:
        return datetime.fromisoformat(str(at)).timestamp()
    except ValueError:
        return 0.0
