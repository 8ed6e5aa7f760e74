"""Can the chosen backends run?  Each one's own `check` says so; nothing here knows any of them."""

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
    """One choice of a group, such as swap=landmark: what it is, what it needs, and why it cannot
    run, if so.
    """

    choice: str
    is_chosen: bool
    what: str
    problem: str
    weights: tuple[Weight, ...]
    folder: Path  # of weights

    @property
    def mend(self) -> list[str]:
        """Commands, first those that its own sentence names."""
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
    """The backends of the configuration, in its order."""
    return [_asked(cfg, group, folder, True) for group in _groups(cfg)]


def all_of(cfg: DictConfig, folder: Path) -> Iterator[Backend]:
    """Every backend of every group, those of the configuration as it has them."""
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
    """Weights of the registry that a backend with these options names."""
    try:
        backend = get_class(options["_target_"])
        names = backend.weight_names(options) if issubclass(backend, Stage) else ()
    except (ImportError, MissingMandatoryValue):  # its own check says so
        return ()
    return tuple(weight for weight in WEIGHTS if weight.name in names)


def _groups(cfg: DictConfig) -> list[str]:
    """Of the configuration's backends: what is made of a target, but for the rules of selection,
    which need nothing.
    """
    choices = HydraConfig.get().runtime.choices
    return [
        name for name in cfg if name in choices and name != "select" and "_target_" in cfg[name]
    ]


def _asked(cfg: DictConfig, group: str, folder: Path, is_chosen: bool, name: str = "") -> Backend:
    choice = f"{group}={name or HydraConfig.get().runtime.choices[group]}"
    made, problem = None, ""
    try:
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # what a check has to say besides is for a run
            made = instantiate(cfg[group], _convert_="all")
            _check(made)
    except UserError as error:
        problem = str(error).removesuffix(".")
    except Exception as error:  # a check that breaks is told like one that finds something
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
    """A source says what is wrong with its input when it counts."""
    if isinstance(made, Source):
        made.count()
        made = made.stage()
    made.check()
    if made.needs.gpus and not gpu():
        raise UserError(
            f"it asks for {made.needs.gpus:g} of a GPU and torch sees none: say gpus=0, "
            "or install torch for it"
        )


def _carried(made: Stage | Source | None, problem: str) -> tuple[Weight, ...]:
    """What the packages of a backend that can run carry."""
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
            return f"it asks for {cause.full_key}"
    return " ".join(str(error).split()) or type(error).__name__


def _commands(sentence: str) -> list[str]:
    """What stands between backticks and is a command."""
    return [text for text in re.findall(r"`([^`]+)`", sentence) if " " in text]
