"""Weights of others into a model folder, and a model folder into an official checkpoint.

python -m model.convert --megactor checkpoint-steps9000.ckpt --vae sd-vae-ft-mse \
    --image-encoder clip --output model
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datagen.cli import command
from datagen.core.errors import UserError
from datagen.core.text import text_of
from datagen.options import option

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

DTYPES = ("float32", "float16", "bfloat16")


@dataclass
class ConvertOptions:
    output: str | None = option(None, "folder to write, in diffusers' layout, safetensors")
    preset: str = option("sd15", "sd15 or tiny of conf/model, or a YAML file like them")
    sd15: str | None = option(
        None,
        "Stable Diffusion 1.5: a folder in diffusers' layout, or one .safetensors or .ckpt; "
        "fills both UNets",
    )
    appearance: str | None = option(
        None, "MagicAnimate's appearance_encoder: folder or file; fills the ReferenceNet"
    )
    megactor: str | None = option(
        None, "an official MegActor checkpoint; fills both UNets and the DrivenEncoder"
    )
    motion: str | None = option(None, "AnimateDiff v3's motion modules (v3_sd15_mm.ckpt)")
    vae: str | None = option(None, "the autoencoder (sd-vae-ft-mse): folder or file")
    image_encoder: str | None = option(None, "CLIP ViT-L/14: folder or file")
    dtype: str = option("float32", "float32, float16 or bfloat16")
    export: str | None = option(
        None, "write this file by its official names instead: .safetensors, or .ckpt"
    )
    from_: str | None = option(None, "the model folder that is exported")
    overwrite: bool = option(False, "replace an existing model folder or file")


@command("convert", ConvertOptions)
def main(cfg: DictConfig) -> int:
    if (cfg.output is None) == (cfg.export is None):
        raise UserError(
            "--output FOLDER (weights in) or --export FILE --from FOLDER (weights out): "
            "one of them is needed."
        )
    if cfg.export is not None:
        return _export(Path(str(cfg.export)), cfg.from_, _dtype(cfg.dtype), cfg.overwrite)
    return _import(cfg)


def _import(cfg: DictConfig) -> int:
    from model.build import preset, skeleton
    from model.convert import build
    from model.convert.sources import SOURCES

    folder, dtype = Path(str(cfg.output)), _dtype(cfg.dtype)
    build.refuse_existing(folder, cfg.overwrite)
    config = preset(str(cfg.preset))
    shapes = skeleton(config)
    loaded = [
        load(Path(str(cfg[name])), shapes)
        for name, load in SOURCES.items()
        if cfg[name] is not None
    ]
    for source in loaded:
        print(text_of(source.report))
    tensors = build.gathered(loaded)
    pipeline = build.build(config, tensors, dtype)
    build.save(pipeline, folder, cfg.overwrite)
    for part, names in build.unloaded(pipeline, tensors).items():
        count = sum(1 for _ in getattr(pipeline, part).parameters())
        print(f"RANDOM: {len(names)} of {count} tensors of {part} are in no source.")
    print(f"{folder}: {cfg.preset}, {cfg.dtype}.")
    return 0


def _export(path: Path, folder: str | None, dtype: torch.dtype, overwrite: bool) -> int:
    if folder is None:
        raise UserError("--export needs --from FOLDER, a model folder.")
    from model.convert.export import refuse_export, write_official
    from model.folder import load

    refuse_export(path, overwrite)
    count = write_official(load(Path(str(folder))), path, dtype, overwrite)
    print(f"{path}: {count} tensors by their official names.")
    return 0


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise UserError(f"--dtype is {name!r}, {' or '.join(DTYPES)} is expected.")
    import torch

    return getattr(torch, name)


if __name__ == "__main__":
    main()
