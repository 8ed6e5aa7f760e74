"""A folder of SDXL in diffusers' layout: is it one, whole, and which of its files are in use?

All of it is asked by headers and configurations, before any work: names and shapes of every tensor,
nothing loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError
from datagen.core.files import canonical
from datagen.weights.place import sha256_of

Shapes = dict[str, tuple[int, ...]]
FAMILY = "StableDiffusionXL"
AGAIN = "copy or download the whole folder again."
# what runs; no class that a folder names beside these is ever loaded
PARTS = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
OTHERS = {"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer", "scheduler": "Scheduler"}
# the published names' prefix, which transformers 5 has for one of the two encoders only
TEXT = "text_model."
COMPUTED = "position_ids"  # older transformers saved them; they are no weight
TOKENS = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
)


def inspect(folder: Path) -> None:
    """UserError, in one sentence, where the folder is no SDXL, lacks something, or holds tensors
    that do not fit.
    """
    index = _index(folder)
    for part, kind in (PARTS | OTHERS).items():
        entry = index.get(part)
        if not _is_known(part, kind, entry):
            found = ".".join(map(str, entry)) if isinstance(entry, list) else entry
            raise UserError(
                f"{folder} says that its {part} is {found}, {_library(part)}.{kind} is "
                f"expected: {AGAIN}"
            )
    for part in PARTS:
        _compare(folder / part, PARTS[part], weights(folder, part))
    for name in ("tokenizer", "tokenizer_2"):
        if not any((folder / name / file).is_file() for file in TOKENS[:2]):
            raise UserError(
                f"{folder / name} holds no vocabulary, vocab.json and merges.txt are "
                f"expected: {AGAIN}"
            )
    if not (folder / "scheduler" / "scheduler_config.json").is_file():
        raise UserError(f"{folder / 'scheduler'} holds no scheduler_config.json: {AGAIN}")


def inspect_words(folder: Path, prompts: Sequence[str]) -> None:
    """UserError where a prompt is longer than the model reads, which would be cut off without a
    word.
    """
    from transformers import CLIPTokenizer

    from datagen.core.quiet import silence

    for name in ("tokenizer", "tokenizer_2"):
        try:
            with silence():
                tokenizer = CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)
                counts = {prompt: len(tokenizer(prompt).input_ids) for prompt in prompts}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"{folder / name} cannot be read ({' '.join(str(error).split())[:200]}): {AGAIN}"
            ) from error
        for prompt, count in counts.items():
            if count > tokenizer.model_max_length:
                lengths = f"{count} tokens, {tokenizer.model_max_length} are read"
                raise UserError(f"style: the prompt {prompt[:60]!r}... has {lengths}: shorten it.")


def inspect_control(folder: Path, unet: Path) -> None:
    """The same for a ControlNet, which must be made for a UNet like the one in the folder
    `unet`.
    """
    from datagen.weights.tensors import read_json

    if not (folder / "config.json").is_file():
        found = "no config.json in it" if folder.is_dir() else "no folder"
        raise UserError(
            f"style.controlnet={folder} is no ControlNet ({found}): name a folder in "
            "diffusers' layout."
        )
    config, own = read_json(folder / "config.json"), read_json(unet / "config.json")
    if config.get("_class_name") != "ControlNetModel":
        raise UserError(
            f"{folder} holds {config.get('_class_name')}, ControlNetModel is expected: "
            "name another folder."
        )
    for name in ("cross_attention_dim", "block_out_channels", "addition_embed_type"):
        if config.get(name) != own.get(name):
            raise UserError(
                f"the ControlNet in {folder} has {name} {config.get(name)} and the UNet "
                f"{own.get(name)}: "
                "it was made for another model, name one for SDXL."
            )
    _compare(folder, "ControlNetModel", _weights(folder, None))


def variant(folder: Path) -> str | None:
    """None, or "fp16" where a part is there in half precision alone."""
    return None if all(_file(folder / part, None) for part in PARTS) else "fp16"


def weights(folder: Path, part: str) -> Path:
    """The file of a part's weights that is loaded, or its index of shards; UserError where there is
    none.
    """
    return _weights(folder / part, variant(folder))


def files(folder: Path) -> list[Path]:
    """All files on which pictures depend."""
    found = [folder / "model_index.json", folder / "scheduler" / "scheduler_config.json"]
    found += [folder / name / file for name in ("tokenizer", "tokenizer_2") for file in TOKENS]
    for part in PARTS:
        found += [folder / part / "config.json", *_shards(weights(folder, part))]
    return [path for path in found if path.is_file()]


def control_files(folder: Path) -> list[Path]:
    return [folder / "config.json", *_shards(_weights(folder, None))]


def digest_of(folder: Path, files: Sequence[Path]) -> str:
    """sha256 of some files of a folder: their places in it and their contents."""
    digests = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    return hashlib.sha256(canonical(digests).encode()).hexdigest()


def _shards(path: Path) -> Iterator[Path]:
    from datagen.weights.tensors import shards

    yield from shards(path) if path.suffix == ".json" else [path]


def _index(folder: Path) -> dict[str, Any]:
    """model_index.json of an SDXL pipeline."""
    from datagen.weights.tensors import read_json

    if not (folder / "model_index.json").is_file():
        found = "no model_index.json in it" if folder.is_dir() else "no folder"
        raise UserError(
            f"style.model={folder} is no model in diffusers' layout ({found}): name a "
            "folder of SDXL."
        )
    index = read_json(folder / "model_index.json")
    name = str(index.get("_class_name"))
    if not name.startswith(FAMILY):
        raise UserError(
            f"{folder} holds a {name}, {FAMILY}Pipeline is expected: name a folder of SDXL."
        )
    for part in index.keys() - (PARTS | OTHERS).keys():
        if isinstance(index[part], list) and any(index[part]):
            raise UserError(
                f"{folder} has a part {part} ({index[part]}) that is not SDXL's: name "
                "another folder."
            )
    return index


def _is_known(part: str, kind: str, entry: object) -> bool:
    """Whether model_index.json names the library's own class, or the quick twin of a tokenizer."""
    if not (
        isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)
    ):
        return False
    name = entry[1].removesuffix("Fast")
    return entry[0] == _library(part) and (
        name == kind or part == "scheduler" and name.endswith(kind)
    )


