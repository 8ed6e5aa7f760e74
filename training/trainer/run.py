"""A training run: checked, built from its configuration, fitted, and its model written."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from datagen.core.errors import UserError
from datagen.core.quiet import silence
from datagen.shards.index import read_index
from datagen.shards.parameters import ClipParameters, clip_parameters
from model.pipeline import MegActorPipeline, SamplingSettings
from model.resolve import refuse_window
from training.data.dataset import ClipDataset, Resolution
from training.data.module import ClipDataModule
from training.objective.config import configured_loss
from training.objective.task import DiffusionTask, FrozenEncoders
from training.optim.ema import EMA, averaged, whole
from training.optim.optimizer import refuse, train_only
from training.trainer.callbacks import (
    BadSamples,
    GradientClipping,
    OnFitEnd,
    PeriodicCheckpoints,
    Signals,
    StepTimer,
    contained,
)
from training.trainer.checkpoint import AtomicCheckpointIO, fill, fresh, read
from training.trainer.checkpoint import identity as checkpoint_identity
from training.trainer.module import DiffusionLightningModule
from training.trainer.nonfinite import AllRanksError, lost_rank
from training.trainer.options import option_mistakes, strategy
from training.trainer.progress import ProgressBar
from training.trainer.run_folder import RunFolder, plain
from training.trainer.validation import FRAMES, Validation


@dataclass
class Run:
    """Everything that python -m training.fit needs."""

    cfg: DictConfig
    pipeline: MegActorPipeline
    data: ClipDataModule
    module: DiffusionLightningModule
    resumed: Path | None  # the checkpoint to go on from
    held: ClipDataset | None  # clips for the validation; None where it is off

    @classmethod
    def prepared(cls, cfg: DictConfig) -> Run:
        """UserError with all mistakes, before anything is written."""
        mistakes: list[str] = list(option_mistakes(cfg))
        resumed = _collect(mistakes, lambda: _resumable(cfg, Path(str(cfg.output))))
        clips = _collect(mistakes, lambda: clip_parameters(read_index(Path(str(cfg.data.input)))))
        identity = _collect(mistakes, lambda: model_identity(cfg, clips or ClipParameters()))
        pipeline = data = held = module = None
        if identity is not None:
            pipeline = _collect(mistakes, lambda: _pipeline(cfg, identity))
        if pipeline is not None:
            data = _collect(mistakes, lambda: _data(cfg, pipeline))
            module = _collect(mistakes, lambda: _lightning_module(cfg, pipeline, identity))
        if data is not None and cfg.validate_every:
            held = _collect(mistakes, lambda: data.dataset("val"))
        if mistakes or pipeline is None or data is None or module is None:
            raise UserError("; ".join(mistake.rstrip(".") for mistake in mistakes) + ".")
        return cls(cfg, pipeline, data, module, resumed, held)

    @property
    def output(self) -> RunFolder:
        return RunFolder(Path(str(self.cfg.output)))

    def fit(self) -> int:
        """Exit code: 0 at the end, 128 + the signal's number after an interruption. The same
        command continues.

        Where all ranks end together, only the first prints and has an exit code: Lightning would
        kill it for the code of another.
        """
        signals = Signals()
        with _quiet():
            trainer = _trainer(self.cfg, [*self._callbacks(signals), signals])
            if trainer.is_global_zero:
                self.output.begin(self.cfg, self.resumed)
            with contained(), _one_sentence(trainer):
                trainer.fit(
                    self.module, datamodule=self.data, ckpt_path=self.resumed, weights_only=True
                )
        return self._ended(trainer, signals.agreed_on) if trainer.is_global_zero else 0

    def _ended(self, trainer: Trainer, signal: int) -> int:
        step = trainer.global_step
        if signal:
            print(
                f"interrupted after step {step}: the same command goes on from there.",
                file=sys.stderr,
            )
            return 128 + signal
        print(f"{self.output.folder}: {step} steps, the model is in {self.output.model}")
        return 0

    def _save(self, trainer: Trainer) -> None:
        """Save a model made anew, because the frozen parts here may be in half precision."""
        with whole(trainer.model), averaged(trainer.callbacks, self.module):  # type: ignore[attr-defined]
            if trainer.is_global_zero:
                own = fresh(**self.module.identity)
                own.animator.load_state_dict(self.pipeline.animator.state_dict())
                self.output.save(own)

    def _callbacks(self, signals: Signals) -> Iterator[Callback]:
        cfg, folder = self.cfg, self.output.folder
        yield StepTimer(cfg.log_every)
        yield BadSamples(cfg.most_bad)
        yield GradientClipping(cfg.optim.clip)
        if cfg.optim.ema is not None:
            yield EMA(cfg.optim.ema)
        if cfg.progress:
            yield ProgressBar()
        if self.held is not None:
            yield self._validation(self.held)
        yield PeriodicCheckpoints(folder, cfg.checkpoint_every, cfg.keep)
        yield OnFitEnd(lambda trainer: None if signals.agreed(trainer) else self._save(trainer))

    def _validation(self, held: ClipDataset) -> Validation:
        cfg = self.cfg
        window = min(cfg.validation_window, self.pipeline.longest_window)
        settings = SamplingSettings(
            cfg.validation_steps,
            cfg.validation_guidance,
            cfg.seed,
            window=window,
            overlap=min(8, window // 2),
        )
        to, minutes = self.output.folder / "validation", cfg.validation_minutes
        return Validation(
            held, cfg.validate_every, cfg.validation_cases, FRAMES, settings, minutes, to
        )


def _trainer(cfg: DictConfig, callbacks: list[Callback]) -> Trainer:
    """UserError in Lightning's words where it cannot do what conf/trainer says."""
    options = {
        name: instantiate(value) if OmegaConf.is_config(value) else value
        for name, value in cfg.trainer.items()
    }
    # our own environment: Lightning's requeues a job with a checkpoint from the middle of a step
    slurm = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    try:
        return Trainer(
            **options,
            max_steps=cfg.max_steps,
            max_epochs=-1,
            accumulate_grad_batches=cfg.accumulate,
            gradient_clip_val=cfg.optim.clip if strategy(cfg) == "deepspeed" else None,
            use_distributed_sampler=False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *slurm],
            logger=instantiate(cfg.logger) if cfg.logger else False,
            default_root_dir=cfg.output,
            log_every_n_steps=cfg.log_every,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )
    except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
        why = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(f"trainer: {why}: see conf/trainer for settings that work.") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes. Processes that it starts may still print: they inherit the stream
    that the command mutes.
    """
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        os.dup2(sys.stderr.fileno(), 2)
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), silence():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _one_sentence(trainer: Trainer) -> Iterator[None]:
    """Only the first rank reports an error of all ranks. Errors of loader processes come without
    their traceback.
    """
    try:
        yield
    except AllRanksError:
        if trainer.is_global_zero:
            raise
    except UserError as error:
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
    except RuntimeError as error:
        if trainer.world_size > 1 and (sentence := lost_rank(error)):
            raise UserError(sentence) from None
        raise
    except SystemExit:  # Lightning's answer to Ctrl-C before the first step
        raise KeyboardInterrupt from None


def _pipeline(cfg: DictConfig, identity: dict[str, Any]) -> MegActorPipeline:
    """The model with the weights that training begins with."""
    pipeline = fresh(**identity)
    source = _checkpoint(cfg)
    if source is not None:
        fill(pipeline, read(source), source)
    return pipeline


def model_identity(cfg: DictConfig, clips: ClipParameters) -> dict[str, Any]:
    """The arguments of `fresh`, frozen parts included."""
    config, source = OmegaConf.to_container(cfg.model, resolve=True), _checkpoint(cfg)
    shown = {"grey": cfg.data.grey, "margin": clips.margin if cfg.data.crop == "clip" else None}
    if source is not None:
        return {**checkpoint_identity(read(source), source), "config": config, **shown}
    folder = None if cfg.init_from is None else str(Path(str(cfg.init_from)).resolve())
    return {"config": config, "folder": folder, "seed": cfg.seed, **shown}


def _checkpoint(cfg: DictConfig) -> Path | None:
    """init_from where it is a checkpoint, not a folder."""
    source = None if cfg.init_from is None else Path(str(cfg.init_from))
    return source if source is not None and source.suffix == ".ckpt" else None


def _data(cfg: DictConfig, pipeline: MegActorPipeline) -> ClipDataModule:
    resolution = Resolution(pipeline.side, pipeline.driving_side, pipeline.side // pipeline.factor)
    options: dict[str, Any] = {
        "resolution": resolution,
        "preparation": pipeline.feature_extractor,
        "seed": cfg.seed,
    }
    if cfg.cache is not None:
        from training.cache.reader import LatentCache

        options["cache"] = LatentCache(Path(str(cfg.cache)), pipeline, Path(str(cfg.data.input)))
    chosen = {name: value for name, value in plain(cfg.data).items() if not name.startswith("_")}
    data = ClipDataModule(**chosen, **options)  # Hydra would turn Sides into a dict
    data.setup()
    refuse_window(data.windows.frames, pipeline.longest_window, "data.frames")
    return data


def _lightning_module(
    cfg: DictConfig, pipeline: MegActorPipeline, identity: dict[str, Any]
) -> DiffusionLightningModule:
    train_only(pipeline.animator, cfg.optim.trainable)
    refuse(pipeline.animator, cfg.optim)
    if cfg.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.reference_net.enable_gradient_checkpointing()
    pipeline.animator.train()
    return DiffusionLightningModule(
        pipeline.animator,
        DiffusionTask(FrozenEncoders(pipeline), configured_loss(cfg, pipeline.scheduler)),
        cfg.optim,
        identity,
        cfg.compile,
    )


def _resumable(cfg: DictConfig, output: Path) -> Path | None:
    """The checkpoint to continue from, if there is one. UserError where that is not allowed."""
    return RunFolder(output).resumed(cfg)


def _collect(mistakes: list[str], make: Callable[[], Any]) -> Any:
    try:
        return make()
    except UserError as error:
        mistakes += [] if str(error) in mistakes else [str(error)]
        return None
