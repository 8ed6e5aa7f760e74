"""What a tensor is called elsewhere. Our names are diffusers', but for the parts that diffusers has
not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch

from datagen.core.errors import UserError

# Motion modules: official MegActor and AnimateDiff, ours (docs/model.md, 8).
MOTION = (
    (".temporal_transformer.", "."),
    (".attention_blocks.0.", ".attn1."),
    (".attention_blocks.1.", ".attn2."),
    (".norms.0.", ".norm1."),
    (".norms.1.", ".norm2."),
    (".ff_norm.", ".norm3."),
)
IS_POSITIONS = re.compile(r"\.(pos_encoder|pos_embed)\.pe$")
LDM_UNET = "model.diffusion_model."


def is_motion(name: str) -> bool:
    return ".motion_modules." in name


def from_official(name: str) -> str:
    if is_motion(name):
        for theirs, ours in MOTION:
            name = name.replace(theirs, ours)
    return name


def to_official(name: str) -> str:
    if is_motion(name):
        name = re.sub(r"(\.motion_modules\.\d+\.)", r"\1temporal_transformer.", name)
        for theirs, ours in MOTION[1:]:
            name = name.replace(ours, theirs)
    return name


def of_ldm_unet(names: Iterable[str], layers: int) -> dict[str, str]:
    """diffusers' name -> the name in Stable Diffusion's one-file checkpoint, of what the UNet there
    is made of.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return _renamed(convert_ldm_unet_checkpoint, names, {"layers_per_block": layers})


def of_ldm_vae(names: Iterable[str], levels: int) -> dict[str, str]:
    """The same for the autoencoder, in such a file or alone."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    blocks = range(levels)
    return _renamed(
        convert_ldm_vae_checkpoint, names, {"down_block_types": blocks, "up_block_types": blocks}
    )


def _renamed(
    convert: Callable[..., dict[str, Any]], names: Iterable[str], config: dict[str, Any]
) -> dict[str, str]:
    """diffusers' converter moves tensors: where to, numbers show that travel in their place."""
    order = list(names)
    marks = {name: torch.tensor(number) for number, name in enumerate(order)}
    try:
        moved = convert(marks, config)
    except KeyError as error:
        raise UserError(
            f"the one-file checkpoint lacks {error.args[0]}: copy or download it again."
        ) from error
    return {ours: order[int(mark)] for ours, mark in moved.items() if mark is not None}
