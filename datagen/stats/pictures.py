"""Small pictures for the report: moments of a clip's videos side by side, and frames of lost clips.

A video that is missing or damaged only loses its own picture.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from datagen.engine.store import Record, Store
from datagen.media import video
from datagen.stats.dataset import Dataset
from datagen.stats.films import VideoMember, VideoReader, reader, video_members
from datagen.stats.history import LostClip
from datagen.stats.rows import Row

PANELS = ("mp4", "swapped.mp4", "styled.mp4", "mask.mp4")  # from the left
LIMIT = 512 * 2**20  # bytes; larger videos are not fetched from a remote store
QUALITY = 80  # of JPEG
SOON = 0.5  # s after the start of a span: past most fades, and rarely far from a keyframe


def gallery(dataset: Dataset, count: int) -> list[str]:
    """The sorted keys of `count` clips: those with the smallest hashes.

    When clips are added, most of the choice thus stays the same.
    """
    keys = {row.key for row in dataset.rows}
    return sorted(
        sorted(keys, key=lambda key: hashlib.sha256(key.encode(errors="replace")).digest())[:count]
    )


def extremes(dataset: Dataset, count: int = 2) -> dict[str, tuple[list[str], list[str]]]:
    """Score -> (keys of its worst clips, keys of its best), the most extreme first, ties by key.

    No clip is in both lists: with fewer than 2 * count clips, the better half are the best.
    """
    rows = sorted(dataset.rows, key=lambda row: row.key)
    keys, values = [row.key for row in rows], np.array([row.values for row in rows])
    scores = [
        (number, measure) for number, measure in enumerate(dataset.measures) if measure.better
    ]
    found = {}
    for number, measure in scores:
        column = values[:, number] if rows else np.empty(0)
        worst, best = _ends(column if measure.better == "low" else -column, count)
        found[measure.name] = [keys[i] for i in worst], [keys[i] for i in best]
    return found


def sheets(dataset: Dataset, moments: Mapping[str, int], side: int = 128) -> dict[str, list[str]]:
    """Key -> a JPEG data URI for each of its moments: target, swapped, styled, mask side by side.

    Each panel is side x side px; a crossed grey panel stands for a missing picture. Unknown keys
    are left out.
    """
    clips = {row.key: (row, found) for row, found in video_members(dataset, moments.keys())}
    keys = [key for key in moments if key in clips]
    with _workers() as workers:
        return dict(
            zip(
                keys,
                workers.map(lambda key: _sheet(*clips[key], moments[key], side), keys),
                strict=True,
            )
        )


def thumbnails(
    dataset: Dataset, store: Store, limit: int = 200, side: int = 128
) -> dict[str, str | None]:
    """Key of a lost clip -> JPEG data URI of a frame of its clip or source; None if neither exists.

    No side is longer than `side`. At most `limit` clips are tried, spread evenly over the reasons;
    the others have no entry.
    """
    losses = _fairly(dataset.losses, limit)
    with _workers() as workers:
        pictures = workers.map(lambda loss: _thumbnail(store, loss, side), losses)
        return {loss.key: picture for loss, picture in zip(losses, pictures, strict=True)}


def _workers() -> ThreadPoolExecutor:
    """Threads, since PyAV releases the GIL while it decodes."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 4))


