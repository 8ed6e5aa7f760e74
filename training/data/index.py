"""Where the samples of a split lie, read once from index.json and the headers of the tars."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core import tar as tars
from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.core.json import JsonObject
from datagen.core.limits import MAX_FRAMES
from datagen.shards.index import FIELDS, read_index
from datagen.shards.parameters import ClipParameters, agreed_parameters, sample_parameters
from training.data.decode import Unreadable

HEADER = 512  # bytes before a member, which begin with its name
TWINS = {"swapped": "swapped.mp4", "styled": "styled.mp4"}


@dataclass(frozen=True)
class ShardIndex:
    """N samples of one split, in the order of index.json. Arrays keep copies in workers small."""

    folder: Path
    files: tuple[str, ...]
    lengths: np.ndarray  # int64 [files], bytes by the index
    shard: np.ndarray  # int32 [N], which file
    keys: np.ndarray  # bytes [N]
    offsets: np.ndarray  # int64 [N, 6], of the members' data, in the order of FIELDS
    sizes: np.ndarray  # int64 [N, 6]; 0: there is no such twin
    frames: np.ndarray  # int32 [N]
    # int32 [N]: equal numbers are one person, or one group where no person is known
    identities: np.ndarray
    clip_parameters: ClipParameters  # how all of them were cut

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        return self.keys[index].decode()

    def twins(self, index: int) -> list[str]:
        """Which twins the sample has."""
        return [twin for twin, field in TWINS.items() if self.sizes[index, FIELDS.index(field)]]

    def read(self, index: int, fields: list[str]) -> dict[str, bytes]:
        """Members of a sample. Raises Unreadable where they are damaged.

        UserError where the shard has changed since the start: training must not go on without its
        samples, because that could not be repeated.
        """
        number = self.shard[index]
        path = self.folder / self.files[number]
        try:
            with path.open("rb") as file:
                if (size := file.seek(0, 2)) != self.lengths[number]:
                    raise _gone(path, f"has {size} bytes, {self.lengths[number]} before")
                return {field: self._member(file, index, field) for field in fields}
        except FileNotFoundError:
            raise _gone(path, "is missing") from None
        except OSError as error:
            raise Unreadable(f"{path.name} cannot be read ({error.strerror})") from None

    def _member(self, file: Any, index: int, field: str) -> bytes:
        column = FIELDS.index(field)
        name = f"{self.key(index)}.{field}".encode()
        file.seek(self.offsets[index, column] - HEADER)
        header = file.read(HEADER)
        if header[: len(name) + 1] != name + b"\0":
            raise Unreadable(
                f"{self.files[self.shard[index]]} does not hold {name.decode()} where it did"
            )
        return file.read(self.sizes[index, column])


@dataclass(frozen=True)
class _Found:
    """A sample in a tar: where its members lie, and its json."""

    key: str
    offsets: list[int]
    sizes: list[int]
    metadata: JsonObject
    clips: ClipParameters | None


def _gone(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} {what}: put it back as it was, and the same command goes on (python -m "
        "datagen.verify)."
    )


def read_shard_index(
    folder: Path, split: str, least_frames: int = 1, subset: str | None = None
) -> ShardIndex:
    """Read and check the shards of a split. UserError that names all that is wrong with them.

    `subset` takes the samples that were packed as part of it; samples need `least_frames` frames.
    """
    index = read_index(folder)
    try:
        return _checked_index(folder, index, split, least_frames, subset)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder}/index.json is damaged ({error!r}): make the shards again."
        ) from None


def _checked_index(
    folder: Path, index: JsonObject, split: str, least_frames: int, subset: str | None
) -> ShardIndex:
    entries = [entry for entry in index["shards"] if entry["split"] == split]
    if not entries:
        raise UserError(
            f"{folder} has no samples in {split!r}: {_counts(index)}; choose another "
            "split or input."
        )
    faults: list[str] = []
    rows = [
        (number, found)
        for number, entry in enumerate(entries)
        for found in _checked(folder, entry, faults)
    ]
    if faults:
        more = f", and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise UserError(
            f"{folder}: {'; '.join(faults[:8])}{more}: make the shards again (python -m "
            "datagen.verify)."
        )
    rows = [row for row in rows if subset is None or subset in row[1].metadata.get("subsets", ())]
    if not rows:
        raise UserError(
            f"{folder} has no samples of subset {subset!r} in {split!r}: {_subsets(index)}."
        )
    _refuse_short(folder, [found for _, found in rows], least_frames)
    parameters = agreed_parameters(folder, index, (found.clips for _, found in rows))
    return _shard_index(folder, entries, rows, parameters)


def _shard_index(
    folder: Path,
    entries: list[JsonObject],
    rows: list[tuple[int, _Found]],
    parameters: ClipParameters,
) -> ShardIndex:
    people = [
        found.metadata.get("identity") or f"group {found.metadata.get('group')}"
        for _, found in rows
    ]
    return ShardIndex(
        folder=folder,
        files=tuple(entry["file"] for entry in entries),
        lengths=np.array([entry["bytes"] for entry in entries], np.int64),
        shard=np.array([number for number, _ in rows], np.int32),
        keys=np.array([found.key.encode() for _, found in rows]),
        offsets=np.array([found.offsets for _, found in rows], np.int64),
        sizes=np.array([found.sizes for _, found in rows], np.int64),
        frames=np.array([found.metadata["frames"] for _, found in rows], np.int32),
        identities=np.unique(people, return_inverse=True)[1].astype(np.int32),
        clip_parameters=parameters,
    )


def _checked(folder: Path, entry: JsonObject, faults: list[str]) -> list[_Found]:
    """The samples of a shard. Differences from the index are added to `faults`."""
    path = folder / entry["file"]
    try:
        if (size := path.stat().st_size) != entry["bytes"]:
            faults.append(f"{path.name} has {size} bytes, the index says {entry['bytes']}")
            return []
        found = list(_samples(path))
    except FileNotFoundError:
        faults.append(f"{path.name} is missing")
    except (tarfile.TarError, OSError, ValueError, KeyError) as error:
        faults.append(f"{path.name} cannot be read ({error})")
    else:
        if [sample.key for sample in found] == entry["keys"]:
            return found
        faults.append(
            f"{path.name} holds {len(found)} samples that are not the "
            f"{len(entry['keys'])} of the index"
        )
    return []


def _samples(path: Path) -> Iterator[_Found]:
    """Raises ValueError where a sample lacks a member."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    with tars.opened(path) as (_, infos), path.open("rb") as file:
        for info in infos:
            key, _, field = info.name.partition(".")
            samples.setdefault(key, {})[field] = (info.offset_data, info.size)
        for key, members in samples.items():
            if tuple(sorted(members)) != FIELDS:
                raise ValueError(f"sample {key} has {', '.join(sorted(members))}")
            offsets, sizes = zip(*(members[field] for field in FIELDS), strict=True)
            large = [
                field for field, size in zip(FIELDS, sizes, strict=True) if size > tars.most(field)
            ]
            if large:
                raise ValueError(
                    f"{large[0]} of sample {key} has more than {tars.most(large[0])} bytes"
                )
            file.seek(offsets[FIELDS.index("json")])
            metadata = _metadata(key, file.read(sizes[FIELDS.index("json")]))
            clips = sample_parameters(metadata)
            yield _Found(key, list(offsets), list(sizes), _kept(metadata), clips)