def _library(part: str) -> str:
    return "transformers" if part.startswith(("text", "token")) else "diffusers"


def _weights(folder: Path, kind: str | None) -> Path:
    found = (_file(folder, kind) if kind else None) or _file(folder, None) or _file(folder, "fp16")
    if found is None:
        stem = _stem(folder)
        raise UserError(
            f"{folder} holds no weights, {stem}.safetensors or {stem}.fp16.safetensors "
            f"is expected: {AGAIN}"
        )
    return found


def _file(folder: Path, kind: str | None) -> Path | None:
    ending = f".{kind}" if kind else ""
    names = (
        f"{_stem(folder)}{ending}.safetensors",
        f"{_stem(folder)}.safetensors.index{ending}.json",
    )
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _stem(folder: Path) -> str:
    return "model" if folder.name.startswith("text_encoder") else "diffusion_pytorch_model"


def _compare(folder: Path, kind: str, file: Path) -> None:
    """UserError that names the tensors that are missing, unknown or of another shape."""
    from datagen.weights.names import modern, shortened
    from datagen.weights.tensors import shapes

    name_of = modern if kind == PARTS["vae"] else lambda name: name.removeprefix(TEXT)
    expected = {name_of(name): shape for name, shape in _expected(folder, kind).items()}
    found = {
        name_of(name): shape for name, shape in shapes(file).items() if not name.endswith(COMPUTED)
    }
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": [
            name for name, shape in found.items() if expected.get(name, shape) != shape
        ],
    }
    if any(wrong.values()):
        problems = "; ".join(f"{how}: {shortened(names)}" for how, names in wrong.items() if names)
        raise UserError(f"{file} does not fit {folder / 'config.json'} ({problems}): {AGAIN}")


def _expected(folder: Path, kind: str) -> Shapes:
    """By the part's config.json, without memory."""
    from datagen.core.quiet import silence

    if not (folder / "config.json").is_file():
        raise UserError(f"there is no {folder / 'config.json'}: {AGAIN}")
    try:
        with silence():
            return {
                name: tuple(tensor.shape)
                for name, tensor in empty(folder, kind).state_dict().items()
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder / 'config.json'} is no configuration of {kind} ({why}): {AGAIN}"
        ) from error


def empty(folder: Path, kind: str) -> Any:
    """A part by its config.json on the meta device."""
    import diffusers
    import transformers
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        if kind in ("CLIPTextModel", "CLIPTextModelWithProjection"):
            made: Any = getattr(transformers, kind)
            return made(made.config_class.from_pretrained(folder, local_files_only=True))
        made = getattr(diffusers, kind)
        return made.from_config(made.load_config(folder, local_files_only=True))
