"""Loads a model folder strictly: every tensor by name and shape, none missing, none left over."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from safetensors import SafetensorError, safe_open
from transformers import CLIPVisionModelWithProjection

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from datagen.core.quiet import silence
from datagen.weights.names import modern, shortened
from datagen.weights.tensors import NAMES, read_json, shards
from model.bounds import refuse_absurd
from model.dct import DctAutoencoder
from model.driven import DrivenEncoder
from model.pipeline import MegActorPipeline
from model.unet import DenoisingUNet, ReferenceNet

CLASSES: dict[str, tuple[type, ...]] = {
    "unet": (DenoisingUNet,),
    "reference_net": (ReferenceNet,),
    "driven_encoder": (DrivenEncoder,),
    "vae": (AutoencoderKL, DctAutoencoder),
    "image_encoder": (CLIPVisionModelWithProjection,),
}
OTHERS = {  # library and class names of the other parts
    "feature_extractor": ("transformers", re.compile(r"CLIP(Image|Feature)\w+")),
    "scheduler": ("diffusers", re.compile(r"\w+Scheduler")),
}
COMPUTED = "position_ids"  # not a weight; older transformers saved it
Shapes = dict[str, tuple[int, ...]]


def load(folder: Path, dtype: torch.dtype = torch.float32) -> MegActorPipeline:
    """From safetensors only. UserError if the folder is no whole model, or holds anything else."""
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"{folder} is no model folder (no model_index.json in it): name one that "
            "model.convert wrote."
        )
    with _one_sentence(folder), silence():
        _compare(folder)
        pipeline = MegActorPipeline.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, local_files_only=True
        )
        _refuse_meta(pipeline)
    return pipeline


def longest_window(folder: Path) -> int:
    """The most frames that the model in this folder sees at once, without loading it."""
    with _one_sentence(folder):
        frames = read_json(folder / "unet" / "config.json").get("motion_max_seq_length", 32)
        if type(frames) is not int:
            raise ValueError(
                f"motion_max_seq_length in unet/config.json is {frames!r}, a whole "
                "number is expected"
            )
    return frames


@contextlib.contextmanager
def _one_sentence(folder: Path) -> Iterator[None]:
    """Turns any error about the folder into one sentence."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the libraries raise nearly anything where a configuration is odd
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise
        why = " ".join(str(error).split())[:600].rstrip(".") or type(error).__name__
        raise UserError(
            f"the model in {folder} cannot be loaded ({why}): make it again with model.convert."
        ) from error


def _compare(folder: Path) -> None:
    """ValueError that names all tensors that are missing, unknown or of another shape."""
    index = read_json(folder / "model_index.json")
    _refuse_foreign(index)
    for path in (
        folder / "scheduler" / "scheduler_config.json",
        folder / "feature_extractor" / "preprocessor_config.json",
    ):
        if path.is_file():
            refuse_absurd(read_json(path))
    missing, unknown, wrong = [], [], []
    for part in CLASSES:
        expected, found = _expected(folder, part, index.get(part)), _found(folder / part)
        if part == "vae":
            found = {modern(name): shape for name, shape in found.items()}
        missing += [f"{part} {name}" for name in expected if name not in found]
        unknown += [
            f"{part} {name}"
            for name in found
            if name not in expected and not name.endswith(COMPUTED)
        ]
        both = {name: shape for name, shape in found.items() if expected.get(name, shape) != shape}
        wrong += [
            f"{part} {name} is {_shape(both[name])}, not {_shape(expected[name])}" for name in both
        ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": wrong}
    if any(kinds.values()):
        raise ValueError(
            "; ".join(f"{kind}: {shortened(names)}" for kind, names in kinds.items() if names)
        )


def _refuse_foreign(index: JsonObject) -> None:
    """ValueError where a folder names an unknown class, or a file of code, as a part."""
    if index.get("_class_name") != MegActorPipeline.__name__:
        raise ValueError(
            f"model_index.json is of {index.get('_class_name')!r:.60}, not of MegActorPipeline"
        )
    for part, config in index.items():
        known = {(_library(each), each.__name__) for each in CLASSES.get(part, ())}
        library, names = OTHERS.get(part, ("", re.compile("")))
        if isinstance(config, list) and part[0] != "_":
            is_other = len(config) == 2 and config[0] == library and names.fullmatch(str(config[1]))
            if not is_other and tuple(map(str, config)) not in known:
                raise ValueError(
                    f"model_index.json says that {part:.60} is {config!r:.100}, which is "
                    "no part of a model"
                )


def _library(kind: type) -> str:
    """The library of a class, as diffusers writes it."""
    first = kind.__module__.partition(".")[0]
    return first if first in ("diffusers", "transformers") else kind.__module__


def _expected(folder: Path, part: str, config: Any) -> Shapes:
    """The shapes that the part's config.json implies; allocates nothing."""
    name = config[1] if isinstance(config, list) and len(config) == 2 else config
    kind: Any = {each.__name__: each for each in CLASSES[part]}.get(str(name))
    if kind is None:
        names = " or ".join(each.__name__ for each in CLASSES[part])
        raise ValueError(f"model_index.json says that {part} is {name}, {names} is expected")
    if not (folder / part / "config.json").is_file():
        raise ValueError(f"there is no {part}/config.json")
    refuse_absurd(read_json(folder / part / "config.json"))
    with init_empty_weights(include_buffers=False):
        if part == "image_encoder":
            empty = kind(kind.config_class.from_pretrained(folder / part, local_files_only=True))
        else:
            empty = kind.from_config(kind.load_config(folder / part, local_files_only=True))
    return {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}


def _found(folder: Path) -> Shapes:
    """The shapes in the headers of the part's safetensors, in one file or several."""
    files = [folder / name for name in NAMES if ".safetensors" in name and ".fp16" not in name]
    present = [path for path in files if path.is_file()]
    if len(present) != 1:
        raise ValueError(
            f"{folder.name} holds {len(present)} files of weights, one .safetensors or "
            "index is expected"
        )
    found: Shapes = {}
    for path in shards(present[0]) if present[0].suffix == ".json" else present:
        found |= _header(path)
    return found


def _header(path: Path) -> Shapes:
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path.parent.name}/{path.name} is damaged or missing: {error}"
        ) from error


def _refuse_meta(pipeline: MegActorPipeline) -> None:
    """ValueError for tensors that no file filled: a safeguard, since `_compare` has found none."""
    empty = [
        f"{part} {name}"
        for part in CLASSES
        for name, tensor in [
            *getattr(pipeline, part).named_parameters(),
            *getattr(pipeline, part).named_buffers(),
        ]
        if tensor.is_meta
    ]
    if empty:
        raise ValueError(f"left empty: {shortened(empty)}")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
