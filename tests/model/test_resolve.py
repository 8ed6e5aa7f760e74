"""A model folder is loaded whole or not at all: what is missing, left over or of another shape is
named.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from datagen.core.errors import UserError
from model import animate
from model.resolve import choose

STEMS = {"image_encoder": "model"}
PARTS = ("unet", "reference_net", "driven_encoder", "image_encoder", "vae")
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    choose("tiny", None, "cpu").load().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def weights(folder: Path, part: str) -> Path:
    return folder / part / f"{STEMS.get(part, 'diffusion_pytorch_model')}.safetensors"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        choose(None, str(folder), "cpu").load()
    text = str(caught.value)
    assert (
        text.startswith(f"the model in {folder} cannot be loaded (")
        and "\n" not in text
        and len(text) < 800
    )
    return text


def _missing(tensors: Tensors, name: str) -> str:
    del tensors[name]
    return f"missing: 1 (PART {name})"


def _extra(tensors: Tensors, name: str) -> str:
    tensors["more.weight"] = torch.zeros(2)
    return "unknown: 1 (PART more.weight)"


def _wrong(tensors: Tensors, name: str) -> str:
    shape = "x".join(map(str, tensors[name].shape))
    tensors[name] = torch.zeros(3, 1, 2)
    return f"of another shape: 1 (PART {name} is 3x1x2, not {shape})"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("change", [_missing, _extra, _wrong])
def test_a_part_that_does_not_fit_is_named(
    change: Callable[[Tensors, str], str], part, folder, capfd
):
    path = weights(folder, part)
    tensors = load_file(path)
    sentence = change(tensors, sorted(tensors)[-1])
    save_file(tensors, path, metadata={"format": "pt"})
    assert sentence.replace("PART", part) in refusal(folder)
    assert capfd.readouterr() == ("", "")


def test_parts_are_told_together(folder):
    for part in ("unet", "vae"):
        tensors = load_file(weights(folder, part))
        _extra(tensors, "")
        save_file(tensors, weights(folder, part), metadata={"format": "pt"})
    assert "unknown: 2 (unet more.weight, vae more.weight)" in refusal(folder)


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_file_is_named(part, folder):
    weights(folder, part).write_bytes(b"damaged")
    assert f"{part}/{weights(folder, part).name} is damaged" in refusal(folder)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_weights_or_settings(part, folder):
    weights(folder, part).unlink()
    assert f"{part} holds 0 files of weights" in refusal(folder)
    (folder / part / "config.json").unlink()
    assert f"there is no {part}/config.json" in refusal(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"unet": ["os", "system"]}'])
def test_an_index_of_another_kind(text, folder):
    (folder / "model_index.json").write_text(text)
    with pytest.raises(UserError):
        choose(None, str(folder), "cpu").load()


def test_an_old_table_of_positions_is_no_weight_and_shards_are_one(folder, capfd):
    path = weights(folder, "image_encoder")
    tensors = load_file(path) | {"vision_model.embeddings.position_ids": torch.arange(17)}
    save_file(tensors, path, metadata={"format": "pt"})
    _in_shards(weights(folder, "unet"))
    loaded, expected = choose(None, str(folder), "cpu").load(), choose("tiny", None, "cpu").load()
    assert capfd.readouterr() == ("", "")
    for part in PARTS:
        state = getattr(loaded, part).state_dict()
        assert all(
            torch.equal(tensor, state[name])
            for name, tensor in getattr(expected, part).state_dict().items()
        )


def _in_shards(path: Path) -> None:
    tensors = load_file(path)
    path.unlink()
    places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for place in set(places.values()):
        half = {name: tensor for name, tensor in tensors.items() if places[name] == place}
        save_file(half, path.with_name(place), metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    path.with_name(path.name + ".index.json").write_text(json.dumps(index))


def test_the_longest_window_is_known_before_loading(folder):
    assert choose("tiny", None, "cpu").longest_window() == 32
    config = folder / "unet" / "config.json"
    config.write_text(
        config.read_text().replace('"motion_max_seq_length": 32', '"motion_max_seq_length": 24')
    )
    assert choose(None, str(folder), "cpu").longest_window() == 24
    config.write_text('{"motion_max_seq_length": "long"}')
    with pytest.raises(UserError, match="a whole number is expected"):
        choose(None, str(folder), "cpu").longest_window()


def test_a_folder_has_no_preset_and_a_preset_no_folder(folder):
    assert (
        choose(None, str(folder), "cpu").preset is None
        and choose("tiny", None, "cpu").preset == "tiny"
    )
    with pytest.raises(UserError, match="name two models: leave one of them out"):
        choose("tiny", str(folder), "cpu")


@pytest.mark.parametrize(
    "options, advice",
    [
        (
            {},
            "try a machine with more memory, or end other programs on this one; nothing "
            "was written.",
        ),
        ({"official": True, "closed": True}, "try leaving out --official; nothing"),
        ({"closed": True, "batch": 2}, "try --batch 1 or --closed false; nothing"),
        ({"preset": None}, "try --preset tiny; nothing"),
        ({"preset": None, "weights": "model"}, "try a machine with more memory"),
    ],
)
def test_out_of_memory_names_only_what_helps(options, advice):
    least = {
        "preset": "tiny",
        "weights": None,
        "window": 2,
        "batch": 1,
        "closed": False,
        "official": False,
    }
    assert advice in animate._out_of_memory(OmegaConf.create(least | {"dtype": "auto"} | options))
