"""Weights of others come in whole and go out unchanged; what does not fit is refused in one
sentence.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from datagen.weights.tensors import read
from model import build as presets
from model.animator import Animator, Reference
from model.convert import build
from model.convert import sources as load
from model.convert.export import official_state_dict, write_official
from model.convert.matching import fill
from model.convert.names import from_official, to_official
from model.motion import positions
from model.pipeline import MegActorPipeline
from tests.conftest import REPOSITORY
from tests.fakes import checkpoints
from tests.fakes.checkpoints import assert_equal, official

GOLDEN = REPOSITORY.parent / "shared" / "reference" / "golden"
KEYS = REPOSITORY / "tests" / "fixtures" / "official_keys_full.json.gz"


@pytest.fixture(scope="module")
def skeleton() -> MegActorPipeline:
    return presets.skeleton(checkpoints.small())


@pytest.fixture(scope="module")
def trained() -> MegActorPipeline:
    return checkpoints.trained()


def test_every_official_name_and_shape_at_full_size_goes_in_and_out():
    pipeline = presets.skeleton(presets.preset("sd15"))
    with gzip.open(KEYS) as file:
        known = json.load(file)
    shapes = {
        f"module.{part}.{name}": (*entry["shape"],)
        for part in ("unet", "appearance_encoder")
        for name, entry in known[part].items()
    }
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    tensors |= {
        name: positions(*shape[1:]) for name, shape in shapes.items() if name.endswith(".pe")
    }

    loaded = load.official_tensors("the official names", tensors, pipeline)

    assert loaded.report.matched == {"unet": 1206, "driven_encoder": 54, "reference_net": 662}
    assert [len(names) for names in loaded.report.ignored.values()] == [40]
    assert not loaded.report.kept
    out = official_state_dict(pipeline)
    assert {name: (*tensor.shape,) for name, tensor in out.items()} == shapes
    assert len(out) == 1300 + 662


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("temporal_transformer.proj_in.weight", "proj_in.weight"),
        (
            "temporal_transformer.transformer_blocks.0.attention_blocks.1.to_q.weight",
            "transformer_blocks.0.attn2.to_q.weight",
        ),
        (
            "temporal_transformer.transformer_blocks.0.norms.0.bias",
            "transformer_blocks.0.norm1.bias",
        ),
        (
            "temporal_transformer.transformer_blocks.0.ff_norm.bias",
            "transformer_blocks.0.norm3.bias",
        ),
    ],
)
def test_motion_modules_names(theirs, ours):
    place = "up_blocks.1.motion_modules.2."
    assert from_official(place + theirs) == place + ours
    assert to_official(place + ours) == place + theirs
    same = "up_blocks.1.attentions.2.transformer_blocks.0.norm1.bias"
    assert from_official(same) == same == to_official(same)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("layout", ["official.ckpt", "bare.ckpt", "out.safetensors"])
def test_an_official_checkpoint_comes_in_and_goes_out_bit_for_bit(
    prefix, layout, trained, skeleton, tmp_path
):
    tensors = {
        name.replace("module.", prefix, 1): tensor for name, tensor in official(trained).items()
    }
    tensors[f"{prefix}vae.encoder.conv_in.weight"] = torch.zeros(1)
    tensors[f"{prefix}text_encoder.text_model.final_layer_norm.bias"] = torch.zeros(1)
    state = (
        {"epoch": 3, "global_step": 9000, "state_dict": tensors}
        if layout.startswith("official")
        else tensors
    )
    path = checkpoints.write(tmp_path / layout, state)

    loaded = load.official(path, skeleton)
    model = build.build(checkpoints.small(), build.gathered([loaded]), torch.float32)

    assert_equal(official_state_dict(model), official(trained))
    told = str(loaded.report)
    assert "not trained (see --vae): 1 (" in told and "no text is used: 1 (" in told
    assert "54 of driven_encoder" in told


@pytest.mark.parametrize("name", ["out.safetensors", "out.ckpt"])
def test_what_was_written_is_read_again(name, trained, skeleton, tmp_path):
    count = write_official(trained, tmp_path / name)
    loaded = load.official(tmp_path / name, skeleton)
    other = presets.instantiate(checkpoints.small())
    fill(other, loaded)
    assert_equal(official_state_dict(other), official(trained))
    assert count == len(official(trained))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden tensors in ../shared are not here")
def test_a_converted_official_checkpoint_predicts_the_golden_noise(skeleton, tmp_path):
    state = {
        f"module.{part}.{name}": tensor.float()
        for part in ("unet", "appearance_encoder")
        for name, tensor in load_file(GOLDEN / f"weights_{part}.safetensors").items()
    }
    path = checkpoints.write(tmp_path / "golden.ckpt", {"state_dict": state})
    model = build.build(
        checkpoints.small(), build.gathered([load.official(path, skeleton)]), torch.float32
    )
    a, b, c = (
        load_file(GOLDEN / f"{name}.safetensors")
        for name in ("a_driven_encoder", "b_reference_net", "c_denoise_no_cfg")
    )
    reference = Reference(
        picture=_pixels(a["in.reference_u8"]),
        latents=b["in.ref_latents"],
        sample=c["in.ref_vae_latents"][:, :, 0],
        background=c["in.mask"][:, :, 0],
        tokens=b["in.clip_tokens"],
    )
    animator = Animator(model.unet, model.reference_net, model.driven_encoder)
    with torch.no_grad():
        noise = animator(
            c["in.noisy_latents"],
            b["in.timesteps"],
            _pixels(a["in.driving_u8"]).transpose(1, 2),
            reference,
        )
    assert (noise - c["out"]).norm() / c["out"].norm() < 1e-5


def _pixels(u8: torch.Tensor) -> torch.Tensor:
    return u8.float() / 255


def _sources(tmp_path: Path) -> dict[str, Path]:
    """The same Stable Diffusion 1.5 in every layout."""
    unet, vae = checkpoints.image_unet(), checkpoints.autoencoder()
    one = checkpoints.one_file(unet, vae)
    for name, is_safe in (("folder", True), ("pickles", False)):
        unet.save_pretrained(tmp_path / name / "unet", safe_serialization=is_safe)
        vae.save_pretrained(tmp_path / name / "vae", safe_serialization=is_safe)
    unet.save_pretrained(tmp_path / "shards" / "unet", max_shard_size="2MB")
    assert len([*(tmp_path / "shards" / "unet").glob("*.safetensors")]) > 1
    vae.save_pretrained(tmp_path / "shards" / "vae")
    old = checkpoints.old_attention(vae.state_dict())
    checkpoints.write(tmp_path / "pickles" / "vae" / "diffusion_pytorch_model.bin", old)
    checkpoints.write(tmp_path / "one.safetensors", one)
    checkpoints.write(tmp_path / "one.ckpt", {"state_dict": one, "global_step": 1})
    names = ("folder", "pickles", "shards", "one.safetensors", "one.ckpt")
    return {name: tmp_path / name for name in names}


def test_stable_diffusion_is_the_same_from_every_layout(skeleton, tmp_path):
    unet, vae = checkpoints.image_unet().state_dict(), checkpoints.autoencoder().state_dict()
    for name, place in _sources(tmp_path).items():
        loaded = load.sd15(place, skeleton)
        conv_in = loaded.tensors["unet"].pop("conv_in.weight")
        assert torch.equal(conv_in[:, :4], unet["conv_in.weight"]), name
        assert conv_in.shape[1] == 13 and not conv_in[:, 4:].any()
        assert_equal(
            loaded.tensors["unet"], {n: t for n, t in unet.items() if n != "conv_in.weight"}
        )
        assert_equal(loaded.tensors["vae"], vae)
        reference = loaded.tensors["reference_net"]
        assert_equal(reference, {n: unet[n] for n in reference})
        assert reference.keys() == skeleton.reference_net.state_dict().keys()
        assert len(unet) - len(reference) == 24
        assert loaded.report.kept.keys() == {"unet"}
        assert len(loaded.report.kept["unet"]) == 20 * 26


def test_parts_that_stable_diffusion_lacks_keep_their_initialisation(skeleton, tmp_path):
    place = checkpoints.write(tmp_path / "unet.safetensors", checkpoints.image_unet().state_dict())
    model = build.build(
        checkpoints.small(), build.gathered([load.sd15(place, skeleton)]), torch.float32
    )
    ends = [
        tensor
        for name, tensor in model.unet.state_dict().items()
        if ".motion_modules.0.proj_out" in name
    ]
    assert ends and not any(tensor.any() for tensor in ends)
    assert model.driven_encoder.spatial_conv_out.weight.any()
    assert torch.equal(model.unet.conv_in.bias, checkpoints.image_unet().conv_in.bias)


@pytest.mark.parametrize("layout", ["v3", "state_dict", "adapter", "module.unet"])
def test_motion_modules_come_from_animatediff_and_touch_nothing_else(
    layout, trained, skeleton, tmp_path
):
    unet = {
        n.removeprefix("module.unet."): t
        for n, t in official(trained).items()
        if ".motion_modules." in n
    }
    if layout == "adapter":
        unet = {
            from_official(n).replace("attn1.pos_encoder", "pos_embed"): t for n, t in unet.items()
        }
        unet = {n: t for n, t in unet.items() if "pos_encoder" not in n}
    if layout == "module.unet":
        unet = {f"module.unet.{n}": t for n, t in unet.items()}
    state = {"state_dict": unet, "animatediff_config": {}} if layout == "state_dict" else unet
    loaded = load.motion(checkpoints.write(tmp_path / "v3_sd15_mm.ckpt", state), skeleton)
    expected = {n: t for n, t in trained.unet.state_dict().items() if ".motion_modules." in n}
    assert_equal(loaded.tensors["unet"], expected)
    assert loaded.tensors.keys() == {"unet"}


@pytest.mark.parametrize("is_cut", [True, False])
def test_the_appearance_encoder_comes_whole_or_cut(is_cut, skeleton, tmp_path):
    whole = checkpoints.image_unet(5).state_dict()
    own = skeleton.reference_net.state_dict().keys()
    given = {name: tensor for name, tensor in whole.items() if name in own or not is_cut}
    checkpoints.write(
        tmp_path / "appearance_encoder" / "diffusion_pytorch_model.safetensors", given
    )
    loaded = load.appearance(tmp_path, skeleton)
    assert_equal(loaded.tensors["reference_net"], {name: whole[name] for name in own})
    assert len(loaded.report.ignored.get("the ReferenceNet ends before", [])) == (
        0 if is_cut else 24
    )


def test_the_autoencoder_comes_alone_too(skeleton, tmp_path):
    vae = checkpoints.autoencoder()
    vae.save_pretrained(tmp_path / "folder")
    bare = checkpoints.ldm_vae(vae.state_dict()) | {"loss.logvar": torch.zeros(1)}
    for place in (
        tmp_path / "folder",
        checkpoints.write(tmp_path / "vae.ckpt", {"state_dict": bare}),
    ):
        assert_equal(load.vae(place, skeleton).tensors["vae"], vae.state_dict())


def test_clip_comes_without_its_text_tower(skeleton, tmp_path):
    tower = checkpoints.clip()
    tower.save_pretrained(tmp_path / "clip")
    rest = {"text_model.final_layer_norm.bias": torch.zeros(2), "logit_scale": torch.tensor(1.0)}
    rest["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    checkpoints.write(tmp_path / "clip" / "model.safetensors", tower.state_dict() | rest)
    loaded = load.image_encoder(tmp_path / "clip", skeleton)
    assert_equal(loaded.tensors["image_encoder"], tower.state_dict())
    assert [len(names) for names in loaded.report.ignored.values()] == [3]


def test_pickles_of_before_torch_1_6_are_read(tmp_path):
    tensors = {"a": torch.rand(3), "b": torch.rand(2).half()}
    torch.save({"state_dict": tensors}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert_equal(read(tmp_path / "old.ckpt"), tensors)
