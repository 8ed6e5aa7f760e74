"""Finds where numbers stop being finite, and ends all ranks together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from datagen.core.errors import UserError
from training.data.batch import Batch


class AllRanksError(UserError):
    """Raised by all ranks at the same time, so that only the first has to report it."""


def find_nonfinite_module(
    model: nn.Module, losses: Callable[[], object], batch: Batch, step: int
) -> UserError:
    """The error for losses that are not finite. Runs the forward pass again to name the first
    module with such an output.
    """
    found: list[str] = []
    hooks = [
        module.register_forward_hook(_watch(name, found))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            losses()
    finally:
        for hook in hooks:
            hook.remove()
    where = found[0] if found else "none of the model's parts (the loss itself)"
    return UserError(
        f"the loss is not finite at step {step}: first in {where}, samples "
        f"{', '.join(batch.keys)}; "
        "try a lower optim.lr, trainer.precision=bf16-mixed instead of 16-mixed, or "
        "leave these samples out."
    )


def describe_nonfinite_gradients(model: nn.Module, batch_keys: str, step: int) -> str:
    """The message for gradients that are not finite."""
    bad = [
        name
        for name, p in model.named_parameters()
        if p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    return (
        f"gradients are not finite at step {step}: first in "
        f"{bad[0] if bad else 'their norm'}, samples {batch_keys}; "
        "try a lower optim.lr or trainer.precision=bf16-mixed instead of 16-mixed."
    )


def end_together(sentences: list[str]) -> None:
    """Called by all ranks alike: Everywhere with the first sentence that one of them has, if
    any.
    """
    found = gathered(sentences)
    if found:
        raise AllRanksError(found[0])


def gathered(own: list[Any]) -> list[Any]:
    """The items of all ranks, in the order of ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return [item for part in parts for item in part]


def lost_rank(error: RuntimeError) -> str | None:
    """A message if this error means that the ranks have lost each other, else None."""
    text = " ".join(str(error).split())
    if (
        not isinstance(error, torch.distributed.DistError) and "gloo" not in text
    ):  # gloo has no errors of its own
        return None
    why = text.rpartition("] ")[2].split(". ")[0][:200]
    return (
        f"another process of the training has died or cannot be reached ({why}): look "
        "for its own message; "
        "the same command goes on from the newest checkpoint."
    )


def _watch(name: str, found: list[str]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        parts = output if isinstance(output, tuple | list) else [output]
        if any(torch.is_tensor(part) and not torch.isfinite(part).all() for part in parts):
            found.append(name)

    return hook
