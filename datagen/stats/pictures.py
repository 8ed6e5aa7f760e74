"""Small pictures for a page: the same moments of all videos of a clip, and what became of the lost ones.

A video that is missing, damaged or not what it says costs its own picture and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datagen import video
from datagen.engine.store import Record, Store
from datagen.stats.dataset import Dataset
from datagen.stats.history import Loss
from datagen.stats.rows import Row

PANELS = ("mp4", "swapped.mp4", "styled.mp4", "mask.mp4")  # from the left
BLOCK = tarfile.BLOCKSIZE
LIMIT = 512 * 2**20  # bytes; a larger video is no clip
QUALITY = 80  # of JPEG
SOON = 0.5  # s after the beginning of a span: past most fades, and seldom far from a keyframe


def gallery(dataset: Dataset, count: int) -> list[str]:
    """Keys of `count` clips in their order: those with the smallest hashes, so that more data changes few."""
    keys = {row.key for row in dataset.rows}
    return sorted(sorted(keys, key=lambda key: hashlib.sha256(key.encode(errors="replace")).digest())[: max(count, 0)])


def extremes(dataset: Dataset, count: int = 3) -> dict[str, tuple[list[str], list[str]]]:
    """Score -> (keys of its worst clips, keys of its best), the farthest first, equals by key.

    No clip is both: where there are fewer than 2 * count, the better half are the best.
    """
    scores = [(number, measure) for number, measure in enumerate(dataset.measures) if measure.better]
    return {measure.name: _ends(dataset.rows, number, measure.better == "low", count) for number, measure in scores}


def sheets(dataset: Dataset, keys: Iterable[str], moments: int = 3, side: int = 128) -> dict[str, list[str]]:
    """Key -> JPEG data URI of each moment: target, swapped, styled and mask side by side, each side x side px.

    Keys that the dataset lacks are left out; where there is no picture, a panel is grey and crossed.
    """
    wanted = dict.fromkeys(keys)
    clips = {row.key: (row, films) for row, films in _clips(dataset, wanted)}
    found = [key for key in wanted if key in clips]
    with _workers() as workers:
        return dict(zip(found, workers.map(lambda key: _sheet(*clips[key], moments, side), found), strict=True))


def thumbnails(dataset: Dataset, store: Store | None, limit: int = 200, side: int = 128) -> dict[str, str]:
    """Key of a lost clip -> JPEG data URI, no side above `side`, out of its clip or else its source, if any is there.

    At most `limit` clips are looked for, and of each reason as many, as far as it has them.
    """
    if store is None:
        return {}
    losses = _fairly(dataset.losses, limit)
    with _workers() as workers:
        pictures = workers.map(lambda loss: _thumbnail(store, loss, side), losses)
        return {loss.key: picture for loss, picture in zip(losses, pictures, strict=True) if picture}


@dataclass(frozen=True)
class Film:
    """Where a video lies in a shard."""

    shard: Path
    name: str
    start: int  # byte
    size: int  # bytes

    def copy(self, target: Path) -> None:
        """As a file of its own; ValueError where it is not there, too large or no MP4."""
        with open(self.shard, "rb") as tar:
            head = os.pread(tar.fileno(), BLOCK, self.start - BLOCK)
            info = tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
            if (info.name, info.size) != (self.name, self.size) or self.size > LIMIT:
                raise ValueError(f"{self.name} is not there or too large")
            if os.pread(tar.fileno(), 8, self.start)[4:] != b"ftyp":  # FFmpeg knows formats that lead to other files
                raise ValueError(f"{self.name} is no MP4")
            with open(target, "wb") as file:
                os.sendfile(file.fileno(), tar.fileno(), self.start, self.size)


def _workers() -> ThreadPoolExecutor:
    """Threads: PyAV decodes outside of Python's lock."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 4))


