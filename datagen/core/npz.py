"""Arrays out of an npz that somebody else may have made: plain numbers, as many as lie in it."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from datagen.core.files import BROKEN_ZIP
from datagen.core.limits import MAX_ARRAYS, MIB

_UNSAID = (
    RecursionError,
    MemoryError,
    SyntaxError,
    TokenError,
    TypeError,
    IndexError,
)  # Python's, of odd words
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def load(file: Path | IO[bytes], most: int = MAX_ARRAYS) -> dict[str, np.ndarray]:
    """All arrays of an npz by name. ValueError where it is none, holds objects, or more than `most`
    bytes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > most:
                raise ValueError(f"its arrays have more than {most // MIB} MiB")
            return {
                info.filename.removesuffix(".npy"): _array(archive.read(info)) for info in infos
            }
    except BROKEN_ZIP as error:
        raise ValueError(f"it is no whole npz ({error})") from None


def _array(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of version {version} is not known")
    try:
        shape, by_columns, dtype = _HEADERS[version](file)
    except _UNSAID as error:
        raise ValueError(f"an array's header cannot be read ({error})") from None
    left = len(data) - file.tell()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(
            f"an array of {dtype} {shape} is claimed, {left} bytes of numbers are there"
        )
    return (
        np.frombuffer(data, dtype, offset=file.tell())
        .reshape(shape, order="F" if by_columns else "C")
        .copy()
    )
