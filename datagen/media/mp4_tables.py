"""Does an MP4 or QuickTime file count more samples than it can hold?

(ISO/IEC 14496-12; FFmpeg's libavformat/mov.c)

FFmpeg makes an index of all samples that the header counts before anything is read, and a few
hundred bytes may count thousands of millions. Formats without such tables have an entry in the file
for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from datagen.core.errors import Invalid
from datagen.core.limits import MAX_SAMPLES, MIB

FIRST = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"pnot",
    b"styp",
    b"moof",
    b"sidx",
    b"hoov",
    b"uuid",
)
MAX_BOXES = (
    4_000_000  # at the top of a file: a stream of two days in pieces of a second has a fifth
)
MAX_RUNS = MIB  # entries of a table of chunks that are looked at
# times as many bytes as a file has: chunks of its sound may seem to have these, as the longest
# counts for all
FULLER = 64
AROUND = 8  # bytes: of a table's name and what stands behind it
_TABLE = re.compile(rb"trak|hdlr|stts|stsz|stz2|stsc|stco|co64|elst|trun|cmov")


@dataclass
class Mp4Track:
    """What the tables of a track say."""

    samples: int = 0
    each: int = 0  # bytes of a sample, 0 where there is a table of them
    chunks: int = 0
    longest: int = 0  # chunk, in samples
    edits: int = 0
    is_sound: bool = False
    is_even: bool = False  # every sample lasts one tick

    @property
    def indexed(self) -> int:
        """Entries of the index that FFmpeg makes; of plain sound one for some thousand samples."""
        plain = self.is_sound and self.is_even and self.each
        return (self.samples >> 10 if plain else self.samples) * max(self.edits - 1, 1)


def refuse_claims(file: IO[bytes], name: str) -> None:
    """Raises Invalid("too_large") where the header of a file counts more than a video has, or than
    lies in the file; the file is at its beginning afterwards.
    """
    if file.read(8)[4:] in FIRST:
        size = file.seek(0, 2)
        total = 0
        for indexed, samples, stored in _counts(file, size):
            total += indexed
            if total > MAX_SAMPLES or max(samples, stored // FULLER) > max(size, MAX_SAMPLES):
                raise Invalid(
                    "too_large", f"{name} has {size} bytes and claims {max(total, samples)} samples"
                )
    file.seek(0)


def _counts(file: IO[bytes], size: int) -> Iterator[tuple[int, int, int]]:
    """(entries of the index, samples, samples of its chunks) of each track and each fragment."""
    track = Mp4Track()
    for name, at in _tables(file, size):
        file.seek(at)
        one, two, three, four = (int.from_bytes(file.read(4), "big") for _ in range(4))
        if name == b"trun":
            yield two, 0, 0
        elif name == b"cmov" and two == int.from_bytes(b"dcom", "big"):
            raise Invalid("unreadable", "its header is compressed, which is not read")
        elif name == b"trak":
            yield track.indexed, track.samples, track.longest * track.chunks
            track = Mp4Track()
        elif name == b"hdlr":
            track.is_sound |= three == int.from_bytes(b"soun", "big")
        elif name == b"stts":
            track.is_even = (two, four) == (1, 1)
        elif name == b"elst":
            track.edits = two
        elif name in (b"stco", b"co64"):
            track.chunks = two
        elif name == b"stsc":
            track.longest = _longest(file, at + 8, two)
        elif name in (b"stsz", b"stz2"):
            track.samples, track.each = three, two if name == b"stsz" else 0
    yield track.indexed, track.samples, track.longest * track.chunks


def _longest(file: IO[bytes], at: int, runs: int) -> int:
    """Most samples of a chunk, of a table of (first chunk, samples of each, description)."""
    file.seek(at)
    table = memoryview(file.read(12 * min(runs, MAX_RUNS)))
    return max(
        (int.from_bytes(table[i + 4 : i + 8], "big") for i in range(0, len(table) - 7, 12)),
        default=0,
    )


def _tables(file: IO[bytes], size: int) -> Iterator[tuple[bytes, int]]:
    """(name, place behind it) of what may be a table, wherever it is nested; pictures and sound are
    passed over.
    """
    found = 0
    for at, end in _headers(file, size):
        for start in range(at, end, MIB):
            file.seek(start)
            part = file.read(min(MIB + AROUND, end - start))
            for match in _TABLE.finditer(part):
                begin, behind = match.span()
                if begin >= MIB or _is_text(part[max(begin - 4, 0) : behind + 4]):
                    continue
                found += 1
                if found > MAX_BOXES:
                    raise Invalid(
                        "too_large", f"there are more than {MAX_BOXES} tables in its header"
                    )
                yield match[0], start + behind


def _is_text(part: bytes) -> bool:
    """A name among words, as in "a trunk of a tree", is no name of a table: sizes and versions are
    small numbers.
    """
    return min(part) >= ord(" ")


def _headers(file: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what is not pictures and sound; boxes that are not as they should be are
    looked through.
    """
    at = 0
    for _ in range(MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        length, least = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, least = int.from_bytes(head[8:], "big"), 16
        is_last = length < least
        end = size if is_last else min(at + length, size)
        if head[4:8] != b"mdat" or (is_last and length):
            yield at, end
        if is_last:
            return
        at = end
    raise Invalid("too_large", f"there are more than {MAX_BOXES} boxes in it")
