"""A model under its official names again: safetensors, or the official checkpoint's own layout."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from datagen.core.errors import UserError
from model.convert.names import is_motion, to_official
from model.convert.sources import DRIVEN
from model.motion import positions
from model.pipeline import MegActorPipeline

PICKLES = (".ckpt", ".pt", ".pth")
UNET, REFERENCE = (
    "module.unet.",
    "module.appearance_encoder.",
)  # the official loader insists on "module."


def official_state_dict(pipeline: MegActorPipeline) -> dict[str, Tensor]:
    """All names and shapes of an official checkpoint's UNet, with its tables of positions, and
    appearance encoder.
    """
    unet = {to_official(name): tensor for name, tensor in pipeline.unet.state_dict().items()}
    unet |= {DRIVEN + name: tensor for name, tensor in pipeline.driven_encoder.state_dict().items()}
    unet |= _positions(unet, pipeline.unet.config.motion_max_seq_length)
    reference = pipeline.reference_net.state_dict()
    return {UNET + n: t for n, t in unet.items()} | {REFERENCE + n: t for n, t in reference.items()}


def write_official(
    pipeline: MegActorPipeline,
    path: Path,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> int:
    """How many tensors were written: to .safetensors, or to .ckpt as the official code saves it."""
    refuse_export(path, overwrite)
    state = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in official_state_dict(pipeline).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        if path.suffix == ".safetensors":
            save_file(state, part, metadata={"format": "pt"})
        else:
            torch.save({"epoch": 0, "global_step": 0, "state_dict": state}, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return len(state)


def refuse_export(path: Path, overwrite: bool) -> None:
    """UserError for a name that no export can have."""
    if path.suffix not in (".safetensors", *PICKLES):
        raise UserError(
            f"{path} ends in {path.suffix or 'nothing'}, .safetensors or "
            f"{', '.join(PICKLES)} is expected."
        )
    refuse_place(path, "--export")
    if path.is_dir():
        raise UserError(f"{path} is a folder, a file is expected: name another --export.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists: name another --export, or say --overwrite.")


def refuse_place(path: Path, option: str) -> None:
    """UserError where nothing can be made: the nearest folder that exists must be one, and take new
    files.
    """
    try:
        path.exists()
        above = next(each for each in path.absolute().parents if each.exists())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): name another {option}."
        ) from error
    if not above.is_dir():
        raise UserError(
            f"{path} cannot be written ({above} is a file, a folder is expected): name "
            f"another {option}."
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"{path} cannot be written ({above} takes no new files): name another {option}."
        )


def _positions(unet: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    """Two tables for each motion module, each its own tensor."""
    queries = [name for name in unet if is_motion(name) and name.endswith(".to_q.weight")]
    return {
        name.replace("to_q.weight", "pos_encoder.pe"): positions(frames, unet[name].shape[0]).to(
            unet[name].dtype
        )
        for name in queries
    }
