"""Tars that somebody else may have made, member by member; no more of them is believed than lies in
the file.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

from datagen.core.keys import is_key
from datagen.core.limits import MAX_ARRAYS, MAX_JSON, MAX_MEMBER, MAX_RATIO, MAX_TAR_HEADER, MIB

MOST = {
    "json": MAX_JSON,
    "faces.npz": MAX_ARRAYS,
}  # bytes of a member with this field; of all others MAX_MEMBER
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENDED = (*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class _Info(tarfile.TarInfo):
    """Refuses what tarfile would read as a whole before anybody is asked, or in circles."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Info:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in EXTENDED and info.size > MAX_TAR_HEADER):
            raise tarfile.ReadError(f"a header claims {info.size} bytes")
        return info


class _PlainInfo(_Info):
    """Of tars as datagen.shards.writer writes them."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise tarfile.ReadError(f"{info.name[:100]} is not a plain file")
        return info  # type: ignore[return-value]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """A shard and its members, all of them plain files. Raises tarfile.TarError, also while they
    are gone through.
    """
    with tarfile.open(path, "r:", tarinfo=_PlainInfo) as tar:
        yield tar, map(_of_sample, _members(tar, path.stat().st_size))


@contextlib.contextmanager
def opened_any(path: Path) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """A tar of whatever kind, compressed or not, and those of its members that are files."""
    with tarfile.open(path, "r:*", tarinfo=_Info) as tar:
        members = _members(tar, MAX_RATIO * path.stat().st_size + 64 * MIB)
        yield tar, (info for info in members if info.isreg())


def _of_sample(info: tarfile.TarInfo) -> tarfile.TarInfo:
    key = info.name.partition(".")[0]
    if not is_key(key):
        raise tarfile.ReadError(f"{key[:60]!r} is no key (letters, digits, _ and -)")
    return info


def most(field: str) -> int:
    """Bytes that a member may have."""
    return MOST.get(field, MAX_MEMBER)


def read(tar: tarfile.TarFile, info: tarfile.TarInfo, field: str) -> bytes:
    """A member's bytes. Raises tarfile.TarError where they are cut off, or too many."""
    if info.size > most(field):
        raise tarfile.ReadError(
            f"{info.name[:100]} has {info.size} bytes, at most {most(field)} are expected"
        )
    file = tar.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name[:100]} is not a plain file")
    return file.read()


def _members(tar: tarfile.TarFile, end: int) -> Iterator[tarfile.TarInfo]:
    for info in tar:
        if info.issparse() or info.size < 0:
            raise tarfile.ReadError(f"{info.name[:100]} is sparse, whole files are expected")
        if info.isreg() and info.offset_data + info.size > end:
            raise tarfile.ReadError(
                f"{info.name[:100]} claims {info.size} bytes, more than there can be"
            )
        yield info
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all
