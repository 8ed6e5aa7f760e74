"""Steps, optimizer and logging. What is learned is up to the task."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from omegaconf import DictConfig
from torch import Tensor

from model.animator import Animator
from training.data.batch import Batch
from training.data.module import ClipDataModule
from training.objective.task import DiffusionTask
from training.optim.optimizer import optimizer, schedule, vectors
from training.trainer.checkpoint import Checkpoint, ModelIdentity
from training.trainer.nonfinite import find_nonfinite_module


class DiffusionLightningModule(LightningModule):
    """Trains the animator on a task. Call optimizer.train_only before, to choose the parameters.

    `optim` is conf/optim/*.yaml. `identity` goes into checkpoints: what the same model can be made
    from again.
    """

    def __init__(
        self,
        animator: Animator,
        task: DiffusionTask,
        optim: DictConfig,
        identity: ModelIdentity,
        compiles: bool = False,
    ):
        super().__init__()
        self.animator = animator
        self.task, self.optim, self.identity = task, optim, identity
        self.nonfinite = ""  # this rank's message about a loss that is not finite
        self.finished: float | None = (
            None  # s, when the last micro-step and all that hangs on it was over
        )
        self.vectors = vectors(animator)
        # a module that is an attribute would be in every checkpoint a second time
        self.call: tuple[Callable[..., Tensor]] = (
            torch.compile(animator) if compiles else animator,
        )

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
        self.log("epoch", position / self._samples)
        return loss

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        self.finished = time.perf_counter()  # after all callbacks

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        own = optimizer(self.animator, self.optim, self.vectors)
        rates = schedule(own, self.optim, self.trainer.max_steps)
        return {"optimizer": own, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        checkpoint["position"], checkpoint["model"] = self._data.position, self.identity

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._data.start(checkpoint["position"])

    @property
    def _samples(self) -> int:
        """In an epoch."""
        assert self._data.clips is not None
        return self._data.clips.order.count

    @property
    def _data(self) -> ClipDataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _end_nonfinite(self, batch: Batch) -> None:
        """End the training. With several ranks this one goes on, so that none waits for it: its bad
        gradients reach all ranks, and all end there.
        """
        error = find_nonfinite_module(
            self.animator, lambda: self.task.losses(self.animator, batch), batch, self.global_step
        )
        if self.trainer.world_size == 1:
            raise error
        self.nonfinite = self.nonfinite or str(error)


def frozen_dtype(precision: str) -> torch.dtype:
    """Frozen parts need no float32 master weights under bfloat16."""
    return torch.bfloat16 if precision.startswith("bf16") else torch.float32