def _ends(bad: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the largest, indices of the smallest) of values [n], without NaN."""
    known = np.flatnonzero(~np.isnan(bad))
    down, up = (known[np.argsort(sign * bad[known], kind="stable")] for sign in (-1, 1))
    worst = down[: min(count, len(known) // 2)]
    return worst, up[~np.isin(up, worst)][:count]


def _sheet(row: Row, found: Mapping[str, VideoMember], moments: int, side: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        readers = [_opened(stack, found.get(field)) for field in PANELS]
        promised = readers[0].frames if readers[0] else 0
        indices = spread(min(row.frames, promised or row.frames), moments)
        return [
            _uri(np.hstack([_panel(reader, index, row.fps, side) for reader in readers]))
            for index in indices
        ]


def _opened(stack: contextlib.ExitStack, member: VideoMember | None) -> VideoReader | None:
    with contextlib.suppress(Exception):  # the crossed panel shows it
        return stack.enter_context(member.opened()) if member else None
    return None


def spread(frames: int, moments: int) -> list[int]:
    """Evenly spaced indices of `moments` frames, moved to keyframes if they stay distinct."""
    even = [(2 * i + 1) * frames // (2 * moments) for i in range(moments)]
    near = [round(index / video.KEYFRAME_EVERY) * video.KEYFRAME_EVERY for index in even]
    return near if len(set(near)) == moments and max(near, default=0) < frames else even


def _panel(reader: VideoReader | None, index: int, fps: float, side: int) -> np.ndarray:
    """The frame at this index, RGB uint8 [side, side, 3]; crossed and grey if there is none."""
    with contextlib.suppress(Exception):
        if reader:
            return cv2.resize(
                reader.picture(index, fps, side), (side, side), interpolation=cv2.INTER_AREA
            )
    panel = np.full((side, side, 3), 208, np.uint8)
    cv2.line(panel, (0, 0), (side, side), (160, 160, 160))
    cv2.line(panel, (side, 0), (0, side), (160, 160, 160))
    return panel


def _frame(file: Path, start: float, side: int) -> np.ndarray:
    """The first frame from `start` s on, RGB uint8, no side longer than `side`.

    Raises StopIteration if there is none.
    """
    with contextlib.closing(video.read(file, (start, math.inf), side)) as frames:  # type: ignore[type-var]  # a generator
        return next(frames).rgb


def _fairly(losses: Sequence[LostClip], limit: int) -> list[LostClip]:
    """At most `limit` losses with records: the first of each reason, then the second, ..."""
    seen: Counter[tuple[str, str, str]] = Counter()
    rounds = []
    for loss in sorted(
        (loss for loss in losses if loss.records.keys() & {"clips", "source"}),
        key=lambda one: one.key,
    ):
        reason = loss.outcome, loss.stage, loss.reason
        rounds.append((seen[reason], loss))
        seen[reason] += 1
    return [loss for _, loss in sorted(rounds, key=lambda entry: entry[0])][:limit]


def _thumbnail(store: Store, loss: LostClip, side: int) -> str | None:
    """A frame from the middle of the clip, else from its source soon after the clip starts."""
    begin = 0.0
    with contextlib.suppress(Exception):
        record = store.read("clips", loss.records["clips"])
        begin = float((record.identity["clip"]["span"] or [0.0])[0])
        with _local(store, record) as file:
            return _uri(_middle(file, record.metrics["fps"], side))
    with (
        contextlib.suppress(Exception),
        _local(store, store.read("source", loss.records["source"])) as file,
    ):
        return _uri(_soon(file, begin, side))
    return None


def _middle(clip: Path, fps: float, side: int) -> np.ndarray:
    with open(clip, "rb") as file, reader(file.fileno(), 0, clip.stat().st_size) as opened:
        return opened.picture(spread(opened.frames, 1)[0], fps, side)


def _soon(file: Path, begin: float, side: int) -> np.ndarray:
    """A frame SOON after `begin` s, or the very first if that cannot be read."""
    with contextlib.suppress(Exception):
        return _frame(file, begin + SOON, side)
    return _frame(file, 0.0, side)


@contextlib.contextmanager
def _local(store: Store, record: Record) -> Iterator[Path]:
    """An artifact as a local file.

    Raises FileNotFoundError if it is gone or not a plain file, ValueError if it is too large.
    """
    path = store.artifact(record).path
    if record.file and (store.is_local or path.exists()):
        if not path.is_file():  # reading a pipe would block forever
            raise FileNotFoundError(path)
        yield path
    elif record.file and record.bytes <= LIMIT:
        with store.open(record) as remote, tempfile.NamedTemporaryFile(suffix=path.suffix) as copy:
            shutil.copyfileobj(remote, copy)
            copy.flush()
            yield Path(copy.name)
    else:
        raise ValueError(f"{record.stage} {record.key} has no file, or one that is too large")


def _uri(rgb: np.ndarray) -> str:
    """RGB uint8 [H, W, 3] as a JPEG data URI."""
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
