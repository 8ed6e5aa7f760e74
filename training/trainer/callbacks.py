"""Callbacks: signals, timing, unreadable samples, gradient clipping, checkpoints."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from datagen.core.json import JsonObject
from training.data.batch import Batch
from training.trainer.checkpoint import checkpoints, name_of
from training.trainer.module import DiffusionLightningModule
from training.trainer.nonfinite import describe_nonfinite_gradients, end_together

STOP_EVERY = 10  # steps after which the ranks agree whether one of them received a signal
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGUSR1,
)  # SLURM can send the last one before the time is up


class Signals(Callback):
    """SIGINT, SIGTERM and SIGUSR1 end the training after the current step, with a checkpoint."""

    def __init__(self) -> None:
        self.received = 0  # number of the signal that this process received; 0: none
        self.agreed_on = 0  # the same, once all ranks know of it

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The loader's processes start now and must ignore signals: the current step still needs
        their data.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replaces Lightning's handlers, which talk to other ranks inside a handler, and hang."""
        for number in SIGNALS:
            signal.signal(number, self._ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        if is_within_step(trainer) or (trainer.world_size > 1 and trainer.global_step % STOP_EVERY):
            return
        if self.agreed(trainer):
            trainer.should_stop = True

    def agreed(self, trainer: Trainer) -> bool:
        """Whether one of the ranks received a signal. All ranks must call it, and all get the same
        answer: a later signal counts from the next call on.
        """
        if not self.agreed_on and trainer.strategy.reduce_boolean_decision(
            bool(self.received), all=False
        ):
            self.agreed_on = self.received or signal.SIGTERM
        return bool(self.agreed_on)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.received = number


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Restores the signal handlers afterwards, and kills processes of the loader that an error
    has left: they ignore gentler signals.
    """
    handlers, before = (
        {number: signal.getsignal(number) for number in SIGNALS},
        multiprocessing.active_children(),
    )
    try:
        yield
    finally:
        _kill([process for process in multiprocessing.active_children() if process not in before])
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _kill(processes: list[BaseProcess]) -> None:
    """Without torch's handler, which would raise an error of its own for it."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in processes:
        process.kill()
        process.join()
    signal.signal(signal.SIGCHLD, handler)


class StepTimer(Callback):
    """Logs the seconds of a step, those spent waiting for data, and samples per second."""

    def __init__(self, every: int):
        self.every = every
        self.began = 0.0
        self._reset()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, DiffusionLightningModule)
        self.began = time.perf_counter()
        if pl_module.finished is not None:
            self.waited += self.began - pl_module.finished

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self.worked += time.perf_counter() - self.began
        self.samples += len(batch) * trainer.world_size
        if is_within_step(trainer):
            return
        self.steps += 1
        if trainer.global_step % self.every == 0:
            self._log(pl_module)
            self._reset()

    def _log(self, module: LightningModule) -> None:
        total = self.waited + self.worked
        module.log("samples_per_s", self.samples / total)
        module.log("time/waiting_for_data_s", self.waited / self.steps)
        module.log("time/step_s", total / self.steps)
        if torch.cuda.is_available():
            module.log("memory/gpu_gb", torch.cuda.max_memory_allocated() / 2**30)

    def _reset(self) -> None:
        self.waited = self.worked = 0.0
        self.samples = self.steps = 0


class BadSamples(Callback):
    """Reports samples that could not be read. More than `most` on all ranks together end the
    training.
    """

    def __init__(self, most: int):
        self.most = most
        self.count, self.last = 0, ""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        for key, reason in batch.replaced:
            self.count, self.last = self.count + 1, f"{key} ({reason})"
            print(
                f"sample {key} cannot be read ({reason}): another one stands for it.",
                file=sys.stderr,
                flush=True,
            )

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        count = self._total(trainer)
        if count > self.most:
            end_together(
                [
                    f"{count} samples could not be read, at most {self.most} are allowed "
                    "(most_bad), the last: "
                    f"{self.last}; look at the shards with python -m datagen.verify."
                ]
                * bool(self.last)
            )

    def state_dict(self) -> JsonObject:
        return {"count": self.count}

    def load_state_dict(self, state_dict: JsonObject) -> None:
        self.count = state_dict["count"]

    def _total(self, trainer: Trainer) -> int:
        if trainer.world_size == 1:
            return self.count
        return int(
            trainer.strategy.reduce(
                torch.tensor(float(self.count), device=trainer.strategy.root_device), None, "sum"
            )
        )


class GradientClipping(Callback):
    """Clips the norm of the gradients and logs it as it was before. A norm that is not finite ends
    the training.

    Lightning calls this after it has unscaled the gradients. DeepSpeed clips by itself.
    """

    def __init__(self, clip: float | None):
        self.clip = clip
        self.keys = ""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.keys = ", ".join(batch.keys)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, DiffusionLightningModule)
        own = [p for p in pl_module.parameters() if p.grad is not None]
        norm = self._clipped(trainer, own)
        if norm is None:
            return
        if not torch.isfinite(norm):
            self._end(trainer, pl_module)
        pl_module.log("gradients/norm", norm)

    def _clipped(self, trainer: Trainer, own: list[torch.nn.Parameter]) -> Tensor | None:
        """The norm of all gradients, of which a rank may hold only a share. None where it is
        unknown.
        """
        most = float("inf") if self.clip is None else self.clip
        if isinstance(trainer.model, FullyShardedDataParallel):
            return trainer.model.clip_grad_norm_(most)
        return torch.nn.utils.clip_grad_norm_(own, most) if own else None

    def _end(self, trainer: Trainer, module: DiffusionLightningModule) -> None:
        """A gradient scaler (fp16) handles single overflows itself: it skips that step."""
        end_together([module.nonfinite] if module.nonfinite else [])
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            end_together([describe_nonfinite_gradients(module, self.keys, trainer.global_step)])


class PeriodicCheckpoints(Checkpoint):
    """Writes step-00001000.ckpt every `every` steps and after the last; the newest `keep` stay.

    Lightning calls it after all other callbacks, so that it saves their state after the step.
    """

    def __init__(self, folder: Path, every: int, keep: int):
        self.folder, self.every, self.keep = folder, every, keep
        self.step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        step = trainer.global_step
        is_last = trainer.should_stop or step >= trainer.max_steps
        if is_within_step(trainer) or step == self.step or not (is_last or step % self.every == 0):
            return
        self.step = step
        trainer.save_checkpoint(self.folder / name_of(step))
        if trainer.is_global_zero:
            for old in checkpoints(self.folder)[self.keep :]:
                shutil.rmtree(old) if old.is_dir() else old.unlink()


class OnFitEnd(Callback):
    """Calls a function on all ranks when training is over, while weights and ranks still exist."""

    def __init__(self, act: Callable[[Trainer], None]):
        self.act = act

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.act(trainer)


def is_within_step(trainer: Trainer) -> bool:
    """Whether the optimizer waits for further micro-steps."""
    return trainer.fit_loop._should_accumulate()
