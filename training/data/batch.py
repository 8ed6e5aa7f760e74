"""What a training step takes: windows of clips, the same moments in every stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """b windows of f frames. Every stream shows the same moments.

    Frames are uint8 RGB levels, a quarter of the bytes of floats; `to_floats` converts them on the
    device. S, D, h are the model's sides of frames, driving frames and latents.
    """

    keys: tuple[str, ...]
    twins: tuple[str, ...]  # what drives each clip: target, swapped or styled
    # b  int64, positions in the endless order of training: they seed all randomness of a sample
    positions: Tensor
    frames: Tensor  # b f  int64, of the clip
    reference_frames: Tensor  # b  int64
    target: Tensor  # b 3 f S S  uint8
    # b c f D D  uint8, the face alone on black: grey, which is one channel, or in colour
    driving: Tensor
    reference: Tensor  # b 3 S S  uint8
    background: Tensor  # b 1 h h  float32 of the reference: 1 background, 0 person
    clip_pixels: Tensor  # b 3 c c  float32, reference without the person, prepared for CLIP
    # of the target, where data.extras names them
    mask: Tensor | None = None  # b f S S  uint8: 0 background, 128 person, 255 face
    landmarks: Tensor | None = None  # b f 478 2  float32 px of the target frames
    latents: Tensor | None = None  # b 4 f h h  of the target, scaled, where they are cached
    reference_latents: Tensor | None = None  # b 4 h h  of the reference, likewise
    tokens: Tensor | None = None  # b n d  of clip_pixels, likewise
    replaced: tuple[
        tuple[str, str], ...
    ] = ()  # (key, reason) of samples that could not be read; others stand for them

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device. Lightning calls it."""
        tensors = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if torch.is_tensor(getattr(self, f.name))
        }
        return replace(
            self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
        )

    def pin_memory(self) -> Batch:
        tensors = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if torch.is_tensor(getattr(self, f.name))
        }
        return replace(self, **{name: tensor.pin_memory() for name, tensor in tensors.items()})


def to_floats(levels: Tensor) -> Tensor:
    """Frames of a Batch, uint8 [b, 1 or 3, ...], as float32 RGB in [0, 1] on the same device; grey
    gets three equal channels.

    TypeError for other types, whose range is unknown.
    """
    if levels.dtype != torch.uint8:
        raise TypeError(f"pictures are {levels.dtype}, uint8 is expected")
    return levels.float().div_(255).expand(-1, 3, *levels.shape[2:])


def to_levels(pictures: Tensor) -> Tensor:
    """Frames in [0, 1] as the nearest uint8 levels."""
    return (pictures * 255).round_().to(torch.uint8)


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of several. ValueError where only some of them have a cached or extra field."""
    return Batch(
        **{
            f.name: _joined([getattr(batch, f.name) for batch in batches], f.name)
            for f in fields(Batch)
        }
    )


def _joined(parts: list[Any], name: str) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(item for part in parts for item in part)
    if any(part is None for part in parts):
        if all(part is None for part in parts):
            return None
        raise ValueError(f"only some samples of the batch have {name}")
    return torch.cat(parts)
