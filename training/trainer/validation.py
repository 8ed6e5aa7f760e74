"""Validation while a model learns: fixed clips of the val split, driven by themselves and by
others.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch import Tensor

from datagen.media.video import Writer
from model.animator import Reference
from model.pipeline import MegActorPipeline, SamplingSettings
from training.data.batch import Batch, to_floats
from training.data.dataset import ClipDataset
from training.data.decode import Unreadable
from training.data.window import FrameWindow
from training.evaluation.animate_case import animate_case
from training.metrics.pixels import l1, psnr, ssim
from training.optim.ema import averaged, whole
from training.trainer.module import DiffusionLightningModule
from training.trainer.nonfinite import gathered

FRAMES = 24  # of a case: about a second
SCORES = {"l1": l1, "psnr": psnr, "ssim": ssim}


@dataclass(frozen=True)
class ValidationCase:
    """A reference and what drives it. The truth is known where both are of one clip."""

    name: str
    shown: Batch  # of one: reference and target
    driving: Tensor  # 1 c f D D  as a Batch has it
    driver: Tensor  # 1 3 f S S  likewise
    has_truth: bool

    def reference_for(self, pipeline: MegActorPipeline, seed: int) -> Reference:
        """The posterior's mean, not a sample: `seed` changes nothing."""
        shown = self.shown.to(pipeline.device)
        picture = to_floats(shown.reference)
        latents = pipeline.latents.mean(picture.to(pipeline.vae.dtype)).float()
        tokens = pipeline.background.encode(shown.clip_pixels).float()
        return Reference(picture, latents, latents, shown.background, tokens)

    def driving_for(self, pipeline: MegActorPipeline) -> TensorFrames:
        return TensorFrames(to_floats(self.driving.to(pipeline.device))[0])


def cases(clips: ClipDataset, count: int, frames: int) -> list[ValidationCase]:
    """The first `count` readable clips, each driven by itself and, if possible, by another."""
    every = _readable(clips, count, frames)
    found = [
        ValidationCase(f"self-{b.keys[0]}", b, b.driving, b.target, True) for b in every.values()
    ]
    who = clips.shards.identities
    for number, (index, shown) in enumerate(every.items()):
        others = [driver for other, driver in every.items() if who[other] != who[index]]
        if others:
            driver = others[number % len(others)]
            found.append(
                ValidationCase(
                    f"cross-{shown.keys[0]}", shown, driver.driving, driver.target, False
                )
            )
    return found


def _readable(clips: ClipDataset, count: int, frames: int) -> dict[int, Batch]:
    """Sample number -> the beginning of the clip, for the first `count` that can be read."""
    found: dict[int, Batch] = {}
    for index in range(len(clips.shards)):
        if len(found) < count:
            with contextlib.suppress(Unreadable):
                found[index] = clips.sample(index, _window(clips, index, frames))
    return found


