"""Progress of a training: a bar in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import io
import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from training.trainer.callbacks import is_within_step

LINE_EVERY = 15.0  # s between lines where there is no terminal


class ProgressBar(Callback):
    """Steps, remaining time and the last logged loss, printed by the first rank."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.bar = _bar(
                total=trainer.max_steps, initial=trainer.global_step, unit=" steps", desc="training"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        if self.bar is None or is_within_step(trainer):
            return
        if "loss/train" in trainer.logged_metrics:
            self.bar.set_postfix_str(
                f"loss {float(trainer.logged_metrics['loss/train']):.4f}", refresh=False
            )
        self.bar.update()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()


class _Lines(tqdm):
    printed = 0  # steps when the last line was printed

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self.n > max(self.initial, self.printed):
            print(self, file=sys.stderr, flush=True)
            self.printed = self.n
        return True


def _bar(**options: Any) -> tqdm:
    if sys.stderr.isatty():
        return tqdm(dynamic_ncols=True, **options)
    return _Lines(
        file=io.StringIO(), ncols=100, mininterval=LINE_EVERY, maxinterval=LINE_EVERY, **options
    )
