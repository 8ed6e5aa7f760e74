"""Every clip of a folder of shards as a row of numbers, from the json members alone."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core import tar as tars
from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.core.keys import is_key
from datagen.core.text import text_of
from datagen.stats.measures import Measure
from datagen.stats.trust import ShardEntry, number, whole


@dataclass(frozen=True)
class Row:
    """One kept clip."""

    key: str
    shard: str
    split: str
    group: str
    identity: str
    source: str
    rights: Mapping[str, str]
    seconds: float
    frames: int
    fps: float
    subsets: tuple[str, ...]
    sizes: Mapping[str, int]  # field -> bytes
    values: np.ndarray  # float64, one for each measure, NaN if the clip has none
    gaze_map: Sequence[tuple[int, int, int]] = ()  # (yaw deg, pitch deg, frames)
    stages: Mapping[str, Any] = field(default_factory=dict)


def read_rows(path: Path, entry: ShardEntry, measures: Sequence[Measure]) -> Iterator[Row]:
    """The rows of the shard that `entry` describes; UserError if they do not agree."""
    count, key = 0, "?"
    try:
        if path.stat().st_size != entry["bytes"]:
            raise UserError(f"it has {path.stat().st_size} bytes, its index says {entry['bytes']}")
        for key, sizes, text in _samples(path):
            yield _row(key, path.name, sizes, parse_json(text), measures)
            count += 1
    except UserError as error:
        raise UserError(f"{path}: {str(error).rstrip('.')}: {ADVICE}.") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: sample {key} lacks what a sample has ({error!r}): {ADVICE}."
        ) from None
    except (tarfile.TarError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): {ADVICE}.") from None
    if count != entry["samples"]:
        raise UserError(
            f"{path} holds {count} samples, its index says {entry['samples']}: {ADVICE}."
        )


ADVICE = "`python -m datagen.verify` names every fault, the command that made the shards fixes it"


def _samples(path: Path) -> Iterator[tuple[str, dict[str, int], bytes]]:
    """(key, bytes of each field, json) of each sample; its members are adjacent."""
    last, text = "", b""
    sizes: dict[str, int] = {}
    with tars.opened(path) as (tar, infos):
        for info in infos:
            key, _, name = info.name.partition(".")
            if last and key != last:
                yield last, sizes, text
                sizes, text = {}, b""
            last, sizes[name] = key, info.size
            if name == "json":
                text = tars.read(tar, info, name)
    if last:
        yield last, sizes, text


def _row(
    key: str, shard: str, sizes: dict[str, int], sample: dict[str, Any], measures: Sequence[Measure]
) -> Row:
    if not is_key(key):
        raise UserError(f"{key[:60]!r} is not a key (letters, digits, _ and -)")
    metrics = sample["metrics"]
    return Row(
        key=key,
        shard=shard,
        split=text_of(sample["split"]),
        group=text_of(sample["group"]),
        identity=text_of(sample["identity"]),
        source=text_of(sample["source"].get("path") or sample["source"].get("name", "")),
        rights={text_of(name): text_of(value) for name, value in sample["rights"].items()},
        seconds=number(metrics["clips"]["seconds"], "clips.seconds", 0),
        frames=whole(sample["frames"], "frames"),
        fps=number(sample["fps"], "fps", 0),
        subsets=tuple(map(text_of, sample.get("subsets", ()))),
        sizes=sizes,
        values=np.array([measure.of(metrics) for measure in measures]),
        gaze_map=[_cell(*cell) for cell in metrics.get("gaze", {}).get("map", ())],
        stages={
            text_of(n): {**made, "weights": dict(made.get("weights", {}))}
            for n, made in sample["stages"].items()
        },
    )


def _cell(yaw: object, pitch: object, frames: object) -> tuple[int, int, int]:
    return whole(yaw, "gaze.map", -180), whole(pitch, "gaze.map", -180), whole(frames, "gaze.map")