class Validation(Callback):
    """Every `every` steps animates the cases, spread over the ranks, and logs videos and scores.
    Training does not notice.

    Cases that would begin after `minutes` are left out on all ranks, but never all of them.
    """

    def __init__(
        self,
        clips: ClipDataset,
        every: int,
        count: int,
        frames: int,
        settings: SamplingSettings,
        minutes: float,
        to: Path,
    ):
        self.clips, self.every, self.count, self.frames = clips, every, count, frames
        self.settings, self.minutes, self.to = settings, minutes, to
        self.fps = Fraction(clips.shards.clip_parameters.fps).limit_denominator(1001)
        self.cases: list[ValidationCase] = []
        self.step = 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.step = trainer.global_step
        self.cases = cases(self.clips, self.count, self.frames)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: object) -> None:
        if trainer.global_step == self.step or trainer.global_step % self.every:
            return
        self.step = trainer.global_step
        training = pl_module.animator.training
        pl_module.animator.eval()
        try:
            with torch.no_grad(), whole(trainer.model), averaged(trainer.callbacks, pl_module):  # type: ignore[attr-defined]
                self._log(trainer, gathered(list(self._shown(trainer, pl_module))))
        finally:
            pl_module.animator.train(training)

    def _shown(
        self, trainer: Trainer, module: DiffusionLightningModule
    ) -> Iterator[tuple[str, dict[str, float], np.ndarray]]:
        """This rank's cases. Every rank animates as many, so that sharded weights are gathered in
        step.
        """
        began, rank, world = time.monotonic(), trainer.global_rank, trainer.world_size
        for first in range(0, len(self.cases), world):
            late = time.monotonic() - began > 60 * self.minutes
            if first and trainer.strategy.reduce_boolean_decision(late, all=False):
                self._report_left_out(trainer, first)
                return
            case = self.cases[min(first + rank, len(self.cases) - 1)]
            with trainer.precision_plugin.forward_context():
                made = animate_case(module.task.encoders.pipeline, case, self.settings)
            if first + rank < len(self.cases):
                yield case.name, _scores(case, made), _grid(case, made)

    def _report_left_out(self, trainer: Trainer, done: int) -> None:
        if trainer.is_global_zero:
            message = f"validation: {len(self.cases) - done} of {len(self.cases)} cases left out"
            print(
                f"{message}, after {self.minutes:g} minutes (validation_minutes).",
                file=sys.stderr,
                flush=True,
            )

    def _log(self, trainer: Trainer, found: list[tuple[str, dict[str, float], np.ndarray]]) -> None:
        if not trainer.is_global_zero:
            return
        folder = self.to / f"step-{trainer.global_step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, _, grid in found:
            with Writer(folder / f"{name}.mp4", self.fps) as writer:
                for picture in grid:
                    writer.write(picture)
            _gif(trainer, f"validation/{name}", grid, self.fps)
        for score in SCORES:
            values = [scores[score] for _, scores, _ in found if score in scores]
            if values and trainer.logger:
                trainer.logger.log_metrics(
                    {f"validation/{score}": float(np.mean(values))}, trainer.global_step
                )


@dataclass(frozen=True)
class TensorFrames:
    """model.pipeline.Driving"""

    frames: Tensor  # 3 f D D

    def __len__(self) -> int:
        return self.frames.shape[1]

    def read(self, frames: range) -> Tensor:
        return self.frames[:, frames.start : frames.stop]


def _window(clips: ClipDataset, index: int, frames: int) -> FrameWindow:
    """The beginning of the clip, with its last frame as the reference."""
    count = int(clips.shards.frames[index])
    return FrameWindow(np.arange(min(frames, count)), np.array([count - 1]), "target")


def _scores(case: ValidationCase, made: np.ndarray) -> dict[str, float]:
    truth = _pictures(case.shown.target)
    return {name: score(made, truth) for name, score in SCORES.items()} if case.has_truth else {}


def _grid(case: ValidationCase, made: np.ndarray) -> np.ndarray:
    """Reference, driving person, output and, where there is one, truth: RGB uint8 [f, S, 3 S or 4
    S, 3].
    """
    reference = _pictures(case.shown.reference[:, :, None]).repeat(len(made), axis=0)
    columns = [
        reference,
        _pictures(case.driver),
        made,
        *([_pictures(case.shown.target)] if case.has_truth else []),
    ]
    return np.concatenate([column[: len(made)] for column in columns], axis=2)


def _pictures(levels: Tensor) -> np.ndarray:
    """uint8 [1, 3, f, S, S] -> [f, S, S, 3]"""
    return levels[0].permute(1, 2, 3, 0).cpu().numpy()


def _gif(trainer: Trainer, name: str, grid: np.ndarray, fps: Fraction) -> None:
    """A GIF for TensorBoard, whose own video writer needs another package."""
    writer: Any = getattr(trainer.logger, "experiment", None)
    if not hasattr(writer, "_get_file_writer"):
        return
    from tensorboard.compat.proto.summary_pb2 import Summary

    pictures, file = [Image.fromarray(picture) for picture in grid], io.BytesIO()
    pictures[0].save(
        file, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )
    image = Summary.Image(
        height=grid.shape[1],
        width=grid.shape[2],
        colorspace=3,
        encoded_image_string=file.getvalue(),
    )
    writer._get_file_writer().add_summary(
        Summary(value=[Summary.Value(tag=name, image=image)]), trainer.global_step
    )
