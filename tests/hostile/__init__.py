"""What the tests of hostile files share: readers shut in, files spoilt at random, films with lying
headers.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import struct
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from datagen.media import video

MIB = 2**20
HARD = 3 * 2**30  # bytes that a reader may take before the system refuses it more
WRITES = 512 * MIB  # bytes that it may write into a file
EXAMPLES = [pytest.param(40), pytest.param(2000, marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Ending:
    """How a call ended: what it gave, or the refusal that it raised; the memory that it took on the
    way.
    """

    value: Any
    refusal: str
    mebibytes: int


def confined(
    call: Callable[[], Any], *refusals: type[BaseException], mebibytes: int = 300, seconds: int = 60
) -> Ending:
    """Call in a process of its own. AssertionError where it raises anything but `refusals`, or
    takes too much.
    """
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        _child(call, refusals, into)
    os.close(into)
    try:
        said = _said(out, seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(out)
    assert said, f"it has not ended after {seconds} s, or was killed"
    value, refusal, trace, taken = pickle.loads(said)
    assert not trace, trace
    assert taken <= mebibytes, f"it took {taken} MiB"
    return Ending(value, refusal, taken)


def _child(call: Callable[[], Any], refusals: tuple[type[BaseException], ...], into: int) -> None:
    value, refusal, trace = None, "", ""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    here = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (here + HARD, here + HARD))
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITES, WRITES))
    try:
        value = call()
    except refusals as error:
        refusal = f"{type(error).__name__}: {error}"
    except BaseException:
        trace = traceback.format_exc()
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    with os.fdopen(into, "wb") as file:
        file.write(pickle.dumps((value, refusal, trace, taken)))
    os._exit(0)


def _said(out: int, seconds: float) -> bytes:
    end, said = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0 and select.select([out], [], [], left)[0]:
        part = os.read(out, MIB)
        if not part:
            return said
        said += part
    return b""


def fuzzing(examples: int) -> Any:
    """Settings of hypothesis: the same files each time, as many as are asked for, none kept for
    later.
    """
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=slow,
    )


@st.composite
def spoilt(draw: Any, data: bytes) -> bytes:
    """The data with some bytes changed, put in or left out, or the end cut off."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        new = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 7, bytes(8)]),
            )
        )
        kind = draw(st.sampled_from(["change", "change", "put in", "leave out", "cut"]))
        if kind == "cut":
            del found[at:]
        else:
            found[at : at + (0 if kind == "put in" else len(new))] = (
                b"" if kind == "leave out" else new
            )
    return bytes(found)


# Anything that JSON can say, names and numbers that mean something somewhere among it
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "train", "val", "../x", "\x1b[2J", "a" * 99, "\ud800"])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def replaced(draw: Any, told: Any) -> Any:
    """The JSON value with one part, somewhere in it, replaced by anything or left out."""
    if isinstance(told, dict | list) and told and draw(st.integers(0, 4)):
        where = draw(st.sampled_from(sorted(told) if isinstance(told, dict) else range(len(told))))
        copy: Any = dict(told) if isinstance(told, dict) else list(told)
        if draw(st.integers(0, 5)):
            copy[where] = draw(replaced(told[where]))
        else:
            del copy[where]
        return copy
    return draw(JSON)


@cache
def film(frames: int = 10, side: int = 64) -> bytes:
    """An MP4 of so many grey frames."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with video.Writer(path, 25) as writer:
            for level in range(frames):
                writer.write(np.full((side, side, 3), level, np.uint8))
        return path.read_bytes()


def lying(table: bytes, *numbers: int, skip: int = 4) -> bytes:
    """A film, one of whose tables says these 32-bit numbers, `skip` bytes behind its name."""
    data = bytearray(film())
    struct.pack_into(f">{len(numbers)}I", data, data.index(table) + 4 + skip, *numbers)
    return bytes(data)


def box(name: bytes, *contents: bytes) -> bytes:
    """Of ISO/IEC 14496-12."""
    content = b"".join(contents)
    return struct.pack(">I", 8 + len(content)) + name + content
