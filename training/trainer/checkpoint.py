"""A run's checkpoints: written whole or not at all, found again, and models made of them, strictly.

There is one rule: step-00001000.ckpt in the run's folder is the state after step 1000, and the
newest whole one is what the run goes on from. DeepSpeed writes a folder of that name in its own
way.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import OmegaConf
from torch import Tensor

from datagen.core.errors import UserError
from datagen.core.files import BROKEN_ZIP
from datagen.weights.tensors import refuse_packed
from model.bounds import refuse_absurd, refuse_code
from model.build import instantiate
from model.folder import load
from model.pipeline import MegActorPipeline

IDENTITY = ("config", "folder", "seed", "grey", "margin")  # of a model, in this order


class AtomicCheckpointIO(TorchCheckpointIO):
    """Beside its place first, flushed to disk, then renamed: what has the name of a checkpoint is
    whole.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        place = Path(path)
        part = place.with_name(f".{place.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, place)
        except (
            RuntimeError
        ) as error:  # torch's archive fails once more where it is closed, and hides what was wrong
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        finally:
            part.unlink(missing_ok=True)


def name_of(step: int) -> str:
    return f"step-{step:08d}.ckpt"


def checkpoints(folder: Path) -> list[Path]:
    """Those of a run, the newest first."""
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def newest(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest whole checkpoint of a run, and the damaged ones that are newer, with the
    reason.
    """
    damaged: dict[Path, str] = {}
    for path in checkpoints(folder):
        if (fault := _fault(path)) is None:
            return path, damaged
        damaged[path] = fault
    return None, damaged


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, every byte of it looked at."""
    if path.is_dir():
        return (
            None if (path / "latest").is_file() else "it is not finished"
        )  # DeepSpeed writes that file last
    with contextlib.suppress(*BROKEN_ZIP):
        refuse_packed(path)
        with zipfile.ZipFile(path) as file:
            bad = file.testzip()
        return None if bad is None else f"{bad} in it is damaged"
    return "it is not whole"


def pipeline(path: Path) -> MegActorPipeline:
    """The model of a checkpoint, with the mean of its weights where that was kept. UserError if it
    is none.
    """
    checkpoint = read(path)
    own = fresh(**identity(checkpoint, path))
    fill(own, checkpoint, path)
    return own


def identity(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What `fresh` takes, out of a checkpoint that anybody may have made. UserError where it asks
    for more.
    """
    model = checkpoint["model"]
    try:
        config, folder, seed, grey, margin = (model.get(name) for name in IDENTITY)
        forms = (
            isinstance(config, dict),
            folder is None or isinstance(folder, str),
            type(seed) is int,
        )
        looks = (
            isinstance(grey, bool | None),
            margin is None or (isinstance(margin, float) and margin >= 1),
        )
        if not all((*forms, *looks)) or not model.keys() <= set(IDENTITY):
            raise ValueError("its model is not described as expected")
        refuse_absurd(config)
        refuse_code(config)
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} makes no model ({error}): a checkpoint of python -m training.fit is expected."
        ) from None
    return dict(model)


def fresh(
    config: Any, folder: str | None, seed: int, grey: bool = True, margin: float | None = None
) -> MegActorPipeline:
    """A model of a folder, or else with random weights, and what it is trained on. UserError if the
    folder's is not of this configuration.
    """
    if folder is not None:
        own = load(Path(folder))
        _refuse_other(own, config, folder)
        # the run's own noise schedule, which may be another one than that of the stage before
        own.register_modules(scheduler=instantiate(OmegaConf.create(config).scheduler))
        own.register_to_config(grey=grey, margin=margin)
        return own
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = instantiate(OmegaConf.create(config))
        own.unet.start_with_guess()
        own.register_to_config(grey=grey, margin=margin)
        return own


def fill(own: MegActorPipeline, checkpoint: Mapping[str, Any], path: Path) -> None:
    """The animator's weights, key by key. UserError that names what is missing, left over or of
    another shape.
    """
    weights = dict(checkpoint["state_dict"]) | _mean(checkpoint)
    try:
        own.animator.load_state_dict(
            {name.removeprefix("animator."): value for name, value in weights.items()}
        )
    except RuntimeError as error:
        why = " ".join(str(error).split())[:600]
        raise UserError(
            f"{path} holds another model ({why}): name one of the same model."
        ) from None


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of ours; no code in it is run. UserError if it is none."""
    try:
        if zipfile.is_zipfile(path):
            refuse_packed(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(
            f"there is no checkpoint {path}: a .ckpt of a run, or a model folder, is expected."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # broken bytes make an unpickler raise nearly anything
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} cannot be read ({why}): a whole checkpoint of python -m "
            "training.fit is expected."
        ) from None
    if (
        not isinstance(checkpoint, dict)
        or not {"model", "state_dict", "position"} <= checkpoint.keys()
    ):
        raise UserError(
            f"{path} is no checkpoint of python -m training.fit: name one, or a model folder."
        )
    return checkpoint


def _mean(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    states = [
        state
        for name, state in checkpoint.get("callbacks", {}).items()
        if name.startswith(("EMA", "Mean"))
    ]
    return states[0]["mean"] if states else {}


def _refuse_other(own: MegActorPipeline, config: Any, folder: str) -> None:
    expected = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    assert isinstance(expected, dict)
    wrong = []
    for part in ("unet", "reference_net", "driven_encoder"):
        for key, value in expected[part].items():
            found = getattr(own, part).config.get(key, value)
            if key != "_target_" and _plain(found) != _plain(value):
                wrong.append(f"{part}.{key} is {_plain(found)}, not {_plain(value)}")
    if wrong:
        raise UserError(
            f"the model in {folder} is not the one that is trained ({'; '.join(wrong)}): "
            "set model=... alike."
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
