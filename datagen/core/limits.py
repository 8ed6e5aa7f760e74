"""How much is taken of a file that somebody else made; what claims more is a mistake or an attack
and is refused.

Far above what is met: pictures of 8K, films of many hours and lists of millions of clips pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MIB = 2**20

# Pictures and videos
MAX_SIDE = 16384  # px; more than any codec's level has
MAX_PIXELS = 8192 * 8192  # of a picture: 8K has half, a pair of square ones for both eyes just fits
MAX_STILL = 2**29 // 3  # px of a portrait: half a GiB
MAX_SECONDS = 48 * 3600.0  # of a video, the longest that streams are kept
MAX_FRAMES = 48 * 3600 * 60  # of a video
MAX_SAMPLES = 2 * MAX_FRAMES  # of all tracks of a video file: its index is held in memory
MAX_RATE = 1000.0  # frames/s

# Archives
MAX_MEMBER = 2**30  # bytes of one file in a tar: clips have a few MiB
MAX_TAR_HEADER = MIB  # bytes of a tar's extended header, which holds little but a name
MAX_RATIO = 100  # bytes of a compressed tar's content for each of its own: videos hardly shrink
MAX_ARRAYS = 256 * MIB  # bytes of all arrays of an npz: a clip of 45 minutes has these

# Weights
MAX_PICKLE = (
    16 * MIB
)  # bytes of what a checkpoint says beside its tensors: a large model's with its optimizer has one

# Texts
MAX_JSON = 16 * MIB  # bytes of the json of a sample, a configuration, an entry of a dataset's list
MAX_INDEX = 512 * MIB  # bytes of an index.json: some four million clips have these
MAX_LINE = 16 * MIB  # bytes of a line of a ledger
MAX_ENTRIES = 5_000_000  # of a dataset's list


def lines(file: IO[bytes], most: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a file; of one longer than `most` bytes pieces of that length, which are no
    lines of anything.
    """
    return iter(lambda: file.readline(most), b"")


def read_all(file: IO[bytes], most: int) -> bytes:
    """What is left in a file. ValueError where that is more than `most` bytes."""
    data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most // MIB} MiB")
    return data
