"""Pickles of NumPy arrays, as in detectron2's model zoo. Nothing but arrays is loaded from them."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datagen.core.errors import UserError

ALLOWED = {"_reconstruct", "scalar", "ndarray", "dtype"}
MODULES = {"numpy", "numpy.core.multiarray", "numpy._core.multiarray"}


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something other than arrays."""


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module in MODULES and name in ALLOWED:
            owner = importlib.import_module(
                "numpy" if module == "numpy" else "numpy._core.multiarray"
            )
            return getattr(owner, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 pickles bytes for Python 2
            return _encoded
        raise _Refused(f"{module}.{name}")


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a dict of arrays, bare or under "model"; UserError if there is none."""
    try:
        with path.open("rb") as file:
            loaded = _Arrays(file, encoding="latin1").load()
    except _Refused as error:
        raise UserError(
            f"{path} is a pickle that asks for {error}, which could run any code, so it "
            "is not loaded: only arrays are expected."
        ) from error
    except Exception as error:  # broken bytes make an unpickler raise nearly anything
        raise UserError(
            f"{path} is damaged or cut short ({error}): copy or download it again."
        ) from error
    found = dict(_arrays(loaded.get("model", loaded))) if isinstance(loaded, dict) else {}
    if not found:
        raise UserError(f"{path} holds no named arrays (it is a {type(loaded).__name__}).")
    return found


def _arrays(arrays: object) -> Iterator[tuple[str, Tensor]]:
    for name, value in arrays.items() if isinstance(arrays, dict) else ():
        if isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            yield name, torch.from_numpy(np.array(value))
