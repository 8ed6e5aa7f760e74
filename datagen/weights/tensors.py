"""Reads named tensors from untrusted files. Nothing in a file is run.

The first bytes decide the format.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.core.limits import MAX_JSON, MAX_PICKLE, MIB, read_all
from datagen.weights.pickled_arrays import read_arrays

# File names in a model's folder, as in diffusers and transformers; full precision first.
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
NAMES = tuple(
    f"{stem}{ending}"
    for ending in (
        ".safetensors",
        ".safetensors.index.json",
        ".bin",
        ".fp16.safetensors",
        ".fp16.bin",
    )
    for stem in STEMS
)
TORCH = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # magic number of torch's files that are not zip archives
AGAIN = "copy or download it again."


def locate(path: Path, *subfolders: str) -> Path:
    """The file of weights: `path` itself, or in the folder `path`, subfolders first."""
    if not path.is_dir():
        return path
    for folder in (*(path / name for name in subfolders), path):
        for name in NAMES:
            if (folder / name).is_file():
                return folder / name
    expected = "/".join([*subfolders[:1], NAMES[0]])
    raise UserError(
        f"{path} holds no weights, {expected} (or .bin) is expected in it: give that "
        "folder or the file."
    )


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a safetensors file, an index of shards, or a pickle.

    The file is memory-mapped where possible.
    """
    if path.name.endswith(".index.json"):
        return {name: tensor for shard in shards(path) for name, tensor in read(shard).items()}
    first = head(path)
    if first[8:9] == b"{":
        return _safetensors(path)
    if first[:2] == b"PK" or TORCH in first:
        return _pickle(path)
    if first[:1] == b"\x80":
        return read_arrays(path)
    raise UserError(
        f"{path} is neither a safetensors file nor a torch checkpoint (it begins with "
        f"{first[:8]!r}): {AGAIN}"
    )


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name, from the headers of a safetensors file or of the shards of an index."""
    if path.name.endswith(".json"):
        return {name: shape for shard in shards(path) for name, shape in shapes(shard).items()}
    head(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or cut short ({_line(error)}): {AGAIN}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object: a model's config.json, or an index of shards."""
    try:
        with path.open("rb") as file:
            value = parse_json(read_all(file, MAX_JSON))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): {AGAIN}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, an object is expected: {AGAIN}")
    return value


def head(path: Path) -> bytes:
    """The first bytes; UserError if they show that the file does not hold weights."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, a file of weights is expected: name the file in it.")
    try:
        with path.open("rb") as file:
            first = file.read(64)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): a file of weights is expected."
        ) from error
    if not first:
        raise UserError(f"{path} is empty: {AGAIN}")
    if first.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a git-lfs pointer, not the weights it stands for: run `git lfs "
            "pull` in its folder."
        )
    if first.lstrip().startswith(b"<"):
        raise UserError(
            f"{path} is a web page, not a file of weights: open its address in a "
            f"browser, then {AGAIN}"
        )
    return first


def refuse_no_script(path: Path) -> None:
    """UserError if the file is not a complete TorchScript file; nothing in it is run."""
    try:
        with zipfile.ZipFile(path) as file:
            bad, names = file.testzip(), file.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{path} is no TorchScript file, or cut short ({_line(error)}): {AGAIN}"
        ) from error
    if bad or not any(name.endswith("/constants.pkl") for name in names):
        raise UserError(
            f"{path} is {f'damaged at {bad}' if bad else 'a zip file, but no TorchScript'}: {AGAIN}"
        )


def shards(index: Path) -> list[Path]:
    """The files beside an index that it names."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(
        isinstance(n, str) and Path(n).name == n for n in names.values()
    ):
        raise UserError(f"{index} has no weight_map from tensors to files beside it: {AGAIN}")
    return [index.with_name(name) for name in sorted(set(names.values()))]


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or cut short ({_line(error)}): {AGAIN}") from error


def refuse_packed(path: Path) -> None:
    """ValueError for a zip archive with compressed members, or with a pickle that is too large.

    torch never writes compressed members; unpacked, they could fill the memory.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"{info.filename[:60]} in it is compressed")
            if info.filename.endswith(".pkl") and info.file_size > MAX_PICKLE:
                raise ValueError(
                    f"{info.filename[:60]} in it has more than {MAX_PICKLE // MIB} MiB"
                )


def _pickle(path: Path) -> dict[str, Tensor]:
    is_zip = zipfile.is_zipfile(path)
    try:
        if is_zip:
            refuse_packed(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except MemoryError:
        if is_zip:
            raise
        raise UserError(
            f"{path} is damaged, or asks for more memory than there is: {AGAIN}"
        ) from None
    except Exception as error:  # broken bytes make an unpickler raise nearly anything
        asked = (
            re.search(r"GLOBAL (\S+)", str(error))
            if isinstance(error, pickle.UnpicklingError)
            else None
        )
        if asked is None:
            raise UserError(f"{path} is damaged or cut short ({_line(error)}): {AGAIN}") from error
        raise UserError(
            f"{path} is a pickle that asks for {asked[1]}, which could run any code, so "
            "it is not loaded: "
            "tensors only are expected; take the model's safetensors file."
        ) from error
    return _named(path, loaded)


def _named(path: Path, loaded: object) -> dict[str, Tensor]:
    """The tensors of a state dict, bare or under "state_dict"; other entries are ignored."""
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    tensors = state.items() if isinstance(state, dict) else ()
    found = {
        name: t.detach() for name, t in tensors if isinstance(name, str) and isinstance(t, Tensor)
    }
    if not found:
        raise UserError(
            f"{path} holds no tensors with names (it is a {type(loaded).__name__}): a "
            "state dict is expected."
        )
    return found


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__
