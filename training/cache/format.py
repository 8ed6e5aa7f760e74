"""What a cache was made of, and its index."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.core.json import JsonObject
from datagen.core.limits import MAX_INDEX, read_all

if TYPE_CHECKING:
    from torch import nn


FORMAT = "megactor-kit cache 1"


def digest(vae: nn.Module, image_encoder: nn.Module) -> str:
    """A hash of the frozen parts' weights, by name, in the precision they were loaded in."""
    import torch

    found = hashlib.sha256()
    for part in (vae, image_encoder):
        for name, tensor in sorted(part.state_dict().items()):
            found.update(f"{name} {tuple(tensor.shape)}".encode())
            found.update(
                tensor.detach().float().cpu().contiguous().flatten().view(torch.uint8).numpy()
            )
    return found.hexdigest()


def read_index(folder: Path) -> JsonObject:
    """index.json of a cache; UserError where there is none or it is not ours."""
    path = folder / "index.json"
    try:
        with path.open("rb") as file:
            index = parse_json(read_all(file, MAX_INDEX))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} holds no index.json: a folder written by python -m training.cache "
            "is expected."
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): make the cache again.") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(
            f"{path} is not an index of {FORMAT!r}: name a folder written by python -m "
            "training.cache."
        )
    return index
