"""A training run: everything checked and made from its configuration, then fitted, its model written at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from omegaconf import OmegaConf

from datagen.engine.errors import UserError
from datagen.engine.files import write_atomically
from model.pipeline import MegActorPipeline, Settings
from training.callbacks import BadSamples, Clock, Gradients, Signals
from training.checkpoint import LAST, fill, fresh, read
from training.clipset import Sides
from training.data import ClipData
from training.ema import Mean, averaged
from training.module import Trainee
from training.optimizer import optimizer, train_only
from training.task import Frozen, Task
from training.validation import Validation

SETTINGS = "config.json"  # in a run's folder: what it was started with
FREE = ("max_steps", "plan", "overwrite", "progress", "log_every", "keep", "checkpoint_every", "hydra", "trainer")
POSITIVE = ("max_steps", "accumulate", "checkpoint_every", "keep", "log_every", "validation_steps")


@dataclass
class Run:
    """What python -m training.fit is about to do."""

    cfg: Any
    pipeline: MegActorPipeline
    data: ClipData
    trainee: Trainee
    resumed: Path | None  # the checkpoint to go on from

    @classmethod
    def prepared(cls, cfg: Any) -> Run:
        """UserError, with all that is wrong, before anything is written."""
        output = Path(str(cfg.output))
        resumed = _resumable(cfg, output)
        mistakes: list[str] = list(_mistakes(cfg))
        pipeline = _collect(mistakes, lambda: _pipeline(cfg))
        data = _collect(mistakes, lambda: _data(cfg, pipeline)) if pipeline is not None else None
        trainee = _collect(mistakes, lambda: _trainee(cfg, pipeline)) if pipeline is not None else None
        if mistakes or pipeline is None or data is None or trainee is None:
            raise UserError("; ".join(mistake.rstrip(".") for mistake in mistakes) + ".")
        return cls(cfg, pipeline, data, trainee, resumed)

    def fit(self) -> int:
        """Exit code: 0 at the end, 130 after an interruption, from which the same command goes on."""
        output, signals = Path(str(self.cfg.output)), Signals()
        output.mkdir(parents=True, exist_ok=True)
        if self.resumed is None:
            for name in (LAST, "model"):
                path = output / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        write_atomically(output / SETTINGS, json.dumps(_plain(self.cfg), indent=1).encode())
        trainer = _trainer(self.cfg, [*self._callbacks(), signals])
        trainer.fit(self.trainee, datamodule=self.data, ckpt_path=self.resumed, weights_only=True)
        trainer.save_checkpoint(output / LAST)
        if signals.asked:
            return 130
        if trainer.is_global_zero:
            with averaged(trainer.callbacks, self.trainee):  # type: ignore[attr-defined]
                self._save(output / "model")
        return 0

    def _save(self, folder: Path) -> None:
        """The whole model, as python -m model.animate --weights takes it; the old one goes when the new one is there."""
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        self.pipeline.save_pretrained(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def _callbacks(self) -> Iterator[Callback]:
        cfg, output = self.cfg, Path(str(self.cfg.output))
        yield BadSamples(cfg.most_bad)
        yield Gradients(cfg.optim.clip)
        if cfg.optim.ema is not None:
            yield Mean(cfg.optim.ema)
        yield Clock(cfg.log_every)
        if cfg.logger is not None:
            yield LearningRateMonitor("step")
        if cfg.validate_every:
            settings = Settings(steps=cfg.validation_steps, guidance=cfg.validation_guidance, seed=cfg.seed, window=16)
            most = int(self.pipeline.unet.config.motion_max_seq_length)
            clips, to = self.data.clipset("val"), output / "validation"
            count, minutes = cfg.validation_cases, cfg.validation_minutes
            yield Validation(clips, cfg.validate_every, count, min(24, most), settings, minutes, to)
        if cfg.progress:
            yield TQDMProgressBar(refresh_rate=cfg.log_every)
        yield ModelCheckpoint(
            dirpath=output,
            filename="step-{step:08d}",
            auto_insert_metric_name=False,
            every_n_train_steps=cfg.checkpoint_every,
            save_top_k=cfg.keep,
            monitor="step",
            mode="max",
            save_last=True,
        )


def _trainer(cfg: Any, callbacks: list[Callback]) -> Trainer:
    options = {name: instantiate(value) if OmegaConf.is_config(value) else value for name, value in cfg.trainer.items()}
    return Trainer(
        **options,
        max_steps=cfg.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=cfg.accumulate,
        use_distributed_sampler=False,
        callbacks=callbacks,
        logger=instantiate(cfg.logger) if cfg.logger is not None else False,
        log_every_n_steps=cfg.log_every,
        enable_progress_bar=cfg.progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )


def _pipeline(cfg: Any) -> MegActorPipeline:
    """With the weights that training begins with."""
    source = None if cfg.init_from is None else Path(str(cfg.init_from))
    if source is None or source.suffix != ".ckpt":
        return fresh(cfg.model, None if source is None else str(source), cfg.seed)
    checkpoint = read(source)
    pipeline = fresh(cfg.model, checkpoint["model"]["folder"], checkpoint["model"]["seed"])
    fill(pipeline, checkpoint, source)
    return pipeline


def _data(cfg: Any, pipeline: MegActorPipeline) -> ClipData:
    sides = Sides(pipeline.side, pipeline.driving_side, pipeline.side // pipeline.factor)
    options: dict[str, Any] = {"sides": sides, "preparation": pipeline.feature_extractor, "seed": cfg.seed}
    if cfg.cache is not None:
        from training.cache import Cache

        options["cache"] = Cache(Path(str(cfg.cache)), pipeline)
    chosen = {name: value for name, value in _plain(cfg.data).items() if not name.startswith("_")}
    data = ClipData(**chosen, **options)  # Hydra would turn Sides into a dict
    data.setup()
    return data


def _trainee(cfg: Any, pipeline: MegActorPipeline) -> Trainee:
    train_only(pipeline.animator, cfg.optim.trainable)
    optimizer(pipeline.animator, cfg.optim)
    if cfg.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.reference_net.enable_gradient_checkpointing()
    pipeline.animator.train()
    objective = instantiate(cfg.objective, schedule=pipeline.scheduler, seed=cfg.seed)
    identity = {"config": OmegaConf.to_container(cfg.model, resolve=True), "seed": cfg.seed, "folder": _folder(cfg)}
    return Trainee(pipeline.animator, Task(Frozen(pipeline), objective), cfg.optim, identity, cfg.compile)


def _folder(cfg: Any) -> str | None:
    """The model folder whose frozen parts this run uses."""
    source = None if cfg.init_from is None else Path(str(cfg.init_from))
    if source is None or source.suffix != ".ckpt":
        return None if source is None else str(source.resolve())
    return read(source)["model"]["folder"]


def _mistakes(cfg: Any) -> Iterator[str]:
    """Those of the options alone."""
    for name in POSITIVE:
        if type(cfg[name]) is not int or cfg[name] < 1:
            yield f"{name} is {cfg[name]!r}, a whole number from 1 is expected"
    if cfg.optim.decay not in ("constant", "cosine"):
        yield f"optim.decay is {cfg.optim.decay!r}, constant or cosine is expected"
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available() and not cfg.plan:
        yield "there is no GPU here: say trainer=cpu"


def _resumable(cfg: Any, output: Path) -> Path | None:
    """last.ckpt of the same run; UserError where the settings are others and `overwrite` is not said."""
    last, settings = output / LAST, output / SETTINGS
    if not last.exists() or cfg.overwrite:
        return None
    before, now = json.loads(settings.read_text()) if settings.exists() else {}, _plain(cfg)
    changed = sorted(name for name in {*before, *now} - set(FREE) if before.get(name) != now.get(name))
    if changed and not cfg.plan:
        raise UserError(
            f"{output} holds a run with other settings ({', '.join(changed)}): choose another --output, "
            "or say --overwrite to begin anew."
        )
    return last


def _collect(mistakes: list[str], make: Callable[[], Any]) -> Any:
    try:
        return make()
    except UserError as error:
        mistakes.append(str(error))
        return None


def _plain(cfg: Any) -> dict[str, Any]:
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items() if name != "hydra"}
