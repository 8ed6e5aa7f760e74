"""The folder of a run: checkpoints, settings, and the model at the end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from datagen.core.errors import UserError
from datagen.core.files import clear_parts, write_atomically
from datagen.core.json import JsonObject
from model.pipeline import MegActorPipeline
from training.trainer.checkpoint import checkpoints, newest

SETTINGS = "config.json"  # the run's settings; a folder without it is not a run's
OURS = ("model", "log", "validation")
# Options that may differ when a run continues: they do not change what is learned.
FREE = (
    *(
        "name",
        "output",
        "max_steps",
        "plan",
        "overwrite",
        "progress",
        "log_every",
        "keep",
        "checkpoint_every",
        "most_bad",
        "trainer",
    ),
    *(
        "logger",
        "compile",
        "gradient_checkpointing",
        "validate_every",
        "validation_cases",
        "validation_steps",
    ),
    *("validation_guidance", "validation_window", "validation_minutes"),
    *("data.workers", "data.prefetch", "data.memory_mb"),
)
BOUND = {"trainer.precision"}  # exceptions to FREE


@dataclass(frozen=True)
class RunFolder:
    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def resumed(self, cfg: DictConfig) -> Path | None:
        """The newest whole checkpoint of the same run. UserError where the settings differ and
        `overwrite` is false, where all are damaged, or where the folder is not a run's.
        """
        self._refuse_foreign()
        if cfg.overwrite:
            return None
        path, damaged = newest(self.folder)
        if path is None and damaged:
            raise UserError(
                f"no checkpoint in {self.folder} is whole: say --overwrite to begin anew."
            )
        changed = [] if path is None else self._changed(cfg)
        if changed and not cfg.plan:
            raise UserError(
                f"{self.folder} holds a run with other settings ({'; '.join(changed)}): "
                "choose another --output, "
                "or say --overwrite to begin anew."
            )
        return path

    def begin(self, cfg: DictConfig, resumed: Path | None) -> None:
        """Prepare the folder for writing. A run that is not resumed is removed from it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if resumed is None:  # before new settings lie beside old checkpoints
                self._clear()
            write_atomically(self.folder / SETTINGS, json.dumps(plain(cfg), indent=1).encode())
        except PermissionError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}): choose another --output."
            ) from None
        except (FileExistsError, NotADirectoryError):
            raise UserError(
                f"{self.folder} is, or is in, a file: choose another --output."
            ) from None
        clear_parts(self.folder)
        if resumed is None:
            return
        for path, fault in newest(self.folder)[1].items():
            print(
                f"{path} is damaged ({fault}): put aside as {path.name}.damaged.",
                file=sys.stderr,
                flush=True,
            )
            path.rename(path.with_name(f"{path.name}.damaged"))
        print(f"goes on from {resumed}", file=sys.stderr, flush=True)

    def save(self, pipeline: MegActorPipeline) -> None:
        """Write the whole model, as python -m model.animate --weights takes it. The old one stays
        until the new one is complete.
        """
        part = self.model.with_name(".model.part")
        shutil.rmtree(part, ignore_errors=True)
        pipeline.save_pretrained(part)
        shutil.rmtree(self.model, ignore_errors=True)
        part.rename(self.model)

    def _refuse_foreign(self) -> None:
        if not self.folder.is_dir() or (self.folder / SETTINGS).is_file():
            return
        names = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        if names:
            raise UserError(
                f"{self.folder} holds something else than a run "
                f"({', '.join(names[:3])}): choose another --output."
            )

    def _changed(self, cfg: DictConfig) -> list[str]:
        """Settings that differ from those that the run was started with and are not FREE."""
        path = self.folder / SETTINGS
        before, now = (
            _flat(json.loads(path.read_text()) if path.exists() else {}),
            _flat(plain(cfg)),
        )
        bound = BOUND | (
            {"max_steps"} if cfg.optim.decay == "cosine" else set()
        )  # it sets every step's rate
        differ = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        names = [name for name in differ if name in bound or not _is_free(name)]
        return [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names]

    def _clear(self) -> None:
        for path in [*checkpoints(self.folder), *(self.folder / name for name in OURS)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def plain(cfg: DictConfig) -> JsonObject:
    """The configuration as JSON, without Hydra's own part."""
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items() if name != "hydra"}


def _flat(value: Any, above: str = "") -> JsonObject:
    """{"optim.lr": 1e-5, ...}"""
    return dict(_pairs(value, above))


def _pairs(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _pairs(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in FREE)
