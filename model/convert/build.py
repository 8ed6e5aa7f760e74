"""Builds a model from a preset and the tensors of sources. Writes it whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from hydra.utils import get_class
from torch import nn

from datagen.core.errors import UserError
from model.build import PARTS, instantiate
from model.convert.export import refuse_place
from model.convert.matching import Loaded, Tensors
from model.pipeline import MegActorPipeline


def gathered(loaded: Sequence[Loaded]) -> dict[str, Tensors]:
    """Tensors by part. A later source replaces those of an earlier one."""
    parts: dict[str, Tensors] = {part: {} for part in PARTS}
    for source in loaded:
        for part, tensors in source.tensors.items():
            parts[part] |= tensors
    return parts


def build(config: Any, tensors: dict[str, Tensors], dtype: torch.dtype) -> MegActorPipeline:
    """The model. A part with all its tensors is not initialised first, which saves its memory."""
    parts = {name: _part(config[name], tensors[name], dtype) for name in PARTS}
    rest = {
        name: instantiate(config[name]) for name in config if name not in PARTS and name[0] != "_"
    }
    return get_class(config["_target_"])(**parts, **rest)


def unloaded(pipeline: MegActorPipeline, tensors: dict[str, Tensors]) -> dict[str, list[str]]:
    """Parameters by part that no source holds."""
    found = {
        part: [n for n, _ in getattr(pipeline, part).named_parameters() if n not in tensors[part]]
        for part in PARTS
    }
    return {part: names for part, names in found.items() if names}


def save(pipeline: MegActorPipeline, folder: Path, overwrite: bool = False) -> None:
    """Write safetensors in diffusers' layout, moved into place when complete."""
    with _replacing(folder, overwrite, _bytes(pipeline)) as temporary:
        pipeline.save_pretrained(temporary)


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """UserError unless the folder is new, empty, or a model that may be overwritten."""
    refuse_place(folder, "--output")
    if not folder.exists():
        return
    if not (folder / "model_index.json").is_file() and not (
        folder.is_dir() and not any(folder.iterdir())
    ):
        raise UserError(
            f"{folder} exists and is no model (no model_index.json in it): name another --output."
        )
    if (folder / "model_index.json").is_file() and not overwrite:
        raise UserError(f"{folder} holds a model: name another --output, or say --overwrite.")


def _part(config: Any, tensors: Tensors, dtype: torch.dtype) -> nn.Module:
    with init_empty_weights(include_buffers=False):
        part = instantiate(config)
    if dict(part.named_parameters()).keys() <= tensors.keys():
        part.load_state_dict(
            {name: tensor.to(dtype) for name, tensor in tensors.items()}, strict=False, assign=True
        )
    else:
        part = instantiate(config)
        part.load_state_dict(tensors, strict=False)
    return nn.Module.to(
        part, dtype
    )  # diffusers' own warns of parts to be kept in float32, of which there are none


def _bytes(pipeline: MegActorPipeline) -> int:
    parts = (getattr(pipeline, name) for name in PARTS)
    return sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values())


@contextlib.contextmanager
def _replacing(folder: Path, overwrite: bool, needed: int) -> Iterator[Path]:
    """A folder beside it to write into, which replaces it at the end."""
    refuse_existing(folder, overwrite)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are "
            "needed: make room."
        )
    temporary, old = (
        folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.{kind}")
        for kind in ("part", "old")
    )
    try:
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
