"""Shards whose every stream says in its pixels, or points, which frame it shows."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datagen.media import video
from datagen.shards import writer as pack
from datagen.vision import geometry
from tests import faults

SIDE = 192  # px: the number that `faults.numbered` burns in needs 168
GREYS = {"mp4": 60, "swapped.mp4": 110, "styled.mp4": 160}  # of the field around the number
FACE = (20.0, 10.0, 180.0, 170.0)  # holds the number, and leaves a border


def shards(
    folder: Path, lengths: Sequence[int], split: str = "train", per_shard: int = 2, **told: object
) -> Path:
    """One clip for each length, clip-000 and so on; `told` goes into the json of all."""
    samples = [
        _sample(folder, f"clip-{i:03d}", count, split, told) for i, count in enumerate(lengths)
    ]
    pack.pack(samples, folder, {}, shard_samples=per_shard)
    return folder


def sample(
    folder: Path, key: str, count: int, split: str, dark: Sequence[int] = (), **told: object
) -> pack.Sample:
    """A clip of `count` frames, black in those that are `dark`."""
    return _sample(folder, key, count, split, told, dark)


def number(picture: Tensor) -> int:
    """The number in a picture [c, S, S] or [S, S] of uint8 levels, of any side that divides
    SIDE.
    """
    grey = picture.float().numpy()
    levels = grey.mean(0) if grey.ndim == 3 else grey
    large = levels.repeat(SIDE // levels.shape[-1], 0).repeat(SIDE // levels.shape[-1], 1)
    return faults.number_of(np.stack([large] * 3, axis=-1))


class Preparation:
    """As a pipeline's feature_extractor, and shows what it was given: the picture's mean colour."""

    def __call__(self, images: Sequence[np.ndarray], return_tensors: str):
        class Prepared:
            pixel_values = torch.stack(
                [torch.from_numpy(rgb).float().mean((0, 1))[:, None, None] for rgb in images]
            )

        assert return_tensors == "pt"
        return Prepared


def _sample(
    folder: Path,
    key: str,
    count: int,
    split: str,
    told: dict[str, object],
    dark: Sequence[int] = (),
) -> pack.Sample:
    json_ = {
        "key": key,
        "split": split,
        "frames": count,
        "identity": key,
        "group": key,
        "subsets": [],
        **told,
    }
    members = {
        "json": json.dumps(json_).encode(),
        "faces.npz": faces(count),
        "mask.mp4": _film(folder, count, 0),
    }
    members |= {field: _film(folder, count, grey, dark) for field, grey in GREYS.items()}
    ordered = tuple(pack.Member.of_bytes(field, members[field]) for field in pack.FIELDS)
    return pack.Sample(key, split, count / 25, count, key, ordered)


def faces(count: int, missing: Sequence[int] = ()) -> bytes:
    """x of all points is the frame's number; the face leaves a border of the picture; none in the
    `missing` frames.
    """
    boxes = np.tile(np.float32(FACE), (count, 1))
    landmarks = (
        np.ones((count, geometry.POINTS, 2), np.float32)
        * np.arange(count, dtype=np.float32)[:, None, None]
    )
    confidence = np.ones(count, np.float32)
    boxes[list(missing)], landmarks[list(missing)], confidence[list(missing)] = np.nan, np.nan, 0
    file = io.BytesIO()
    head = np.zeros((count, 3), np.float32)
    np.savez_compressed(file, boxes=boxes, landmarks=landmarks, confidence=confidence, head=head)
    return file.getvalue()


def _film(folder: Path, count: int, grey: int, dark: Sequence[int] = ()) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "film.mp4"
    blank = np.full((SIDE, SIDE, 3), grey, np.uint8)
    with video.Writer(path, 25) as writer:
        for index in range(count):
            writer.write(blank * 0 if index in dark else faults.numbered(blank, index))
    data = path.read_bytes()
    path.unlink()
    return data
