"""Self-reenactment on any shards: a clip's first frame is the reference, the rest drives and is
the truth.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from datagen.core import npz as arrays
from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.media import video
from datagen.shards.index import read_index
from datagen.shards.reader import readable
from datagen.vision import geometry
from datagen.vision.segmentation import split
from model.inputs.driving import square
from training.evaluation.cross_cases import CrossCase

PICTURE = 512  # px


def self_cases(shards: Path, count: int, frames: int, stride: int = 1) -> list[CrossCase]:
    """The first `count` clips of the val split that show a face. UserError where there is none."""
    found: list[CrossCase] = []
    for key, fields in _samples(shards):
        case = _case(key, fields, frames, stride)
        if case is not None:
            found.append(case)
        if len(found) == count:
            break
    if not found:
        raise UserError(
            f"the val split of {shards} holds no clip with a face: choose other shards "
            "with --input."
        )
    return found


def _samples(shards: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, field: bytes) of the val split."""
    for entry in read_index(shards)["shards"]:
        if entry["split"] != "val":
            continue
        fields: dict[str, bytes] = {}
        last = ""
        for key, field, data in readable(shards / entry["file"]):
            if key != last and last:
                yield last, fields
                fields = {}
            last, fields[field] = key, data
        if last:
            yield last, fields


def _case(key: str, fields: dict[str, bytes], frames: int, stride: int) -> CrossCase | None:
    try:
        return _made(key, fields, frames, stride)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"sample {key} cannot be read ({error}): python -m datagen.verify names every fault."
        ) from None


def _made(key: str, fields: dict[str, bytes], frames: int, stride: int) -> CrossCase | None:
    metadata = parse_json(fields["json"])
    points = arrays.load(io.BytesIO(fields["faces.npz"]))["landmarks"].astype(np.float64)
    indices = [int(i) for i in np.arange(len(points))[:: max(stride, 1)][: frames + 1]]
    if len(indices) < 2 or np.isnan(points[indices[1:], 0, 0]).all() or np.isnan(points[0, 0, 0]):
        return None
    pictures, masks = _decoded(fields, indices)
    boxes = geometry.box(points[indices])
    part = square(boxes[~np.isnan(boxes[:, 0])], (pictures.shape[2], pictures.shape[1]))
    rows, columns = slice(part.top, part.top + part.side), slice(part.left, part.left + part.side)
    large = np.stack([cv2.resize(p[rows, columns], (PICTURE, PICTURE)) for p in pictures])
    placed = (points[indices] - [part.left, part.top]) * (PICTURE / part.side)
    person = split(cv2.resize(masks[0, rows, columns, 0], (PICTURE, PICTURE)))[0]
    name = str(metadata.get("identity") or metadata.get("group") or key)
    return CrossCase(
        key=f"self-{key}",
        reference=large[0],
        driving=large[1:],
        truth=large[1:],
        reference_points=placed[0],
        driving_points=placed[1:],
        truth_points=placed[1:],
        background=~person,
        curves={},
        fps=float(metadata["fps"]) / stride,
        people=(name, name),
    )


def _decoded(fields: dict[str, bytes], indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the clip and of its mask, RGB uint8."""
    with TemporaryDirectory() as folder:
        paths = []
        for field in ("mp4", "mask.mp4"):
            paths.append(Path(folder) / field)
            paths[-1].write_bytes(fields[field])
        return video.at_indices(paths[0], indices), video.at_indices(paths[1], indices[:1])
