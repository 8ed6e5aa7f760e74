"""Download a weight from its host: disk space is checked before, checksums after."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants

from datagen.core.errors import UserError
from datagen.core.lock import locked
from datagen.weights.registry import BY_HAND, Weight, how_to_get


def download(weight: Weight, folder: Path) -> None:
    """Download the missing files; UserError if that is not possible.

    An interrupted download is resumed.
    """
    if weight.host == BY_HAND:
        raise UserError(how_to_get(weight, folder))
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"HF_HUB_OFFLINE forbids the network; {how_to_get(weight, folder)}")
    if weight.host == "huggingface":
        from datagen.weights.from_huggingface import fetch
    else:
        from datagen.weights.from_address import fetch
    with locked(folder / weight.name):
        fetch(weight, weight.missing(folder), folder)
