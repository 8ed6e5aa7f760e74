"""What happens beside the steps: signals, clocks, bad samples, the guard over gradients,
checkpoints.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from training.data.batch import Batch
from training.trainer.checkpoint import checkpoints, name_of
from training.trainer.nonfinite import describe_nonfinite_gradients, end_together

STOP_EVERY = 10  # steps between the questions to all ranks whether one of them was asked to end
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGUSR1,
)  # SLURM can send the last one before the time is up


class Signals(Callback):
    """SIGINT, SIGTERM and SIGUSR1 end the training after the step at hand, with a checkpoint of
    that step.
    """

    def __init__(self) -> None:
        self.received = 0  # number of the signal that came to this process; 0: none
        self.asked = 0  # the same, when all ranks know of it

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Processes of the loader, which start now, are to stay deaf: the step at hand still waits
        for their data.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After Lightning has set its own handlers, which talk to other ranks from within a
        handler, and hang.
        """
        for number in SIGNALS:
            signal.signal(number, self._ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if is_within_step(trainer) or (trainer.world_size > 1 and trainer.global_step % STOP_EVERY):
            return
        if self.agreed(trainer):
            trainer.should_stop = True

    def agreed(self, trainer: Trainer) -> bool:
        """Whether one of the ranks was asked to end. Called by all ranks alike, and what follows
        from it is the same on all: a signal that comes later counts for nothing until they speak
        again.
        """
        if not self.asked and trainer.strategy.reduce_boolean_decision(
            bool(self.received), all=False
        ):
            self.asked = self.received or signal.SIGTERM
        return bool(self.asked)

    def _ask(self, number: int, frame: Any) -> None:
        self.received = number


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Afterwards signals are handled as before, and no process of the loader is left: after an
    error they may still run, and they hear nothing gentler than this.
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


def _kill(processes: list[Any]) -> None:
    """While torch does not look, which would raise an error of its own for it."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in processes:
        process.kill()
        process.join()
    signal.signal(signal.SIGCHLD, handler)


class StepTimer(Callback):
    """Seconds of a step, how many of them it waits for data, and samples per second, in the log."""

    def __init__(self, every: int):
        self.every = every
        self.began = 0.0
        self._reset()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.began = time.perf_counter()
        if pl_module.finished is not None:
            self.waited += self.began - pl_module.finished

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
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
    """Reports samples that could not be read, and ends the training when there are more than `most`
    of all ranks.
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
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
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

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
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
    """Clips the norm of the gradients and logs what it was before; one that is not finite ends the
    training.

    Lightning calls this after a gradient scaler has been undone. DeepSpeed clips by itself.
    """

    def __init__(self, clip: float | None):
        self.clip = clip
        self.keys = ""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.keys = ", ".join(batch.keys)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        own = [p for p in pl_module.parameters() if p.grad is not None]
        norm = self._clipped(trainer, own)
        if norm is None:
            return
        if not torch.isfinite(norm):
            self._end(trainer, pl_module)
        pl_module.log("gradients/norm", norm)

    def _clipped(self, trainer: Trainer, own: list[torch.nn.Parameter]) -> Tensor | None:
        """The norm of all gradients, of which a rank may have a share only; None where nobody tells
        it.
        """
        most = float("inf") if self.clip is None else self.clip
        if isinstance(trainer.model, FullyShardedDataParallel):
            return trainer.model.clip_grad_norm_(most)
        return torch.nn.utils.clip_grad_norm_(own, most) if own else None

    def _end(self, trainer: Trainer, module: Any) -> None:
        """Under a gradient scaler (fp16) single overflows are its own affair: it leaves that step
        out.
        """
        end_together([module.nonfinite] if module.nonfinite else [])
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            end_together([describe_nonfinite_gradients(module, self.keys, trainer.global_step)])


class PeriodicCheckpoints(Checkpoint):
    """step-00001000.ckpt every so many steps, and after the last one; the newest `keep` stay.

    Lightning calls it after all other callbacks, which have then done their part of the step.
    """

    def __init__(self, folder: Path, every: int, keep: int):
        self.folder, self.every, self.keep = folder, every, keep
        self.step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
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
    """Calls something on all ranks when the training is over, while weights and ranks are still in
    place.
    """

    def __init__(self, act: Callable[[Trainer], None]):
        self.act = act

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.act(trainer)


def is_within_step(trainer: Trainer) -> bool:
    """Whether the optimizer waits for further micro-steps."""
    return trainer.fit_loop._should_accumulate()
