"""Members of a shard, in its order."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from datagen.core import tar as tars
from datagen.core.errors import UserError


def members(path: Path, fields: Collection[str] = ()) -> Iterator[tuple[str, str, bytes]]:
    """(key, field, data) of a shard in its order, of all `fields` or some; raises tarfile.TarError
    where the tar is broken.
    """
    with tars.opened(path) as (tar, infos):
        for info in infos:
            key, _, field = info.name.partition(".")
            if not fields or field in fields:
                yield key, field, tars.read(tar, info, field)


def readable(path: Path, fields: Collection[str] = ()) -> Iterator[tuple[str, str, bytes]]:
    """`members` for those who need all of them. UserError where the tar is broken."""
    try:
        yield from members(path, fields)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): python -m datagen.verify names every fault."
        ) from None
