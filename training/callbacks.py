"""What happens beside the steps: signals, clocks, bad samples, the guard over gradients."""

from __future__ import annotations

import signal
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from datagen.engine.errors import UserError
from training.batch import Batch
from training.guard import blame_gradients

STOP_EVERY = 10  # steps between the questions to all ranks whether one of them was asked to end


class Signals(Callback):
    """SIGTERM and SIGINT end the training after the step at hand; the last checkpoint is of that step."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self._ask)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if trainer.world_size > 1 and trainer.global_step % STOP_EVERY:
            return
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            self.asked = trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True


class Clock(Callback):
    """Seconds a step waits for data, and samples per second, in the log."""

    def __init__(self, every: int):
        self.every = every
        self.ended: float | None = None
        self.began = 0.0
        self.waited = self.worked = 0.0
        self.samples = self.batches = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.began = time.perf_counter()
        if self.ended is not None:
            self.waited += self.began - self.ended

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.ended = time.perf_counter()
        self.worked += self.ended - self.began
        self.samples, self.batches = self.samples + len(batch) * trainer.world_size, self.batches + 1
        if self.batches == self.every:
            total = self.waited + self.worked
            pl_module.log("time/samples_per_s", self.samples / total)
            pl_module.log("time/waiting_for_data_s", self.waited / self.batches, prog_bar=True)
            pl_module.log("time/step_s", self.worked / self.batches)
            if torch.cuda.is_available():
                pl_module.log("memory/gpu_gb", torch.cuda.max_memory_allocated() / 2**30)
            self.waited = self.worked = 0.0
            self.samples = self.batches = 0


class BadSamples(Callback):
    """Reports samples that could not be read, and ends the training when there are more than `most`."""

    def __init__(self, most: int):
        self.most = most
        self.count = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        for key, reason in batch.replaced:
            rank_zero_warn(f"sample {key} cannot be read ({reason}); another one stands for it.", stacklevel=2)
        self.count += len(batch.replaced)
        if self.count > self.most:
            keys = ", ".join(f"{key} ({reason})" for key, reason in batch.replaced)
            raise UserError(
                f"{self.count} samples could not be read, at most {self.most} are allowed (data.most_bad), the last: "
                f"{keys}; look at the shards with python -m datagen.verify."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


class Gradients(Callback):
    """Logs the norm of the gradients before they are clipped; one that is not finite ends the training."""

    def __init__(self, clip: float | None):
        self.clip = clip
        self.keys = ""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.keys = ", ".join(batch.keys)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        own = [p for p in pl_module.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(own, self.clip or float("inf"))
        if not torch.isfinite(norm) and not _scaled(trainer):
            raise blame_gradients(pl_module, self.keys, trainer.global_step)
        pl_module.log("gradients/norm", norm)


def _scaled(trainer: Trainer) -> bool:
    """Under a gradient scaler (fp16) single overflows are its own affair: it leaves that step out."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None
