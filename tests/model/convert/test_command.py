"""`python -m model.convert`: sources into a model folder, a model folder into official names;
nothing half-written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from model.convert.export import official_state_dict
from model.motion import positions
from model.pipeline import MegActorPipeline
from tests.fakes import checkpoints
from tests.fakes.checkpoints import assert_equal, official
from tests.faults import call, run


@pytest.fixture(scope="module")
def trained() -> MegActorPipeline:
    return checkpoints.trained()


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory) -> tuple[Path, str]:
    """A model folder by the command, from an official checkpoint, an autoencoder and CLIP in half
    precision.
    """
    tmp_path = tmp_path_factory.mktemp("command")
    halves = {name: tensor.half() for name, tensor in official(trained).items()}
    checkpoint = checkpoints.write(tmp_path / "checkpoint.ckpt", {"state_dict": halves})
    trained.vae.save_pretrained(tmp_path / "vae")
    OmegaConf.save(checkpoints.small(), tmp_path / "small.yaml")
    words = [
        "--preset",
        tmp_path / "small.yaml",
        "--megactor",
        checkpoint,
        "--vae",
        tmp_path / "vae",
    ]
    ended = call("model.convert", *words, "--output", tmp_path / "model")
    assert ended.code == 0, ended.err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.ckpt",
        "model",
        "small.yaml",
        "vae",
    ]
    return tmp_path / "model", ended.out


def test_the_command_writes_a_model_folder_and_says_what_is_random(folder, trained):
    place, told = folder
    model = MegActorPipeline.from_pretrained(place, local_files_only=True)
    expected = {name: tensor.half().float() for name, tensor in official(trained).items()}
    assert_equal(
        official_state_dict(model),
        expected | {n: t for n, t in official(trained).items() if n.endswith(".pe")},
    )
    assert_equal(model.vae.state_dict(), trained.vae.state_dict())
    tables = [name for name, _ in model.unet.named_buffers()]
    assert len(tables) == 20 and torch.equal(model.unet.get_buffer(tables[0]), positions(32, 32))
    assert [line for line in told.splitlines() if line.startswith("RANDOM")] == [
        "RANDOM: 40 of 40 tensors of image_encoder are in no source."
    ]


def test_the_command_writes_official_names(folder, trained, tmp_path):
    ended = call(
        "model.convert",
        "--export",
        tmp_path / "out.safetensors",
        "--from",
        folder[0],
        "--dtype",
        "float16",
    )
    assert ended.code == 0, ended.err
    assert_equal(
        load_file(tmp_path / "out.safetensors"), {n: t.half() for n, t in official(trained).items()}
    )


def test_a_broken_model_folder_is_one_sentence(folder, tmp_path):
    shutil.copytree(folder[0], tmp_path / "broken")
    file = tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    ended = call("model.convert", "--export", tmp_path / "out.ckpt", "--from", tmp_path / "broken")
    sentence = f"error: the model in {tmp_path / 'broken'} cannot be loaded ("
    assert ended.code == 2 and ended.err.splitlines()[-1].startswith(sentence)
    assert not (tmp_path / "out.ckpt").exists()


def test_nothing_is_overwritten_unasked(folder, tmp_path):
    place, _ = folder
    words = ["--preset", place.parent / "small.yaml", "--output"]
    ended = call("model.convert", *words, place)
    assert (
        ended.code == 2
        and ended.err
        == f"error: {place} holds a model: name another --output, or say --overwrite.\n"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    ended = call("model.convert", *words, tmp_path / "mine", "--overwrite")
    assert ended.code == 2 and "exists and is no model" in ended.err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_preset_of_random_weights_goes_in_by_a_process_of_its_own_and_out_again(tmp_path):
    ended = run(
        "model.convert", "--preset", "tiny", "--output", tmp_path / "model", "--dtype", "bfloat16"
    )
    assert ended.code == 0, ended.err
    assert [
        line.split(" of ")[-1] for line in ended.out.splitlines() if line.startswith("RANDOM: ")
    ] == [
        f"{part} are in no source."
        for part in ("unet", "reference_net", "driven_encoder", "image_encoder")
    ]
    ended = call(
        "model.convert", "--export", tmp_path / "out.safetensors", "--from", tmp_path / "model"
    )
    assert ended.code == 0, ended.err
    names = load_file(tmp_path / "out.safetensors").keys()
    assert (
        ended.out
        == f"{tmp_path / 'out.safetensors'}: {len(names)} tensors by their official names.\n"
    )


COMMANDS = {
    "one of them is needed": [],
    "(weights out): one of them is needed": ["--output", "model", "--export", "out.ckpt"],
    "--export needs --from FOLDER": ["--export", "out.ckpt"],
    "nowhere is no model folder (no model_index.json in it)": [
        "--export",
        "out.ckpt",
        "--from",
        "nowhere",
    ],
    "there is no preset 'sd21': sd15 or tiny": ["--output", "model", "--preset", "sd21"],
    "--dtype is 'float8'": ["--output", "model", "--dtype", "float8"],
    "/dev/null/x cannot be written (/dev/null is a file": [
        "--output",
        "/dev/null/x",
        "--preset",
        "nowhere",
    ],
    "/dev/null/x.ckpt cannot be written (": ["--export", "/dev/null/x.ckpt", "--from", "nowhere"],
    f"{'x' * 300}.ckpt cannot be written (": ["--export", f"{'x' * 300}.ckpt", "--from", "nowhere"],
    f"{'x' * 300} cannot be written (": ["--output", "x" * 300],
    "missing.ckpt cannot be read": [
        "--output",
        "model",
        "--preset",
        "tiny",
        "--megactor",
        "missing.ckpt",
    ],
}


@pytest.mark.parametrize("sentence", COMMANDS)
def test_the_command_says_what_is_wrong_and_writes_nothing(sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = call("model.convert", *COMMANDS[sentence])
    assert ended.code == 2 and sentence in ended.err and ended.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


PRESETS = {
    "a: [1": "p.yaml is no model configuration (while parsing",
    "\x00": "p.yaml is no model configuration (",
    "[1, 2]": "it has no _target_, unet, reference_net",
    "words": "is no model configuration (",
    "": "or a YAML file like ",
    "a: ${nothing.there}": "p.yaml is no model configuration (",
    "_target_: builtins.dict\nunet: 1": "it has no reference_net, driven_encoder, vae",
}


@pytest.mark.parametrize("text", PRESETS)
def test_a_preset_that_is_no_model_is_one_sentence(text, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    ended = call("model.convert", "--preset", tmp_path / "p.yaml", "--output", tmp_path / "model")
    assert ended.code == 2 and PRESETS[text] in ended.sentence and "is expected." in ended.sentence
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "place, value, sentence",
    [
        ("unet.channels", 3, "the preset makes no model ("),
        ("unet.block_out_channels", "wide", "the preset makes no model ("),
        ("unet", 3, "a YAML file like those of conf/model is expected."),
        ("vae._target_", "model.nothing.Here", "the preset makes no model ("),
        ("_target_", "builtins.dict", "the preset makes a dict, a MegActorPipeline is expected"),
    ],
)
def test_a_preset_with_wrong_settings_is_one_sentence(place, value, sentence, tmp_path):
    config = checkpoints.small()
    OmegaConf.update(config, place, value, merge=False, force_add=True)
    OmegaConf.save(config, tmp_path / "p.yaml")
    ended = call("model.convert", "--preset", tmp_path / "p.yaml", "--output", tmp_path / "model")
    assert ended.code == 2 and sentence in ended.sentence and not (tmp_path / "model").exists()
