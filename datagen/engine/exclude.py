"""Opt-outs: a list of ids that no new shard may show, and that old shards can be searched
for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datagen.core.errors import UserError
from datagen.core.json import Json
from datagen.engine.clip import Clip

MOST_BYTES = 64 * 2**20
REMARK = re.compile(r"(^|\s)#.*")
SHOT = re.compile(r"-\d{3}$")  # what a shot's key adds to its video's


@dataclass(frozen=True)
class Excluded:
    """Ids, each the key of a clip or of its video, a person's identity, a source's id of a video or
    clip, the path or name of a file, or a donor.
    """

    ids: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: str | None) -> Excluded:
        """UserError where the file cannot be read or names nobody."""
        if path is None:
            return cls()
        ids = ids_in(path, "exclude")
        if not ids:
            raise UserError(f"{path} names nobody: one id a line is expected.")
        return cls(ids)

    def of_clip(self, clip: Clip) -> str | None:
        """The id for which a clip is out."""
        return self._first(names_of(clip))

    def of_sample(self, metadata: Mapping[str, Json]) -> str | None:
        """The same for the json of a sample, its donor among the names."""
        source, synthetic = _object(metadata.get("source")), _object(metadata.get("synthetic"))
        key, identity, group = (
            str(metadata.get(name, "")) for name in ("key", "identity", "group")
        )
        names = _names(key, identity, group, source)
        donor = str(_object(synthetic.get("swapped.mp4")).get("donor", ""))
        return self._first([*names, donor, Path(donor).stem])

    def _first(self, names: Iterable[str]) -> str | None:
        return next((name for name in names if name and name in self.ids), None)


def ids_in(path: str | Path, option: str) -> frozenset[str]:
    """One id a line; a # at its beginning or after a space begins a remark. UserError where it
    cannot be read.
    """
    expected = "a text file of ids is expected, one a line"
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise UserError(f"{option}: {path} is larger than {MOST_BYTES >> 20} MiB: {expected}.")
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"{option}: {path} cannot be read ({why}): {expected}.") from None
    if link := next((line for line in lines if "://" in REMARK.sub("", line)), None):
        raise UserError(
            f"{option}: {path} names a link, {link.strip()!r:.80}: the id of its video is expected."
        )
    return frozenset(word for line in lines if (word := REMARK.sub("", line).strip()))


def is_among(key: str, gone: Collection[str]) -> bool:
    """Whether a sample's key is that of a clip that is gone, or a shot of a video that is."""
    return key in gone or SHOT.sub("", key) in gone


def names_of(clip: Clip) -> set[str]:
    """By which a list may mean this clip, or who is in it."""
    return {*_names(clip.key, clip.identity, clip.group, clip.source)} - {""}


def _object(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _names(key: str, identity: str, group: str, source: Mapping[str, Json]) -> Iterator[str]:
    yield from (
        key,
        SHOT.sub("", key),
        identity,
        group,
        group.removeprefix("identity:"),
        group.removeprefix("youtube:"),
    )
    for value in source.values():
        if isinstance(value, str):
            yield from (value, Path(value).name, Path(value).stem)
