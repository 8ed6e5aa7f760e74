"""Mistakes in the options of a run, found before anything is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from training.optim.options import optim_mistakes

POSITIVE = (
    "max_steps",
    "accumulate",
    "checkpoint_every",
    "keep",
    "log_every",
    "validation_steps",
    "validation_window",
)
NOT_NEGATIVE = ("validate_every", "validation_cases", "most_bad", "seed")
SHARDED = ("fsdp", "deepspeed")  # strategies whose ranks hold a share of the training's state each
PACKAGES = {"deepspeed": "trainer.strategy", "wandb": "logger"}


def option_mistakes(cfg: DictConfig) -> Iterator[str]:
    """One phrase for each mistake that the options alone show."""
    for names, least in ((POSITIVE, 1), (NOT_NEGATIVE, 0)):
        for name in names:
            if type(cfg[name]) is not int or cfg[name] < least:
                yield f"{name} is {cfg[name]!r}, a whole number from {least} is expected"
    yield from optim_mistakes(cfg.optim)
    yield from _model_mistakes(cfg.model)
    if cfg.optim.decay not in ("constant", "cosine"):
        yield f"optim.decay is {cfg.optim.decay!r}, constant or cosine is expected"
    if cfg.optim.muon and (cfg.optim.eight_bit or strategy(cfg) in SHARDED):
        other = (
            "optim.eight_bit=true" if cfg.optim.eight_bit else f"trainer.strategy={strategy(cfg)}"
        )
        yield f"optim.muon does not go with {other}: say optim.muon=false"
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available() and not cfg.plan:
        yield "there is no GPU here: say trainer=cpu"
    if cfg.optim.ema is not None and strategy(cfg) in SHARDED:
        yield (
            f"optim.ema wants whole weights on every rank, which {strategy(cfg)} has not: "
            "say optim.ema=null"
        )
    needed = {
        "deepspeed": strategy(cfg) == "deepspeed",
        "wandb": "Wandb" in str((cfg.logger or {}).get("_target_")),
    }
    for package, is_needed in needed.items():
        if is_needed and importlib.util.find_spec(package) is None:
            yield (
                f"{PACKAGES[package]} wants the package {package}: pip install {package}, or "
                "choose another"
            )


def strategy(cfg: DictConfig) -> str:
    """fsdp, deepspeed or what else conf/trainer names."""
    chosen = cfg.trainer.strategy
    name = str(chosen._target_ if OmegaConf.is_config(chosen) else chosen).lower()
    return next((sharded for sharded in SHARDED if sharded in name), name)


def _model_mistakes(model: Any) -> Iterator[str]:
    """Parts of a preset that do not fit each other."""
    schedule = model.scheduler
    if model.unet.get("residual") and not (
        schedule.get("zero_snr") and schedule.get("prediction") == "v_prediction"
    ):
        yield (
            "model.unet.residual is for a velocity, from noise without signal: "
            "model.scheduler.prediction=v_prediction "
            "and zero_snr=true are expected, or model.unet.residual=null"
        )
