"""A run's checkpoints: written whole or not at all, found again, and made into models, strictly.

step-00001000.ckpt in the run's folder is the state after step 1000. A run goes on from the newest
whole one. DeepSpeed writes a folder of that name in a format of its own.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
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


ModelIdentity = dict[str, Any]  # what `fresh` takes
Checkpoint = dict[str, Any]  # what torch.save has written: weights, states, settings


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, flushes to disk, then renames: a file with the name of a
    checkpoint is whole.
    """

    def save_checkpoint(
        self, checkpoint: Checkpoint, path: Any, storage_options: Any = None
    ) -> None:
        final = Path(path)
        part = final.with_name(f".{final.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, final)
        except (
            RuntimeError
        ) as error:  # torch's archive fails once more where it is closed, and hides what was wrong
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        finally:
            part.unlink(missing_ok=True)


def name_of(step: int) -> str:
    return f"step-{step:08d}.ckpt"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def newest(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest whole checkpoint of a run, and the damaged ones that are newer: path -> reason."""
    damaged: dict[Path, str] = {}
    for path in checkpoints(folder):
        if (fault := _fault(path)) is None:
            return path, damaged
        damaged[path] = fault
    return None, damaged


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, if anything; every byte is read."""
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
    """The model of a checkpoint, with the average of its weights where there is one. UserError if
    the file is no checkpoint.
    """
    checkpoint = read(path)
    own = fresh(**identity(checkpoint, path))
    fill(own, checkpoint, path)
    return own


def identity(checkpoint: Checkpoint, path: Path) -> ModelIdentity:
    """The arguments of `fresh`, from a checkpoint that is not trusted. UserError where it holds
    anything else.
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
    """The model of a folder, or one with random weights, and how its data look. UserError if the
    folder holds a model of another configuration.
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


def fill(own: MegActorPipeline, checkpoint: Checkpoint, path: Path) -> None:
    """Load the animator's weights strictly. UserError that names what is missing, unknown or of
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


def read(path: Path) -> Checkpoint:
    """Read a checkpoint without running code in it. UserError if it is none of ours."""
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


def _mean(checkpoint: Checkpoint) -> dict[str, Tensor]:
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
