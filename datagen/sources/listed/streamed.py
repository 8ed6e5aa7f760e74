"""Reads the members of a large JSON object one by one, with only one of them in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from datagen.core.errors import UserError
from datagen.core.limits import MAX_ENTRIES, MAX_JSON

CHUNK = 2**20  # characters
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODE = json.JSONDecoder().raw_decode


def members(path: Path, inside: str) -> Iterator[tuple[str, str, object]]:
    """("", name, value) of an object's members.

    The member `inside` is replaced by its own members, as (inside, name, value). Repeated names are
    given repeatedly. UserError if the file is not such JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _walk(_Text(file), inside)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not complete JSON of the expected form ({reason}): fetch it again."
        ) from None


def _walk(text: _Text, inside: str) -> Iterator[tuple[str, str, object]]:
    for count, (parent, name) in enumerate(_names(text, inside)):
        if count == MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES} members")
        yield parent, name, text.value()


def _names(text: _Text, inside: str) -> Iterator[tuple[str, str]]:
    """(parent member or "", name); the caller must read the value after each."""
    for name in text.names():
        if name == inside:
            yield from ((inside, inner) for inner in text.names())
        else:
            yield "", name


class _Text:
    """A text of which only the current part is in memory."""

    def __init__(self, file: IO[str]):
        self.file = file
        self.held = ""
        self.at = 0
        self.ended = False

    def names(self) -> Iterator[str]:
        """The names of the object that begins here; the caller must read the value after each."""
        self._take("{")
        while self._next() != "}":
            name = self.value()
            if not isinstance(name, str):
                raise ValueError(f"{name!r:.40} where a name is expected")
            self._take(":")
            yield name
            if self._next() != "}":
                self._take(",")
        self._take("}")

    def value(self) -> object:
        """Read the value that begins here."""
        self._next()
        while True:
            try:
                value, end = _DECODE(self.held, self.at)
                after = self.held[end : end + 2]
                if after.strip("0123456789.eE+-") or self.ended:  # else a number may continue
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                if self.ended:
                    raise ValueError(error.msg) from None
            self._more()

    def _next(self) -> str:
        """The next character that is not white space."""
        while True:
            self.at = _SPACE.match(self.held, self.at).end()  # type: ignore[union-attr]  # it matches the empty string
            if self.at < len(self.held) or self.ended:
                return self.held[self.at : self.at + 1]
            self._more()

    def _take(self, wanted: str) -> None:
        if (found := self._next()) != wanted:
            raise ValueError(f"{found or 'the end'} where {wanted} is expected")
        self.at += 1

    def _more(self) -> None:
        """Double the text in memory, so that even a long value is parsed only a few times."""
        rest = self.held[self.at :]
        if len(rest) > MAX_JSON:
            raise ValueError(f"a value has more than {MAX_JSON} characters")
        read = self.file.read(max(CHUNK, len(rest)))
        self.held, self.at, self.ended = rest + read, 0, not read
