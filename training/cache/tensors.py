"""Files beside shards: a tar with one safetensors file for each sample. Single rows are read."""

from __future__ import annotations

import json
import os
import tarfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from datagen.core import tar as tars
from datagen.core.json import JsonObject
from datagen.core.limits import MAX_JSON
from datagen.shards.writer import add_member

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TensorFile:
    """Where a sample's file lies: the tar and the offset in bytes."""

    path: Path
    offset: int

    def rows(self, row_numbers: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """Tensor name -> its rows with these numbers, float16. IndexError for a missing row."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            length = min(int.from_bytes(file.read(8), "little"), MAX_JSON)
            header = json.loads(file.read(length))
            start = self.offset + 8 + length
            return {
                name: _rows(file, start, header[name], numbers)
                for name, numbers in row_numbers.items()
            }


def _rows(file: Any, start: int, header: JsonObject, numbers: np.ndarray) -> Tensor:
    count, *shape = header["shape"]
    size = 2 * int(np.prod(shape))
    data = bytearray()
    for number in numbers.tolist():
        if not 0 <= number < count:
            raise IndexError(f"row {number} of {count}")
        file.seek(start + header["data_offsets"][0] + number * size)
        data += file.read(size)
    return torch.frombuffer(data, dtype=torch.float16).view(len(numbers), *shape)


def write(path: Path, samples: Iterable[tuple[str, dict[str, Tensor]]]) -> list[str]:
    """Write (key, tensors by name) as they come, and return the keys. An error leaves no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, keys = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part"), []
    try:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, tensors in samples:
                halves = {
                    name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()
                }
                add_member(tar, f"{key}{SUFFIX}", save(halves))
                keys.append(key)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return keys


def tensor_files(path: Path) -> dict[str, TensorFile]:
    """Key -> its file."""
    with tars.opened(path) as (_, infos):
        return {
            info.name.removesuffix(SUFFIX): TensorFile(path, info.offset_data) for info in infos
        }
