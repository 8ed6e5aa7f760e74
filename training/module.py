"""Steps, optimizer and logging; what is learnt is the task's affair."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from model.animator import Animator
from training.batch import Batch
from training.guard import blame
from training.optimizer import optimizer, schedule
from training.task import Task


class Trainee(LightningModule):
    """The animator, learning a task. Which of its parameters learn must be settled before (optimizer.train_only).

    `optim` is conf/optim/*.yaml. `identity` goes into checkpoints: what it takes to make the same model again.
    """

    def __init__(self, animator: Animator, task: Task, optim: Any, identity: dict[str, Any], compiles: bool = False):
        super().__init__()
        self.animator = animator
        self.task, self.optim, self.identity = task, optim, identity
        self.position = 0  # in the endless order of samples: of the first that has not been trained on
        self.call: Any = torch.compile(animator) if compiles else animator

    def on_fit_start(self) -> None:
        self.task.frozen.to(self.device, frozen_dtype(str(self.trainer.precision)))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        losses = self.task.losses(self.call, batch)
        if not torch.isfinite(losses).all():
            raise blame(self.animator, lambda: self.task.losses(self.animator, batch), batch, self.global_step)
        self.position = int(batch.positions[0]) + (self.trainer.world_size - self.global_rank) * len(batch)
        loss = losses.mean()
        self.log("loss/train", loss, prog_bar=True, sync_dist=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> Any:
        own = optimizer(self.animator, self.optim)
        rates = schedule(own, self.optim, self.trainer.max_steps)
        return {"optimizer": own, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["position"], checkpoint["model"] = self.position, self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.position = checkpoint["position"]
        self.trainer.datamodule.start(self.position)  # type: ignore[attr-defined]


def frozen_dtype(precision: str) -> torch.dtype:
    """Frozen parts need no master weights: they are in half precision where the work is."""
    return torch.bfloat16 if precision.startswith("bf16") else torch.float32
