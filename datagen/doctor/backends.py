"""Can the chosen backends run? Each one's own `check` decides; no backend is known here by name."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from datagen.core.errors import UserError
from datagen.doctor.machine import gpu
from datagen.engine.stage import Stage
from datagen.sources.base import Source
from datagen.weights.registry import BY_HAND, WEIGHTS, Weight

CONFIG = "datagen/doctor"


@dataclass(frozen=True)
class Backend:
    """One choice of a group, such as swap=landmark; `problem` says why it cannot run."""

    choice: str
    is_chosen: bool
    what: str
    problem: str
    weights: tuple[Weight, ...]
    folder: Path  # of the weights

    @property
    def mend(self) -> list[str]:
        """The commands that fix the problem, first those that its sentence names."""
        if not self.problem:
            return []
        missing = [w for w in self.weights if w.missing(self.folder) and w.host != BY_HAND]
        return list(
            dict.fromkeys(
                [
                    *_commands(self.problem),
                    *(f"python -m datagen.weights fetch {w.name}" for w in missing),
                ]
            )
        )


def chosen(cfg: DictConfig, folder: Path) -> list[Backend]:
    """The configured backends, in the order of the configuration."""
    return [_asked(cfg, group, folder, True) for group in _groups(cfg)]


def all_of(cfg: DictConfig, folder: Path) -> Iterator[Backend]:
    """Every backend of every group; the configured ones with their configured options."""
    for group in _groups(cfg):
        for name in GlobalHydra.instance().config_loader().get_group_options(group):
            if name == HydraConfig.get().runtime.choices[group]:
                yield _asked(cfg, group, folder, True)
            else:
                overrides = [
                    override
                    for override in HydraConfig.get().overrides.task
                    if not re.match(rf"[+~]*{group}[.=]", override)
                ]
                yield _asked(
                    compose(CONFIG, [*overrides, f"{group}={name}"]), group, folder, False, name
                )


def needed(options: Mapping[str, Any]) -> tuple[Weight, ...]:
    """The weights in the registry that a backend with these options uses."""
    try:
        backend = get_class(options["_target_"])
        names = backend.weight_names(options) if issubclass(backend, Stage) else ()
    except (ImportError, MissingMandatoryValue):  # its own check reports that
        return ()
    return tuple(weight for weight in WEIGHTS if weight.name in names)


def _groups(cfg: DictConfig) -> list[str]:
    """The groups of backends in the configuration, without `select`, which needs nothing."""
    choices = HydraConfig.get().runtime.choices
    return [
        name for name in cfg if name in choices and name != "select" and "_target_" in cfg[name]
    ]


def _asked(cfg: DictConfig, group: str, folder: Path, is_chosen: bool, name: str = "") -> Backend:
    choice = f"{group}={name or HydraConfig.get().runtime.choices[group]}"
    made, problem = None, ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # notes of a check are meant for a run
            made = instantiate(cfg[group], _convert_="all")
            _check(made)
    except UserError as error:
        problem = str(error).removesuffix(".")
    except Exception as error:  # a check that crashes is reported like one that fails
        problem = _sentence(error)
    return Backend(
        choice,
        is_chosen,
        _what(made),
        problem,
        needed(cfg[group]) or _carried(made, problem),
        folder,
    )


def _check(made: Stage | Source) -> None:
    """UserError if it cannot run. A source checks its input when it counts its clips."""
    if isinstance(made, Source):
        made.count()
        made = made.stage()
    made.check()
    if made.needs.gpus and not gpu():
        raise UserError(
            f"it needs {made.needs.gpus:g} of a GPU and torch finds none: set gpus=0, or "
            "install torch for your GPU"
        )


def _carried(made: Stage | Source | None, problem: str) -> tuple[Weight, ...]:
    """The weights that ship with the packages of a backend that can run."""
    stage = made.stage() if isinstance(made, Source) else made
    used = stage.weights() if stage is not None and not problem else {}
    return tuple(weight for weight in WEIGHTS if weight.name in used)


def _what(made: Stage | Source | None) -> str:
    return (type(made).__doc__ or "").strip().partition("\n")[0] if made is not None else ""


def _sentence(error: BaseException) -> str:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, UserError):
            return str(cause).removesuffix(".")
        if isinstance(cause, ModuleNotFoundError):
            return f"the Python package {cause.name} is not installed"
        if isinstance(cause, MissingMandatoryValue):
            return f"it needs {cause.full_key}"
    return " ".join(str(error).split()) or type(error).__name__


def _commands(sentence: str) -> list[str]:
    """The commands between backticks."""
    return [text for text in re.findall(r"`([^`]+)`", sentence) if " " in text]
