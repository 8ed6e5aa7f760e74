"""The objective of a configuration: the noise that is added, and the loss."""

from __future__ import annotations

from typing import Any

from diffusers import DDIMScheduler
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from datagen.core.errors import UserError
from training.objective.denoise import TrainingLoss
from training.objective.noise import OPTIONS, NoiseSampler


def configured_loss(cfg: DictConfig, schedule: DDIMScheduler) -> TrainingLoss:
    """For a model with this noise schedule; UserError where the options do not fit it, or the data
    do not hold what the loss reads.
    """
    noise = {name: _made(cfg.objective[name]) for name in OPTIONS if name in cfg.objective}
    rest = {name: value for name, value in cfg.objective.items() if name not in OPTIONS}
    try:
        loss: TrainingLoss = instantiate(rest, sampler=NoiseSampler(schedule, cfg.seed, **noise))
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(f"{error.__cause__}.") from None
        if isinstance(error.__cause__, TypeError):
            raise UserError(
                f"objective: {error.__cause__}: an experiment may set it; let the class take it, "
                "or leave it out with ~objective.NAME."
            ) from None
        raise
    except ValueError as error:
        raise UserError(f"{error}.") from None
    if lacking := sorted(set(loss.needs) - set(cfg.data.extras)):
        needed = ",".join(sorted({*cfg.data.extras, *lacking}))
        raise UserError(
            f"{type(loss).__name__} reads {' and '.join(lacking)} of the clips: say "
            f"data.extras=[{needed}]."
        )
    return loss


def _made(value: Any) -> Any:
    return instantiate(value) if OmegaConf.is_config(value) else value
