"""People who said no: a list of ids that no new shard may show, and that old shards can be searched for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.clip import Clip
from datagen.engine.errors import UserError

MOST_BYTES = 64 * 2**20
SHOT = re.compile(r"-\d{3}$")  # what a shot's key adds to its video's


@dataclass(frozen=True)
class Excluded:
    """Ids, each the key of a clip or of its video, a person's identity, a source's id of a video or clip, the path or
    name of a file, or a donor.
    """

    ids: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: str | None) -> Excluded:
        """One id a line; what follows a # is a remark. UserError where the file cannot be read or names nobody."""
        if path is None:
            return cls()
        try:
            if Path(path).stat().st_size > MOST_BYTES:
                raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MiB: a list of ids is expected, one a line.")
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise UserError(f"{path} cannot be read ({why}): a text file of ids is expected, one a line.") from None
        ids = frozenset(word for line in lines if (word := line.partition("#")[0].strip()))
        if not ids:
            raise UserError(f"{path} names nobody: one id a line is expected.")
        return cls(ids)

    def of_clip(self, clip: Clip) -> str | None:
        """The id for which a clip is out."""
        return self._first(_names(clip.key, clip.identity, clip.group, clip.source))

    def of_sample(self, said: Mapping[str, Any]) -> str | None:
        """The same for the json of a sample, its donor among the names."""
        source, synthetic = _object(said.get("source")), _object(said.get("synthetic"))
        key, identity, group = (str(said.get(name, "")) for name in ("key", "identity", "group"))
        names = _names(key, identity, group, source)
        return self._first([*names, str(_object(synthetic.get("swapped.mp4")).get("donor", ""))])

    def _first(self, names: Any) -> str | None:
        return next((name for name in names if name and name in self.ids), None)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(key: str, identity: str, group: str, source: Mapping[str, Any]) -> Iterator[str]:
    yield from (key, SHOT.sub("", key), identity, group, group.removeprefix("identity:"))
    for value in source.values():
        if isinstance(value, str):
            yield from (value, Path(value).name, Path(value).stem)