def _metadata(key: str, data: bytes) -> JsonObject:
    """A sample's json. ValueError where it lacks what the loader needs."""
    metadata = parse_json(data)
    if (
        not isinstance(metadata, dict)
        or type(metadata.get("frames")) is not int
        or not 0 < metadata["frames"] <= MAX_FRAMES
    ):
        raise ValueError(f"the json of sample {key} does not say how many frames it has")
    subsets = metadata.get("subsets", [])
    if not isinstance(subsets, list) or not all(isinstance(name, str) for name in subsets):
        raise ValueError(f"the subsets of sample {key} are no list of names")
    return metadata


def _kept(metadata: JsonObject) -> JsonObject:
    names = ("frames", "identity", "group", "subsets")
    return {name: metadata[name] for name in names if name in metadata}


def _refuse_short(folder: Path, found: list[_Found], least: int) -> None:
    short = [sample for sample in found if sample.metadata["frames"] < least]
    if short:
        raise UserError(
            f"{folder}: {len(short)} of {len(found)} clips have fewer than {least} "
            "frames, a window's, the first is "
            f"{short[0].key} with {short[0].metadata['frames']}: take fewer frames, or drop "
            "them by a rule of select."
        )


def _counts(index: JsonObject) -> str:
    return ", ".join(f"{split} {counts['samples']}" for split, counts in index["splits"].items())


def _subsets(index: JsonObject) -> str:
    names = sorted(index.get("select", {}).get("subsets", {}))
    return (
        f"the subsets are {', '.join(names)}" if names else "the shards were packed without subsets"
    )
