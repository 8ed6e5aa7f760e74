"""A command's configuration, checked and made into what runs: source, stages, rules, store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from datagen.core.errors import UserError
from datagen.engine.clip import Clip
from datagen.engine.exclude import Excluded
from datagen.engine.pipeline import Pipeline
from datagen.engine.stage import Stage
from datagen.engine.store import Store
from datagen.media.video import encoder_id
from datagen.shards.selection import Selection
from datagen.sources.base import Source
from datagen.stages import in_order, stage_names

RUNNERS = ("ray", "local")


@dataclass
class Job:
    """What a command is asked to do, checked."""

    cfg: DictConfig
    source: Source
    pipeline: Pipeline
    store: Store
    selection: Selection

    @classmethod
    def of(cls, cfg: DictConfig) -> Job:
        """UserError that lists all mistakes of the configuration at once."""
        mistakes, excluded = _mistakes(cfg), Excluded()
        try:
            excluded = Excluded.read(cfg.exclude)
        except UserError as error:
            mistakes.append(str(error).removesuffix("."))
        made = _components(cfg, mistakes)
        if mistakes:
            raise UserError("; ".join(mistakes) + ".")
        source, selection = made.pop("source"), made.pop("select")
        source.leave_out([Path(folder) for folder in (cfg.store, cfg.get("output")) if folder])
        source.count()  # says at once what is wrong with the input
        split = next((stage for stage in made.values() if stage.splits), None)
        stages = in_order(stage for stage in made.values() if not stage.splits)
        selection.refuse_unknown({*stage_names(), *(stage.name for stage in stages)})
        _check(cfg, stages)
        pipeline = Pipeline(source.stage(), stages, selection, split, excluded)
        return cls(cfg, source, pipeline, _store(cfg.store), selection)

    @property
    def ledger_path(self) -> Path:
        return ledger_path(self.cfg.store)

    def clips(self) -> Iterator[Clip]:
        return islice(self.source.plan(), self.cfg.limit)

    def count(self) -> int:
        return min(self.source.count(), self.cfg.limit or sys.maxsize)


def ledger_path(store: str) -> Path:
    """Beside the artifacts; for a remote store in a local folder named after it."""
    local = store.removeprefix("file://")
    if "://" not in local:
        return Path(local) / "ledger.jsonl"
    return Path("data") / "ledgers" / store.replace("://", "-").replace("/", "-") / "ledger.jsonl"


def _mistakes(cfg: DictConfig) -> list[str]:
    """What is wrong with the command's own options."""
    mistakes = []
    for name in ("workers", "limit", "shard_samples", "shard_mb"):
        value = cfg.get(name)
        if value is not None and (type(value) is not int or value < 1):
            mistakes.append(
                f"--{name.replace('_', '-')} is {value!r}, a whole number from 1 is expected"
            )
    mistakes += [
        f"--{name} is empty, a folder is expected"
        for name in ("store", "output")
        if cfg.get(name) == ""
    ]
    if cfg.runner not in RUNNERS:
        mistakes.append(f"--runner is {cfg.runner!r}, {' or '.join(RUNNERS)} is expected")
    if not isinstance(cfg.deadline_s, int | float) or cfg.deadline_s <= 0:
        mistakes.append(f"--deadline-s is {cfg.deadline_s!r}, seconds above 0 are expected")
    return mistakes


def _components(cfg: DictConfig, mistakes: list[str]) -> dict[str, Any]:
    """Whatever the configuration has a `_target_` for: the source, the stages, the rules.

    What is wrong with them is added to `mistakes`.
    """
    made: dict[str, Any] = {}
    kinds = {"source": Source, "select": Selection}
    for name in (str(key) for key in cfg if _is_component(cfg, str(key))):
        try:
            made[name] = _make(cfg, name, kinds.get(name, Stage))
        except UserError as error:
            mistakes.append(str(error).removesuffix("."))
    return made


def _is_component(cfg: DictConfig, name: str) -> bool:
    if OmegaConf.is_missing(cfg, name):
        return False
    return isinstance(cfg[name], DictConfig) and "_target_" in cfg[name]


def _make(cfg: DictConfig, name: str, kind: type) -> Any:
    try:
        made = instantiate(cfg[name], _convert_="all")
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{name}: {' '.join(str(cause).split())}") from None
    if not isinstance(made, kind):
        raise UserError(f"{name}._target_ is no {kind.__name__}: see docs/extending.md")
    return made


def _check(cfg: DictConfig, stages: Any) -> None:
    """UserError for what a stage lacks: weights, folders, a GPU."""
    for stage in stages:
        stage.check()
        if cfg.runner == "local" or cfg.ray.address == "local":
            stage.check_here()


def _store(root: str) -> Store:
    try:
        return Store(root, encoder_id())
    except (ValueError, ImportError) as error:
        raise UserError(f"--store {root}: {' '.join(str(error).split())}") from None
