"""Reads a cache instead of computing its contents."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from model.pipeline import MegActorPipeline
from training.cache.format import digest, read_index

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from training.cache.tensors import TensorFile


class LatentCache:
    """A folder written by python -m training.cache, read: (key, frames int64 [f], reference frame)
    -> the fields `latents`, `reference_latents` and `tokens` of a Batch of one, float16.

    Latents are means of the autoencoder's posterior; without a cache, the target and the denoiser's
    reference are samples of it. UserError if the cache is of another autoencoder or CLIP than
    `pipeline`'s, of other shards than those in the folder `shards`, or not whole.
    """

    def __init__(self, folder: Path, pipeline: MegActorPipeline, shards: Path):
        index = opened(folder, shards)
        _refuse_other(folder, index, digest(pipeline.vae, pipeline.image_encoder), pipeline.side)
        self.folder, self.every = folder, int(index["tokens_every"])
        self.tensor_files: dict[str, TensorFile] = {}
        for entry in index["shards"]:
            self.tensor_files |= _places(folder, entry)

    def among(self, references: np.ndarray) -> np.ndarray:
        """The candidates for a reference whose tokens are cached."""
        return references[references % self.every == 0]

    def __call__(self, key: str, frames: np.ndarray, reference: int) -> dict[str, Tensor]:
        """Raises Unreadable for a sample that could not be cached. ValueError for a reference that
        `among` leaves out.
        """
        import numpy as np

        from training.data.decode import Unreadable

        if reference % self.every:
            raise ValueError(f"frame {reference} has no tokens, only every {self.every}th has")
        if key not in self.tensor_files:
            raise Unreadable(f"it could not be cached ({self.folder})")
        number = np.array([reference // self.every])
        found = self.tensor_files[key].rows(
            {"latents": np.append(frames, reference), "tokens": number}
        )
        latents = found["latents"]
        return {
            "latents": latents[:-1].transpose(0, 1)[None],
            "reference_latents": latents[-1:],
            "tokens": found["tokens"],
        }


def opened(folder: Path, shards: Path) -> JsonObject:
    """The index of a cache of these shards. UserError where it is of others, or incomplete."""
    index = read_index(folder)
    _refuse_unfinished(folder, index, shards)
    return index


def _refuse_other(folder: Path, index: JsonObject, model: str, side: int) -> None:
    if (index["model"], index["side"]) != (model, side):
        raise UserError(
            f"the cache in {folder} is of another autoencoder or CLIP, or of pictures of "
            f"{index['side']} px where the "
            f"model has {side}: make one with the same model=... and init_from=..., or "
            "train without cache."
        )


def _refuse_unfinished(folder: Path, index: JsonObject, shards: Path) -> None:
    from datagen.shards.index import read_index as read_shards

    expected = {entry["file"]: entry["sha256"] for entry in read_shards(shards)["shards"]}
    found = {entry["file"]: entry["source"] for entry in index["shards"]}
    lacking = sorted(name for name, sha256 in expected.items() if found.get(name) != sha256)
    if lacking:
        raise UserError(
            f"the cache in {folder} lacks {len(lacking)} of {len(expected)} shards of "
            f"{shards}, or they are others now, "
            f"the first is {lacking[0]}: run python -m training.cache --input {shards} "
            f"--output {folder}."
        )


def _places(folder: Path, entry: JsonObject) -> dict[str, TensorFile]:
    from training.cache.tensors import tensor_files

    path = folder / entry["file"]
    try:
        if (size := path.stat().st_size) != entry["bytes"]:
            raise UserError(
                f"{path} has {size} bytes, its index says {entry['bytes']}: make the cache again."
            )
        return tensor_files(path)
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path} cannot be read ({error}): make the cache again.") from None
