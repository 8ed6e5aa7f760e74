"""Which parameters are trained, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from datagen.core.errors import UserError
from training.optim.muon import Muon
from training.optim.options import optim_mistakes


def train_only(model: nn.Module, paths: Sequence[str]) -> None:
    """Train the parameters below these module paths and freeze all others. UserError for a path
    that names nothing.
    """
    names = [name for name, _ in model.named_modules()]
    for path in paths:
        if not any(fnmatchcase(name, path) for name in names):
            raise UserError(
                f"optim.trainable names {path!r}, which is no module: such as "
                "unet.*.motion_modules is expected."
            )
    for name, parameter in model.named_parameters():
        parents = name.split(".")[:-1]
        above = [".".join(parents[: n + 1]) for n in range(len(parents))]
        parameter.requires_grad_(
            any(fnmatchcase(parent, path) for parent in above for path in paths)
        )


def vectors(model: nn.Module) -> frozenset[str]:
    """Names of the parameters of norms and biases. To be called before FSDP flattens all of them
    into vectors.
    """
    return frozenset(name for name, parameter in model.named_parameters() if parameter.ndim < 2)


def groups(
    model: nn.Module, decay_all: bool = False, without_decay: frozenset[str] | None = None
) -> list[dict[str, Any]]:
    """Groups of trainable parameters; those `without_decay`, by default the vectors, have none."""
    still = frozenset() if decay_all else vectors(model) if without_decay is None else without_decay
    own = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    flat = [parameter for name, parameter in own.items() if name in still]
    rest = [parameter for name, parameter in own.items() if name not in still]
    return [
        group
        for group in ({"params": rest}, {"params": flat, "weight_decay": 0.0})
        if group["params"]
    ]


def optimizer(
    model: nn.Module, cfg: DictConfig, without_decay: frozenset[str] | None = None
) -> torch.optim.Optimizer:
    """conf/optim/*.yaml. UserError in torch's words for numbers that it refuses."""
    options = {
        "lr": cfg.lr,
        "betas": tuple(cfg.betas),
        "eps": cfg.eps,
        "weight_decay": cfg.weight_decay,
    }
    own = groups(model, cfg.decay_all, without_decay)
    try:
        return _class(cfg)(_parted(model, own) if cfg.muon else own, **options)
    except ValueError as error:
        raise UserError(f"optim: {error}.") from None


def refuse(model: nn.Module, cfg: DictConfig) -> None:
    """The UserErrors of `optimizer`, except for those that `optim_mistakes` already reports."""
    if not any(optim_mistakes(cfg)):
        optimizer(model, cfg)


def _parted(model: nn.Module, own: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For Muon: inner matrices in groups of their own, without those at the networks' ends (arXiv
    2502.16982, section 2.1).
    """
    ends = {"conv_in", "conv_out", "spatial_conv_out"}
    inner = {
        id(p)
        for name, p in model.named_parameters()
        if p.ndim > 1 and not ends & {*name.split(".")}
    }
    parted = []
    for group in own:
        for is_inner in (True, False):
            parameters = [p for p in group["params"] if (id(p) in inner) == is_inner]
            parted += (
                [{**group, "params": parameters, "orthogonal": is_inner}] if parameters else []
            )
    return parted


def _class(cfg: DictConfig) -> Any:
    if cfg.muon:
        return Muon
    if not cfg.eight_bit:
        return torch.optim.AdamW
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            "optim.eight_bit wants the package bitsandbytes: pip install bitsandbytes, "
            "or leave it out."
        ) from None
    return AdamW8bit


def schedule(
    own: torch.optim.Optimizer, cfg: DictConfig, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Factors of the learning rate: linear warm-up, then constant, or a half cosine to zero at
    `steps`.
    """

    def factor(step: int) -> float:
        if step < cfg.warmup:
            return (step + 1) / (cfg.warmup + 1)
        if cfg.decay == "constant":
            return 1.0
        progress = (step - cfg.warmup) / max(steps - cfg.warmup, 1)
        return 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))

    return torch.optim.lr_scheduler.LambdaLR(own, factor)
