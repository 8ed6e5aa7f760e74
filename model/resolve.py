"""Which model a command runs, on which device, in which precision: checked first, loaded later."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from datagen.cli import CONF
from datagen.core.errors import UserError
from datagen.core.files import canonical, file_sha256
from datagen.weights.registry import FOLDER
from model.build import instantiate, preset
from model.folder import load, longest_window
from model.pipeline import MegActorPipeline

UNTRAINED = ("tiny",)  # presets that may run with random weights
RANDOM = 0  # the seed of random weights
USUAL = "sd15"  # the default preset
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Choice:
    """A folder of weights, or a preset with random ones."""

    preset: str | None  # none where a folder is named
    folder: Path | None
    device: torch.device
    dtype: torch.dtype  # of the work, under autocast

    def load(self) -> MegActorPipeline:
        """UserError if the folder holds no whole model."""
        kept = (
            torch.float32 if self.device.type == "cpu" else self.dtype
        )  # a CPU's norms take no mixture
        pipeline = (
            _random(self.preset or USUAL, kept) if self.folder is None else load(self.folder, kept)
        )
        pipeline.animator.eval()
        return pipeline.to(self.device)

    def longest_window(self) -> int:
        """The most frames that the model sees at once, read from its files without loading it."""
        if self.folder is not None:
            return longest_window(self.folder)
        return int(preset(self.preset or USUAL).unet.motion_max_seq_length)

    def identity(self) -> dict[str, str | None]:
        """What identifies this model."""
        if self.folder is None:
            return {"preset": self.preset, "weights": f"random, seed {RANDOM}"}
        return {"folder": self.folder.resolve().name, "sha256": _digest(self.folder)}


def choose(
    preset: str | None, weights: str | None, device: str = "auto", dtype: str = "auto"
) -> Choice:
    """UserError for what is not there or not possible."""
    presets = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    if preset is not None and weights is not None:
        raise UserError(
            f"--preset {preset} and --weights {weights} name two models: leave one of them out."
        )
    named = preset if weights is not None else preset or USUAL
    if named is not None and named not in presets:
        raise UserError(f"there is no preset {preset!r}: {' or '.join(presets)} is expected.")
    if dtype not in ("auto", *DTYPES):
        raise UserError(f"dtype is {dtype!r}: auto, {' or '.join(DTYPES)} is expected.")
    kind = _device(device)
    usual = "float32" if kind.type == "cpu" else "bfloat16"
    return Choice(
        named,
        _folder(preset or USUAL, weights),
        kind,
        getattr(torch, usual if dtype == "auto" else dtype),
    )


def refuse_window(frames: int, most: int, name: str) -> None:
    """UserError for a window longer than the model's longest. `name` is the option that sets it."""
    if frames > most:
        raise UserError(
            f"{name} is {frames}, at most {most} frames are expected, which this model "
            "sees at once."
        )


def _folder(preset: str, weights: str | None) -> Path | None:
    if weights is None and preset in UNTRAINED:
        return None
    folder = FOLDER / f"megactor-{preset}" if weights is None else Path(weights)
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"there is no model in {folder}: make one there with python -m "
            "model.convert, name another with --weights, "
            f"or try --preset {UNTRAINED[0]}, which has random weights."
        )
    return folder


def _device(name: str) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    kind, _, number = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(kind, 0)
    if not (number or "0").isdigit() or int(number or 0) >= count:
        raise UserError(
            f"there is no device {name!r} here: "
            f"{'auto, cpu or cuda' if has_gpu else 'cpu'} is expected."
        )
    return torch.device(name)


def _random(name: str, dtype: torch.dtype) -> MegActorPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM)
        pipeline = instantiate(preset(name))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(
                part, dtype
            )  # diffusers' own warns of parts to be kept in float32, of which there are none
    return pipeline


def _digest(folder: Path) -> str:
    """Of the names and contents of all files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files]
    return hashlib.sha256(canonical(rows).encode()).hexdigest()