def _ends(rows: Sequence[Row], number: int, low: bool, count: int) -> tuple[list[str], list[str]]:
    bad = {row.key: float(row.values[number]) * (1 if low else -1) for row in rows}
    known = {key for key, value in bad.items() if not math.isnan(value)}
    worst = sorted(known, key=lambda key: (-bad[key], key))[: min(count, len(known) // 2)]
    return worst, sorted(known - set(worst), key=lambda key: (bad[key], key))[:count]


def _clips(dataset: Dataset, wanted: Mapping[str, None]) -> Iterator[tuple[Row, list[Film | None]]]:
    """The wanted clips and where their videos lie, by the sizes and the order that reading the shards has found."""
    for file, rows in dataset.shards.items():
        end = 0
        for row in rows:
            films: dict[str, Film] = {}
            for field, size in row.sizes.items():
                films[field] = Film(dataset.folder / file, f"{row.key}.{field}", end + BLOCK, size)
                end += BLOCK + -(-size // BLOCK) * BLOCK
            if row.key in wanted:
                yield row, [films.get(field) for field in PANELS]


def _sheet(row: Row, films: Sequence[Film | None], moments: int, side: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / field for field in PANELS]
        for film, file in zip(films, files, strict=True):
            with contextlib.suppress(Exception):
                if film:
                    film.copy(file)
        indices = spread(_frames(files[0], row), moments)
        return [_uri(np.hstack([_panel(file, index, row.fps, side) for file in files])) for index in indices]


def _frames(target: Path, row: Row) -> int:
    """How many there are to choose from: what the sample says, or the target's header where that promises less."""
    with contextlib.suppress(Exception):
        return min(row.frames, round(video.probe(target).seconds * row.fps))  # type: ignore[operator]  # or TypeError
    return row.frames


def spread(frames: int, moments: int) -> list[int]:
    """Indices of `moments` frames at even distances, each moved next to a keyframe if that keeps them apart.

    Only the second frame of a keyframe's stretch is reached by a seek without decoding the stretch before it.
    """
    even = [(2 * i + 1) * frames // (2 * moments) for i in range(moments)]
    near = [round(index / video.KEYFRAME_EVERY) * video.KEYFRAME_EVERY + 1 for index in even]
    return near if len(set(near)) == moments and max(near, default=0) < frames else even


def _panel(file: Path, index: int, fps: float, side: int) -> np.ndarray:
    """The frame with this index, RGB uint8 [side, side, 3]."""
    try:
        frame = _frame(file, ((index - 0.25) / fps, (index + 0.75) / fps), side)
        return cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    except Exception:  # whatever it is, the cross tells
        panel = np.full((side, side, 3), 208, np.uint8)
        cv2.line(panel, (0, 0), (side, side), (160, 160, 160))
        cv2.line(panel, (side, 0), (0, side), (160, 160, 160))
        return panel


def _frame(file: Path, span: tuple[float, float], side: int) -> np.ndarray:
    """The first frame of [start, end) s, no side above `side`, RGB uint8; StopIteration where there is none."""
    with contextlib.closing(video.read(file, span, side)) as frames:  # type: ignore[type-var]  # a generator
        return next(frames).rgb


def _fairly(losses: Sequence[Loss], limit: int) -> list[Loss]:
    """At most `limit` of those that the store may know: the first of each reason, then the second of each, ..."""
    seen: Counter[tuple[str, str, str]] = Counter()
    rounds = []
    for loss in sorted((loss for loss in losses if loss.records.keys() & {"clips", "source"}), key=lambda one: one.key):
        reason = loss.outcome, loss.stage, loss.reason
        rounds.append((seen[reason], loss))
        seen[reason] += 1
    return [loss for _, loss in sorted(rounds, key=lambda entry: entry[0])][: max(limit, 0)]


def _thumbnail(store: Store, loss: Loss, side: int) -> str | None:
    """Out of the middle of the clip, else of its source soon after the clip's beginning."""
    begin = 0.0
    with contextlib.suppress(Exception):
        record = store.read("clips", loss.records["clips"])
        begin = float((record.identity["clip"]["span"] or [0.0])[0])
        with _local(store, record) as file:
            frames = round(video.probe(file).seconds * record.metrics["fps"])
            index = spread(frames, 1)[0]
            return _uri(_frame(file, ((index - 0.25) / record.metrics["fps"], math.inf), side))
    with contextlib.suppress(Exception), _local(store, store.read("source", loss.records["source"])) as file:
        return _uri(_soon(file, begin, side))
    return None


def _soon(file: Path, begin: float, side: int) -> np.ndarray:
    """A frame SOON after `begin` s, or the very first where that cannot be read."""
    with contextlib.suppress(Exception):
        return _frame(file, (begin + SOON, math.inf), side)
    return _frame(file, (0.0, math.inf), side)


@contextlib.contextmanager
def _local(store: Store, record: Record) -> Iterator[Path]:
    """An artefact as a file here; FileNotFoundError where it is gone or no plain file, ValueError where too large."""
    path = store.artefact(record).path
    if record.file and (store.is_local or path.exists()):
        if not path.is_file():  # a pipe would never answer
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
