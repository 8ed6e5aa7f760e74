"""index.json: what a folder of shards says of itself."""

from __future__ import annotations

from pathlib import Path

from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.core.json import Json, JsonObject
from datagen.core.limits import MAX_INDEX, read_all

# A sample's members beside its json, and the stage whose artifact each is
MEMBERS = {
    "mp4": "clips",
    "swapped.mp4": "swap",
    "styled.mp4": "style",
    "mask.mp4": "mask",
    "faces.npz": "gaze",
}
FIELDS = tuple(sorted([*MEMBERS, "json"]))
FORMAT = "megactor-kit shards 1"
SPLITS = ("train", "val")


def read_index(folder: Path) -> JsonObject:
    """index.json of a shards folder; UserError where there is none or it is not ours."""
    path = folder / "index.json"
    try:
        with path.open("rb") as file:
            index = parse_json(read_all(file, MAX_INDEX))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} holds no index.json: a folder written by `make shards` is expected."
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): make the shards again.") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(
            f"{path} is not an index of {FORMAT!r}: choose a folder written by `make shards`."
        )
    entries = index.get("shards")
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise UserError(
            f"{path} is damaged (its list of shards is not well-formed): make the shards again."
        )
    return index


def _is_entry(entry: Json) -> bool:
    """What an index says of a shard: every word and number in its right form, the file one beside
    the index.
    """
    try:
        words = [
            *entry["keys"],
            *entry["groups"],
            *(entry[name] for name in ("file", "split", "sha256", "content")),
        ]
        numbers = [entry[name] for name in ("bytes", "samples", "frames")]
    except (KeyError, TypeError):
        return False
    is_told = all(isinstance(word, str) for word in words) and all(
        type(n) is int and n >= 0 for n in numbers
    )
    return is_told and Path(entry["file"]).name == entry["file"] and entry["file"].endswith(".tar")
