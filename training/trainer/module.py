"""Steps, optimizer and logging; what is learnt is the task's affair."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from model.animator import Animator
from training.data.batch import Batch
from training.objective.task import DiffusionTask
from training.optim.optimizer import optimizer, schedule, vectors
from training.trainer.nonfinite import find_nonfinite_module


class DiffusionLightningModule(LightningModule):
    """The animator, learning a task. Which of its parameters learn must be settled before
    (optimizer.train_only).

    `optim` is conf/optim/*.yaml. `identity` goes into checkpoints: what it takes to make the same
    model again.
    """

    def __init__(
        self,
        animator: Animator,
        task: DiffusionTask,
        optim: Any,
        identity: dict[str, Any],
        compiles: bool = False,
    ):
        super().__init__()
        self.animator = animator
        self.task, self.optim, self.identity = task, optim, identity
        self.nonfinite = ""  # what this rank has to say of a loss that is not finite
        self.finished: float | None = (
            None  # s, when the last micro-step and all that hangs on it was over
        )
        self.vectors = vectors(animator)
        # a module that is an attribute would be in every checkpoint a second time
        self.call: tuple[Any] = (torch.compile(animator) if compiles else animator,)

    def on_fit_start(self) -> None:
        self.task.encoders.to(self.device, frozen_dtype(str(self.trainer.precision)))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        losses, values = self.task.losses(self.call[0], batch)
        if not torch.isfinite(losses).all():
            self._end_nonfinite(batch)
        position = int(batch.positions[0]) + (self.trainer.world_size - self.global_rank) * len(
            batch
        )
        self._data.start(position)  # of the first sample that no rank has trained on
        loss = losses.mean()
        for name, value in {"train": loss, **values}.items():
            mean = value.detach().mean()
            self.log(f"loss/{name}", mean, sync_dist=True, batch_size=len(batch))
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        self.log("epoch", position / self._data.clips.order.count)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.finished = time.perf_counter()  # after all callbacks

    def configure_optimizers(self) -> Any:
        own = optimizer(self.animator, self.optim, self.vectors)
        rates = schedule(own, self.optim, self.trainer.max_steps)
        return {"optimizer": own, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["position"], checkpoint["model"] = self._data.position, self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._data.start(checkpoint["position"])

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _end_nonfinite(self, batch: Batch) -> None:
        """One rank alone must not leave the others waiting for it: its bad gradients reach all, and
        all end there.
        """
        error = find_nonfinite_module(
            self.animator, lambda: self.task.losses(self.animator, batch), batch, self.global_step
        )
        if self.trainer.world_size == 1:
            raise error
        self.nonfinite = self.nonfinite or str(error)


def frozen_dtype(precision: str) -> torch.dtype:
    """Frozen parts need no master weights: they are in half precision where the work is."""
    return torch.bfloat16 if precision.startswith("bf16") else torch.float32
