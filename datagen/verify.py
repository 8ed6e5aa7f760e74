"""Do the shards match their index? Finds any missing, changed or extra byte.

python -m datagen.verify --input data/shards
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.cli import command
from datagen.core.errors import UserError
from datagen.core.files import file_sha256, parse_json
from datagen.core.text import line_of
from datagen.engine.exclude import Excluded
from datagen.options import option
from datagen.shards.index import FIELDS, read_index
from datagen.shards.reader import members


def problems(folder: Path) -> Iterator[str]:
    """One sentence for each fault in a folder of shards."""
    index = read_index(folder)
    try:
        yield from _problems(folder, index)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder}/index.json is damaged ({error!r}): make the shards again."
        ) from None


def _problems(folder: Path, index: dict[str, Any]) -> Iterator[str]:
    named = {entry["file"] for entry in index["shards"]}
    for entry in index["shards"]:
        yield from _shard_problems(folder / entry["file"], entry)
    for file in sorted(folder.glob("*.tar")):
        if file.name not in named:
            yield f"{file.name}: extra, it is not in the index"
    seen: dict[str, str] = {}
    for entry in index["shards"]:
        for key in entry["keys"]:
            if key in seen:
                yield f"{entry['file']}: sample {key} is also in {seen[key]}"
            seen[key] = entry["file"]
    yield from _leaks(index)
    for split, counts in index["splits"].items():
        for name in ("samples", "frames"):
            total = sum(entry[name] for entry in index["shards"] if entry["split"] == split)
            if counts[name] != total:
                yield f"index.json: {counts[name]} {name} in {split}, its shards say {total}"


def _shard_problems(path: Path, entry: dict[str, Any]) -> Iterator[str]:
    if not path.exists():
        yield f"{path.name}: missing"
        return
    size = path.stat().st_size
    if size != entry["bytes"]:
        yield f"{path.name}: {size} bytes, the index says {entry['bytes']}"
    elif file_sha256(path) != entry["sha256"]:
        yield f"{path.name}: changed, its sha256 differs from the index"
    try:
        yield from _content_problems(path, entry)
    except (tarfile.TarError, OSError, ValueError) as error:
        yield f"{path.name}: cannot be read to its end ({error})"


def _content_problems(path: Path, entry: dict[str, Any]) -> Iterator[str]:
    samples: dict[str, list[str]] = {}
    frames = 0
    for key, field, data in members(path):
        samples.setdefault(key, []).append(field)
        if field != "json":
            continue
        sample = _sample_json(key, data)
        frames += sample["frames"]
        if sample.get("split") != entry["split"]:
            yield f"{path.name}: sample {key} is not marked {entry['split']}"
    for name, found in (("samples", len(samples)), ("frames", frames)):
        if entry[name] != found:
            yield f"{path.name}: {found} {name}, the index says {entry[name]}"
    for key, fields in samples.items():
        if tuple(sorted(fields)) != FIELDS:
            yield (
                f"{path.name}: sample {key} has {', '.join(sorted(fields))}, expected "
                f"{', '.join(FIELDS)}"
            )
    missing = [key for key in entry["keys"] if key not in samples]
    if missing:
        yield (
            f"{path.name}: {len(missing)} of {len(entry['keys'])} samples are missing, the "
            f"first is {missing[0]}"
        )
    extra = samples.keys() - set(entry["keys"])
    if extra:
        yield f"{path.name}: sample {min(extra)} is not in the index"


def _sample_json(key: str, data: bytes) -> dict[str, Any]:
    """A sample's json; ValueError if it is invalid."""
    sample = parse_json(data)
    if not isinstance(sample, dict) or type(sample.get("frames")) is not int:
        raise ValueError(f"the json of sample {key} does not say how many frames it has")
    return sample


def _leaks(index: dict[str, Any]) -> Iterator[str]:
    groups: dict[str, set[str]] = {"train": set(), "val": set()}
    for entry in index["shards"]:
        groups[entry["split"]] |= set(entry["groups"])
    for group in sorted(groups["train"] & groups["val"]):
        yield f"index.json: {group} is in train and in val"


def _excluded_samples(folder: Path, excluded: Excluded) -> Iterator[str]:
    """A line for each sample that shows, or whose group shows, somebody on the list."""
    samples: list[tuple[str, str, str, str | None]] = []
    for entry in read_index(folder)["shards"]:
        with contextlib.suppress(
            tarfile.TarError, OSError, ValueError
        ):  # listed among the problems
            for key, _, data in members(folder / entry["file"], {"json"}):
                sample = _sample_json(key, data)
                samples.append(
                    (entry["file"], key, str(sample.get("group")), excluded.of_sample(sample))
                )
    groups = {group: name for _, _, group, name in samples if name is not None}
    for file, key, group, name in samples:
        if name is not None:
            yield f"{file}: sample {key} shows {name}"
        elif group in groups:
            yield (
                f"{file}: sample {key} may show {groups[group]} too: it is from the same "
                "video, or has the same face"
            )


@dataclass
class VerifyOptions:
    input: str = option("data/shards", "folder of shards")
    exclude: str | None = option(
        None,
        "file of ids, one a line, as --exclude of datagen.shards: samples that still show "
        "them are named",
    )


@command("datagen/verify", VerifyOptions)
def main(cfg: Any) -> int:
    folder, excluded = Path(cfg.input), Excluded.read(cfg.exclude)
    found = list(problems(folder))
    for problem in found:
        print(line_of(problem))
    shown = list(_excluded_samples(folder, excluded)) if excluded.ids else []
    for line in shown:
        print(line_of(line))
    if found:
        print(
            f"{folder}: {len(found)} problems; make the shards again with the command "
            "that made them."
        )
    if shown:
        advice = (
            "make the shards again with it, and add the keys of samples that may show the same "
            "person and do"
        )
        print(
            f"{folder}: {len(shown)} samples show, or may show, who is in {cfg.exclude}: {advice}."
        )
    if found or shown:
        return 1
    index = read_index(folder)
    count = sum(split["samples"] for split in index["splits"].values())
    print(f"{folder}: {len(index['shards'])} shards with {count} samples are whole.")
    return 0


if __name__ == "__main__":
    main()
