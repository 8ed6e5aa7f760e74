"""Checks that a file of weights can be read; no code in it is run and no model is built."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

from datagen.core.errors import UserError
from datagen.core.files import BROKEN_ZIP, parse_json
from datagen.core.limits import MAX_JSON, read_all
from datagen.weights.tensors import AGAIN, head, read

TENSORS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".pkl")
# Fields of ONNX's ModelProto (onnx.proto), and the wire types of protocol buffers
IR_VERSION, GRAPH = 1, 7
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def look(path: Path) -> None:
    """UserError if the file is damaged, cut short, or not what its name says."""
    first = head(path)
    if path.suffix == ".json":
        _json(path)
    elif path.suffix == ".onnx":
        _onnx(path)
    elif first.startswith(b"PK") and (path.suffix == ".zip" or _is_torchscript(path)):
        _archive(path)
    elif path.suffix in TENSORS:
        _ = read(path)


def _json(path: Path) -> None:
    try:
        with path.open("rb") as file:
            parse_json(read_all(file, MAX_JSON))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): {AGAIN}") from error


def _is_torchscript(path: Path) -> bool:
    """Whether the archive is TorchScript, which holds code and which `torch.load` refuses."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except BROKEN_ZIP as error:
        raise UserError(f"{path} is damaged or cut short ({error}): {AGAIN}") from error


def _archive(path: Path) -> None:
    """Check every member against the archive's checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except BROKEN_ZIP as error:
        raise UserError(f"{path} is damaged or cut short ({error}): {AGAIN}") from error
    if bad is not None:
        raise UserError(f"{path} is damaged (the checksum of {bad} in it is wrong): {AGAIN}")


def _onnx(path: Path) -> None:
    """Check that the file is a sequence of fields with a version and a graph, which is skipped."""
    size, fields = path.stat().st_size, set()
    with path.open("rb") as file:
        try:
            while file.tell() < size:
                key = _varint(file)
                fields.add(key >> 3)
                _step_over(file, key & 7)
        except ValueError as error:
            raise UserError(f"{path} is not an ONNX model ({error}): {AGAIN}") from error
        if file.tell() > size:
            raise UserError(
                f"{path} is damaged or cut short ({file.tell() - size} bytes are missing): {AGAIN}"
            )
    if not {IR_VERSION, GRAPH} <= fields:
        raise UserError(f"{path} is not an ONNX model (no version or no graph in it): {AGAIN}")


def _step_over(file: IO[bytes], kind: int) -> None:
    if kind == VARINT:
        _varint(file)
    elif kind in (FIXED64, FIXED32, BYTES):
        file.seek({FIXED64: 8, FIXED32: 4}.get(kind) or _varint(file), 1)
    else:
        raise ValueError(f"a field of kind {kind}")


def _varint(file: IO[bytes]) -> int:
    """A varint: seven bits per byte, lowest first; the highest bit says that more follow."""
    value = 0
    for position in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        value |= (byte[0] & 0x7F) << 7 * position
        if byte[0] < 0x80:
            return value
    raise ValueError("a number without end")
