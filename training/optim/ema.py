"""The exponential moving average of the weights, which is validated and saved as the model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn


class EMA(Callback):
    """After step n the average moves by 1 - min(decay, (1 + n) / (10 + n)) towards the weights (as
    in diffusers).
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.mean: dict[str, Tensor] = {}
        self.step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = trained(pl_module)
        kept = self.mean if self.mean.keys() == own.keys() else own
        self.mean = {name: kept[name].detach().to(own[name].device, copy=True) for name in own}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        own = trained(pl_module)
        torch._foreach_lerp_(list(self.mean.values()), [own[name] for name in self.mean], 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean = state_dict["mean"]


def trained(module: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters by name, detached."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


@contextlib.contextmanager
def whole(model: Any) -> Iterator[None]:
    """All weights on every rank, for reading, where FSDP has sharded them."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    if isinstance(model, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            yield
    else:
        yield


@contextlib.contextmanager
def averaged(callbacks: Sequence[Callback], module: nn.Module) -> Iterator[None]:
    """The module with the average of its weights, if one of the callbacks keeps it. Its own
    weights come back afterwards.
    """
    mean = next(
        (callback.mean for callback in callbacks if isinstance(callback, EMA) and callback.mean),
        {},
    )
    own = trained(module)
    kept = {name: own[name].clone() for name in mean}
    try:
        _fill(own, mean)
        yield
    finally:
        _fill(own, kept)


def _fill(own: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        own[name].copy_(value)
