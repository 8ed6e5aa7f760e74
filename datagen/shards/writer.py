"""Deterministic WebDataset shards and their index.

Members of a sample, always the same: mp4 (target), swapped.mp4, styled.mp4, mask.mp4, faces.npz,
json. The same samples give the same bytes: sorted keys, ustar, no dates, no owner. A tar cut at a
member boundary reads short without an error, so index.json carries counts and sha256; it is written
last and removed first.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from datagen.core.errors import UserError
from datagen.core.files import canonical, file_sha256, write_atomically
from datagen.core.json import JsonObject
from datagen.shards.index import FIELDS, FORMAT, SPLITS, read_index

MARK = ".packing"  # stands while shards are being put in place: those there are ours, whole or not


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a sample: its bytes, or where they are, with their hash and size."""

    field: str
    sha256: str
    size: int
    source: Callable[[], IO[bytes]] | bytes

    @classmethod
    def of_bytes(cls, field: str, data: bytes) -> Member:
        return cls(field, hashlib.sha256(data).hexdigest(), len(data), data)

    def read(self) -> bytes:
        """UserError where the bytes are not those that were recorded."""
        if isinstance(self.source, bytes):
            return self.source
        with self.source() as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            where = getattr(file, "name", self.field)
            raise UserError(
                f"an artifact in the store is damaged ({where}): delete its folder and run again."
            )
        return data


@dataclass(frozen=True, slots=True)
class Sample:
    key: str
    split: str
    seconds: float
    frames: int
    group: str
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class Shard:
    """A planned shard: what will be in it."""

    file: str
    split: str
    samples: tuple[Sample, ...]

    @property
    def content(self) -> str:
        """Hash of names and contents: the same shard, the same hash, before a byte is written."""
        rows = [[s.key, m.field, m.sha256] for s in self.samples for m in s.members]
        return hashlib.sha256(canonical(rows).encode()).hexdigest()


def pack(
    samples: Iterable[Sample],
    output: Path,
    extra: JsonObject,
    shard_samples: int = 1000,
    shard_bytes: int = 512 * 2**20,
    overwrite: bool = False,
    may_go: Callable[[str], bool] = lambda key: False,
) -> JsonObject:
    """Write shards and index.json under `output` and return the index; what is right already is not
    touched. Samples of an earlier run whose keys `may_go` are dropped unasked.
    """
    shards = list(
        _plan(sorted(samples, key=lambda s: (s.split, s.key)), shard_samples, shard_bytes)
    )
    old = _old_index(output)
    _refuse_loss(output, old, shards, may_go, overwrite)
    known = {(s["file"], s["content"]): s for s in old.get("shards", [])}
    parts: dict[str, Path] = {}
    try:
        entries = []
        for shard in shards:
            entry = known.get((shard.file, shard.content))
            if entry is None or not _stands(output / shard.file, entry):
                parts[shard.file] = output / f".{shard.file}.{uuid.uuid4().hex[:8]}.part"
                entry = _entry(shard, _write(shard, parts[shard.file]))
            entries.append(entry)
        index = _index(entries, shards, extra)
        _publish(output, parts, entries, index)
        return index
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """One member with nothing in its header but name, size and fixed rights."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def _plan(samples: Sequence[Sample], shard_samples: int, shard_bytes: int) -> Iterator[Shard]:
    for split in SPLITS:
        batch: list[Sample] = []
        number = size = 0
        for sample in (s for s in samples if s.split == split):
            if batch and (len(batch) >= shard_samples or size + sample.size > shard_bytes):
                yield Shard(f"{split}-{number:06d}.tar", split, tuple(batch))
                batch, size, number = [], 0, number + 1
            batch.append(sample)
            size += sample.size
        if batch:
            yield Shard(f"{split}-{number:06d}.tar", split, tuple(batch))


def _write(shard: Shard, part: Path) -> Path:
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in shard.samples:
            assert tuple(m.field for m in sample.members) == FIELDS, sample.key
            for member in sample.members:
                add_member(tar, f"{sample.key}.{member.field}", member.read())
    return part


def _entry(shard: Shard, written: Path) -> JsonObject:
    return {
        "file": shard.file,
        "split": shard.split,
        "sha256": file_sha256(written),
        "bytes": written.stat().st_size,
        "content": shard.content,
        "samples": len(shard.samples),
        "frames": sum(s.frames for s in shard.samples),
        "seconds": round(sum(s.seconds for s in shard.samples), 3),
        "groups": sorted({s.group for s in shard.samples}),
        "keys": [s.key for s in shard.samples],
    }


def _index(entries: list[JsonObject], shards: Sequence[Shard], extra: JsonObject) -> JsonObject:
    splits = {}
    for split in SPLITS:
        samples = [sample for shard in shards if shard.split == split for sample in shard.samples]
        splits[split] = {
            "samples": len(samples),
            "frames": sum(s.frames for s in samples),
            "seconds": round(sum(s.seconds for s in samples), 3),
            "groups": len({s.group for s in samples}),
        }
    return {"format": FORMAT, "fields": list(FIELDS), "splits": splits, "shards": entries, **extra}


def _publish(
    output: Path, parts: dict[str, Path], entries: list[JsonObject], index: JsonObject
) -> None:
    """Index away, shards in place, strays of ours away, index back: whoever sees an index sees what
    it says.
    """
    data = (json.dumps(index, indent=1, sort_keys=True) + "\n").encode()
    path = output / "index.json"
    stale = {file.name for file in _tars(output)} - {entry["file"] for entry in entries}
    if not parts and not stale and path.exists() and path.read_bytes() == data:
        (output / MARK).unlink(missing_ok=True)
        return
    (output / MARK).touch()
    path.unlink(missing_ok=True)
    for file, part in parts.items():
        os.replace(part, output / file)
    for name in stale:
        (output / name).unlink()
    write_atomically(path, data)
    (output / MARK).unlink()


def _refuse_loss(
    output: Path,
    old: JsonObject,
    shards: Sequence[Shard],
    may_go: Callable[[str], bool],
    overwrite: bool,
) -> None:
    """Nothing of somebody else's, and no sample of an earlier run, goes without being asked."""
    ours = {entry["file"] for entry in old.get("shards", [])}
    foreign = [file.name for file in _tars(output) if file.name not in ours]
    before = {key for entry in old.get("shards", []) for key in entry["keys"] if not may_go(key)}
    lost = before - {sample.key for shard in shards for sample in shard.samples}
    if (output / MARK).exists():
        foreign = []
    if overwrite or not (lost or foreign):
        return
    what = (
        f"{foreign[0]}, which no index names"
        if foreign
        else f"{len(lost)} samples that this run does not make"
    )
    raise UserError(
        f"{output} holds {what}: add --overwrite to replace them, or choose another --output."
    )


def _old_index(output: Path) -> JsonObject:
    return read_index(output) if (output / "index.json").exists() else {}


def _stands(path: Path, entry: JsonObject) -> bool:
    return (
        path.exists()
        and path.stat().st_size == entry["bytes"]
        and file_sha256(path) == entry["sha256"]
    )


def _tars(output: Path) -> list[Path]:
    return sorted(file for split in SPLITS for file in output.glob(f"{split}-[0-9]*.tar"))
