"""The objective of a configuration."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from datagen.core.errors import UserError


def objective(cfg: Any, schedule: Any) -> Any:
    """An Objective for a model with this noise schedule; UserError where the options do not fit
    it.
    """
    try:
        return instantiate(cfg.objective, schedule=schedule, seed=cfg.seed)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(f"{error.__cause__}.") from None
        raise
