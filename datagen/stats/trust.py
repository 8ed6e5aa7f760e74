"""Checks of values from files that others may have written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from datagen.core.errors import UserError
from datagen.core.text import text_of
from datagen.shards.selection import Selection

MOST = 1e15  # larger than any valid number


class ShardEntry(TypedDict):
    """What index.json says of a shard."""

    file: str
    split: str
    keys: list[str]
    groups: list[str]
    bytes: int
    samples: int
    frames: int
    sha256: str
    content: str


def number(value: object, name: str, least: float = -MOST) -> float:
    """The value as a float; UserError if it is not a finite number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= MOST:
        raise UserError(
            f"{name} is {str(value)[:60]!r}, a number{' from 0' if least == 0 else ''} is expected."
        )
    return float(value)


def whole(value: object, name: str, least: int = 0) -> int:
    """The value as an int; UserError if it is not a whole number from `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
        raise UserError(f"{name} is {str(value)[:60]!r}, a whole number from {least} is expected.")
    return value


def checked(index: Mapping[str, Any]) -> dict[str, Any]:
    """The index, with every part that the statistics use checked.

    The message of the UserError has no full stop: the caller completes the sentence.
    """
    try:
        shards = [_shard(entry) for entry in index["shards"]]
        rejects = [_reject(row) for row in index["rejects"]]
        names = ("planned", "kept", "filtered", "invalid", "failed")
        books = {name: whole(index["books"][name], f"books.{name}") for name in names}
        select = _selection(index["select"]) if "select" in index else {}
    except UserError as error:
        raise UserError(str(error).rstrip(".")) from None
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"something is missing or of the wrong type ({error!r})") from None
    _balanced(books, shards, rejects)
    return {**index, "shards": shards, "rejects": rejects, "books": books, "select": select}


def _selection(options: Mapping[str, Any]) -> dict[str, Any]:
    select = Selection(**options).to_json()
    rules = [*select["rules"], *(rule for part in select["subsets"].values() for rule in part)]
    for rule in rules:
        if not isinstance(rule["metric"], str):
            raise UserError(f"the metric of a rule is {rule['metric']!r:.60}, a text is expected")
    return select


def _shard(entry: Mapping[str, Any]) -> ShardEntry:
    file, keys = entry["file"], entry["keys"]
    if not isinstance(file, str) or Path(file).name != file or "\0" in file:
        raise UserError(f"{str(file)[:60]!r} is not a plain file name")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UserError(f"the keys of {file} are not a list of texts")
    sizes = {name: whole(entry[name], f"{name} of {file}") for name in ("bytes", "samples")}
    return cast(ShardEntry, {**entry, **sizes, "split": text_of(entry["split"])})


def _reject(row: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(row["key"], str):
        raise UserError(f"{str(row['key'])[:60]!r} is not a key")
    texts = {name: text_of(row[name]) for name in ("outcome", "reason")}
    return {**texts, "key": row["key"], "stage": text_of(row.get("stage", ""))}


def _balanced(
    books: Mapping[str, int], shards: list[ShardEntry], rejects: list[dict[str, str]]
) -> None:
    """Refuse an index whose numbers contradict each other."""
    kept, lost = (
        sum(entry["samples"] for entry in shards),
        books["filtered"] + books["invalid"] + books["failed"],
    )
    if books["kept"] != kept or books["planned"] != kept + lost or len(rejects) != lost:
        raise UserError(
            f"planned {books['planned']}, {kept} in shards, {len(rejects)} listed as lost"
        )
    for name, texts in (
        ("shard", [e["file"] for e in shards]),
        ("key", [k for e in shards for k in e["keys"]]),
    ):
        if len(set(texts)) != len(texts):
            raise UserError(f"a {name} is named twice")
