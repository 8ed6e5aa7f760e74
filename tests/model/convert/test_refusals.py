"""What is no fitting source of weights is refused: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from datagen.core.errors import UserError
from datagen.weights.tensors import read
from model.build import instantiate, preset, skeleton
from model.convert import build
from model.convert import sources as load
from model.convert.export import official_state_dict, write_official
from model.pipeline import MegActorPipeline
from tests.fakes import checkpoints


class Bomb:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


@pytest.fixture(scope="module")
def model() -> MegActorPipeline:
    return instantiate(checkpoints.small())


@pytest.fixture
def official(model) -> dict[str, torch.Tensor]:
    return dict(official_state_dict(model))


def refusal(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def _bomb(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "callbacks": Bomb()}, path)


def _cut(path: Path, share: float = 0.6) -> None:
    whole = path.with_name("whole" + path.suffix)
    checkpoints.write(whole, {"a": torch.rand(1000), "b": torch.rand(1000)})
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1\n"
FILES = {
    "bomb.ckpt": (_bomb, "is a pickle that asks for "),
    "cut.ckpt": (_cut, "is damaged or cut short"),
    "cut.safetensors": (_cut, "is damaged or cut short"),
    "head.safetensors": (lambda path: _cut(path, 0.01), "is damaged or cut short"),
    "start.ckpt": (lambda path: _cut(path, 0.05), "is damaged or cut short"),
    "old.ckpt": (lambda path: path.write_bytes(b"\x80\x02}q\x00X\x05"), "is damaged or cut short"),
    "page.ckpt": (
        lambda path: path.write_text("\n<!DOCTYPE html><html>Sign in</html>"),
        "is a web page",
    ),
    "pointer.safetensors": (lambda path: path.write_text(POINTER), "is a git-lfs pointer"),
    "empty.ckpt": (lambda path: path.touch(), "is empty"),
    "folder.ckpt": (lambda path: path.mkdir(), "is a folder, a file of weights is expected"),
    "nothing.ckpt": (lambda path: None, "cannot be read (No such file or directory)"),
    "picture.ckpt": (
        lambda path: path.write_bytes(b"\x89PNG\r\n"),
        "is neither a safetensors file nor a torch checkpoint",
    ),
    "list.ckpt": (
        lambda path: torch.save([torch.zeros(1)], path),
        "holds no tensors with names (it is a list)",
    ),
    "words.ckpt": (
        lambda path: torch.save({"state_dict": {"a": "b"}}, path),
        "holds no tensors with names",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_weights_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, sentence = FILES[name]
    make(tmp_path / name)
    text = refusal(read, tmp_path / name)
    assert text.startswith(f"{tmp_path / name} {sentence}")
    assert not Path("exploded").exists()


def test_a_pickle_that_would_run_code_is_named_with_what_it_asks_for(tmp_path):
    _bomb(tmp_path / "bomb.ckpt")
    assert "asks for posix.system, which could run any code" in refusal(
        read, tmp_path / "bomb.ckpt"
    )


@pytest.mark.parametrize(
    "told", ["[]", "{", '{"weight_map": {"a": "../outside.safetensors"}}', '{"weight_map": 1}']
)
def test_an_index_that_leads_elsewhere_is_refused(told, tmp_path):
    checkpoints.write(tmp_path / "outside.safetensors", {"a": torch.zeros(1)})
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.parent.mkdir()
    index.write_text(told)
    refusal(read, index)


def test_missing_unknown_and_wrong_tensors_are_told_together(official, model, tmp_path):
    del official["module.unet.conv_in.bias"]
    official["module.unet.conv_in.more"] = torch.zeros(1)
    official["module.pose_guider.weight"] = torch.zeros(1)
    official["module.appearance_encoder.conv_in.weight"] = torch.zeros(32, 9, 3, 3)
    official["module.unet.conv_out.bias"] = torch.zeros(4, dtype=torch.int8)
    text = refusal(load.official_tensors, "it.ckpt", official, model)
    assert "missing: 1 (unet conv_in.bias)" in text
    assert "unknown: 2 (conv_in.more, pose_guider.weight)" in text
    assert "of another shape: 2 (unet conv_out.bias is 4 int8, 4 is expected" in text
    assert "reference_net conv_in.weight is 32x9x3x3, 32x4x3x3 is expected" in text


def test_a_checkpoint_of_another_size_is_told_by_shapes(official):
    text = refusal(load.official_tensors, "small.ckpt", official, skeleton(preset("sd15")))
    assert "unet conv_in.weight is 32x13x3x3, 320x13x3x3 is expected" in text
    assert " and " in text and len(text) < 1000


def test_a_checkpoint_of_another_kind_is_told_by_its_names(model):
    text = refusal(load.official_tensors, "it.ckpt", {"conv_in.weight": torch.zeros(1)}, model)
    assert (
        "it.ckpt is no MegActor checkpoint: names like module.unet.* are expected, found "
        "conv_in.weight" in text
    )


def test_half_a_checkpoint_is_refused(official, model):
    given = {
        name: tensor for name, tensor in official.items() if ".appearance_encoder." not in name
    }
    assert "missing: 660 (reference_net conv_in.weight" in refusal(
        load.official_tensors, "it", given, model
    )


@pytest.mark.parametrize("length", [24, 64])
def test_tables_of_positions_for_another_length_are_refused(length, official, model):
    name = next(
        name
        for name in official
        if name.startswith("module.unet.up_blocks.0.") and name.endswith(".pe")
    )
    official[name] = torch.zeros(1, length, 64)
    text = refusal(load.official_tensors, "it.ckpt", official, model)
    assert f"knows {length} frames, 32 are expected" in text
    assert ("AnimateDiff v1" in text) == (length == 24)


def test_learnt_positions_are_refused(official, model):
    name = next(name for name in official if name.endswith(".pe"))
    official[name] = official[name].flip(1)
    assert "has other positions in down_blocks.0." in refusal(
        load.official_tensors, "it.ckpt", official, model
    )
    official[name] = official[name].flip(1).half()
    load.official_tensors("it.ckpt", official, model)


def _motion(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        n.removeprefix("module.unet."): tensor
        for n, tensor in official.items()
        if ".motion_modules." in n
    }


def test_other_versions_of_animatediff_are_refused_by_name(official, model, tmp_path):
    v3 = _motion(official)
    name = "down_blocks.0.motion_modules.0.temporal_transformer.norm.bias"
    kinds = {
        "is AnimateDiff v2 (its mid block has": v3
        | {name.replace("down_blocks.0", "mid_block"): torch.zeros(1)},
        "is of Stable Diffusion XL (it has no": {
            n: t for n, t in v3.items() if "_blocks.3." not in n
        },
        "is AnimateDiff v1: ": {n: t[:, :24] if n.endswith(".pe") else t for n, t in v3.items()},
        "has no motion modules (found conv_in": {"conv_in.weight": torch.zeros(1)},
        "unknown: 1 (conv_in.weight)": v3 | {"conv_in.weight": torch.zeros(1)},
    }
    for number, (sentence, tensors) in enumerate(kinds.items()):
        path = checkpoints.write(tmp_path / f"{number}.ckpt", tensors)
        assert sentence in refusal(load.motion, path, model)


def test_settings_that_no_shape_shows_are_compared(model, tmp_path):
    checkpoints.image_unet().save_pretrained(tmp_path / "unet")
    config = tmp_path / "unet" / "config.json"
    config.write_text(
        config.read_text().replace('"attention_head_dim": 8', '"attention_head_dim": 4')
    )
    assert "attention_head_dim is 4, not 8" in refusal(load.sd15, tmp_path, model)
    checkpoints.clip().save_pretrained(tmp_path / "clip")
    config = tmp_path / "clip" / "config.json"
    config.write_text(config.read_text().replace("quick_gelu", "gelu"))
    assert "hidden_act is gelu, not quick_gelu" in refusal(
        load.image_encoder, tmp_path / "clip", model
    )


def test_leftovers_of_a_one_file_checkpoint_are_unknown(model, tmp_path):
    tensors = checkpoints.one_file(checkpoints.image_unet(), checkpoints.autoencoder())
    tensors |= {
        "model.diffusion_model.label_emb.0.0.weight": torch.zeros(1),
        "control_model.x": torch.zeros(1),
    }
    del tensors["model.diffusion_model.out.0.bias"]
    text = refusal(load.sd15, checkpoints.write(tmp_path / "one.safetensors", tensors), model)
    assert "missing: 1 (unet conv_norm_out.bias)" in text
    assert "unknown: 2 (" in text and "label_emb.0.0.weight" in text and "control_model.x" in text


def test_a_folder_without_weights_and_an_autoencoder_that_learns_nothing(model, tmp_path):
    text = refusal(load.sd15, tmp_path, model)
    assert "unet/diffusion_pytorch_model.safetensors (or .bin) is expected" in text
    assert "DctAutoencoder" in refusal(load.vae, tmp_path, skeleton(preset("tiny")))


def test_exports_are_refused_before_anything_is_written(model, tmp_path):
    assert "ends in .zip" in refusal(write_official, model, tmp_path / "out.zip")
    (tmp_path / "out.ckpt").write_text("mine")
    assert "exists: name another --export" in refusal(write_official, model, tmp_path / "out.ckpt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_full_disk_is_told_before_writing(model, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    assert "GB are needed: make room" in refusal(build.save, model, tmp_path / "model")
    assert not any(tmp_path.iterdir())


def _broken(folder: Path) -> None:
    folder.mkdir()
    raise OSError("broken")


@pytest.mark.parametrize(
    "write", [_broken, lambda folder: None]
)  # the second: there is nothing to move into place
def test_a_save_that_fails_leaves_the_old_model(write, model, tmp_path, monkeypatch):
    build.save(model, tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(model, "save_pretrained", write)
    with pytest.raises(OSError):
        build.save(model, tmp_path / "model", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    build.save(model, tmp_path / "model", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
