"""The official implementation's numbers (../shared/reference/golden), to a relative error of
1e-5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from model.animator import Animator, Reference
from model.background import BackgroundTokens, preparation, vision_tower
from model.convert.names import from_official
from model.driven import DrivenEncoder
from model.latents import Latents
from model.motion import MotionModule
from model.pipeline import MegActorPipeline, SamplingSettings, _Sampler
from model.schedule import official_inference, official_training
from model.unet import DenoisingUNet, ReferenceNet
from tests.model.parts import GOLDEN, error, load

ALIKE = 1e-5
DRIVEN = "condition_input_layer."
WIDTHS = {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 32, "norm_num_groups": 8}


@cache
def animator() -> Animator:
    """The official networks of the golden files."""
    official = {name: tensor.float() for name, tensor in load("weights_unet.safetensors").items()}
    unet, reference_net, driven = DenoisingUNet(**WIDTHS), ReferenceNet(**WIDTHS), DrivenEncoder()
    unet.load_state_dict(
        {
            from_official(n): t
            for n, t in official.items()
            if not n.startswith(DRIVEN) and not n.endswith(".pe")
        }
    )
    driven.load_state_dict(
        {n.removeprefix(DRIVEN): t for n, t in official.items() if n.startswith(DRIVEN)}
    )
    reference_net.load_state_dict(
        {n: t.float() for n, t in load("weights_appearance_encoder.safetensors").items()}
    )
    return Animator(unet, reference_net, driven).eval()


@cache
def latents() -> Latents:
    autoencoder = AutoencoderKL(**config()["vae"])
    autoencoder.load_state_dict({n: t.float() for n, t in load("weights_vae.safetensors").items()})
    return Latents(autoencoder, chunk=3)


def config() -> dict:
    load("a_driven_encoder.safetensors")
    return json.loads((GOLDEN / "manifest.json").read_text())["config"]


@dataclass(frozen=True)
class Case:
    """Inputs that files a, b and c share."""

    noisy: Tensor
    timesteps: Tensor
    driving: Tensor
    reference: Reference

    def row(self, number: int) -> Case:
        one = slice(number, number + 1)
        reference = Reference(*(part[one] for part in vars(self.reference).values()))
        return Case(self.noisy[one], self.timesteps[one], self.driving[one], reference)


@cache
def case(reference_latents: str = "in.ref_latents") -> Case:
    a, b, c = (
        load(f"{f}.safetensors")
        for f in ("a_driven_encoder", "b_reference_net", "c_denoise_no_cfg")
    )
    latents = (
        b[reference_latents]
        if reference_latents in b
        else load("g_pipeline_train.safetensors")[reference_latents]
    )
    reference = Reference(
        picture=a["in.reference_u8"] / 255,
        latents=latents,
        sample=c["in.ref_vae_latents"][:, :, 0],
        background=c["in.mask"][:, :, 0],
        tokens=b["in.clip_tokens"],
    )
    return Case(
        c["in.noisy_latents"],
        b["in.timesteps"],
        a["in.driving_u8"].transpose(1, 2) / 255,
        reference,
    )


@torch.no_grad()
def test_driven_encoder():
    golden, driven = load("a_driven_encoder.safetensors"), animator().driven_encoder
    assert error(driven(case().driving, case().reference.picture), golden["out"]) < ALIKE
    stage = driven.spatial(case().driving[:, :, 0])
    assert error(stage, golden["mid.stage3_frame0"]) < ALIKE
    scale, shift = driven.modulation(case().reference.picture)
    assert error(torch.cat([scale, shift], 2).flatten(1), golden["mid.refer_scale_shift"]) < ALIKE


@torch.no_grad()
def test_reference_features():
    golden = load("b_reference_net.safetensors")
    features = animator().features(case().timesteps, case().reference)
    assert len(features) == len(animator().unet.reference_blocks) == 10
    for name, feature in zip(animator().unet.reference_blocks, features, strict=True):
        assert error(feature, golden[f"out.bank.{name}"]) < ALIKE, name


def test_reference_blocks_are_all_that_the_official_ones_are():
    blocks = animator().reference_net.reference_blocks
    assert blocks == animator().unet.reference_blocks
    assert set(blocks) == set(
        json.loads((GOLDEN / "manifest.json").read_text())["reference_blocks_in_order"]
    )


@torch.no_grad()
def test_denoising_with_and_without_reference():
    golden, model, c = load("c_denoise_no_cfg.safetensors"), animator(), case()
    driven = model.driven_encoder(c.driving, c.reference.picture)
    features = model.features(c.timesteps, c.reference)
    assert (
        error(model.denoise(c.noisy, c.timesteps, features, driven, c.reference), golden["out"])
        < ALIKE
    )
    without = model.denoise(c.noisy, c.timesteps, (), driven, c.reference)
    assert error(without, golden["out.no_reference"]) < ALIKE


@torch.no_grad()
def test_every_layer_of_the_denoiser():
    golden, model, c = load("c_denoise_no_cfg.safetensors"), animator(), case()
    frames, found = c.noisy.shape[2], {}
    wanted = [name.removeprefix("mid.") for name in golden if name.startswith("mid.")]

    def keep(name: str):
        def hook(module, inputs, output):
            pictures = output[0] if isinstance(output, tuple) else output
            found[name] = pictures.unflatten(0, (-1, frames)).transpose(1, 2)

        return hook

    hooks = [model.unet.get_submodule(name).register_forward_hook(keep(name)) for name in wanted]
    model(c.noisy, c.timesteps, c.driving, c.reference)
    for hook in hooks:
        hook.remove()
    assert len(wanted) == 13
    for name in wanted:
        assert error(found[name], golden[f"mid.{name}"]) < ALIKE, name


@torch.no_grad()
def test_guidance():
    golden, model, c = load("d_denoise_cfg.safetensors"), animator(), case().row(0)
    timestep = golden["in.timestep"][None]
    driven = model.driven_encoder(c.driving, c.reference.picture)
    features = model.features(timestep, c.reference)
    given = (c.noisy, timestep, features, driven, c.reference)
    assert error(model.denoise(*given), golden["out.cond"]) < ALIKE
    assert error(model.guided(*given, guidance=4.5), golden["out.guided_4p5"]) < ALIKE
    assert error(model.guided(*given, guidance=0.0), golden["out.uncond"]) < ALIKE


@torch.no_grad()
def test_motion_module():
    golden = load("e_motion_module.safetensors")
    module = MotionModule(64, 8, 32)
    given = {
        n.removeprefix("weight."): t.float() for n, t in golden.items() if n.startswith("weight.")
    }
    prefix = "down_blocks.0.motion_modules.0."
    names = {
        n: from_official(prefix + n).removeprefix(prefix) for n in given if not n.endswith(".pe")
    }
    module.load_state_dict({names[n]: given[n] for n in names})
    for name, pe in ((n, t) for n, t in given.items() if n.endswith(".pe")):
        assert error(module.transformer_blocks[0].pe[:, : pe.shape[1]], pe) < ALIKE, name
    frames = golden["in"].shape[2]
    found = (
        module(golden["in"].transpose(1, 2).flatten(0, 1), frames)
        .unflatten(0, (-1, frames))
        .transpose(1, 2)
    )
    assert error(found, golden["out"]) < ALIKE


@torch.no_grad()
def test_training_call_with_the_autoencoders_mean():
    golden, pictures = (
        load("g_pipeline_train.safetensors"),
        load("f_pipeline_infer.safetensors")["in.source_u8"] / 255,
    )
    assert error(latents().mean(pictures), golden["mid.ref_latents"]) < ALIKE
    c = case("mid.ref_latents")
    assert error(animator()(c.noisy, c.timesteps, c.driving, c.reference), golden["out"]) < ALIKE


class Frames:
    """Golden driving frames; asked for once each."""

    def __init__(self, pictures: Tensor):
        self.pictures, self.read_until = pictures, 0

    def __len__(self) -> int:
        return self.pictures.shape[1]

    def read(self, frames: range) -> Tensor:
        assert frames.start == self.read_until
        self.read_until = frames.stop
        return self.pictures[:, frames.start : frames.stop]


@pytest.mark.parametrize("batch", [1, 2, 5])
@torch.no_grad()
def test_the_official_pipeline_in_closed_windows(batch):
    """10 frames, windows of 4 that overlap by 2 and wrap, 3 steps, guidance 4.5, the decoded
    video.
    """
    f, c = load("f_pipeline_infer.safetensors"), case().row(0)
    vision = vision_tower(**{**config()["clip"], "projection_dim": 32})
    pipeline = MegActorPipeline(
        animator().unet,
        animator().reference_net,
        animator().driven_encoder,
        latents().autoencoder,
        vision,
        preparation(56),
        official_inference(),
    )
    reference = Reference(
        picture=c.reference.picture,
        latents=latents().mean(f["in.source_u8"][:1] / 255),
        sample=f["in.ref_vae_latents"][:, :, 0],
        background=f["in.mask"][:, :, 0],
        tokens=c.reference.tokens,
    )
    settings = SamplingSettings(
        steps=3, guidance=4.5, window=4, overlap=2, closed=True, batch=batch
    )
    sampler = _Sampler(
        pipeline, reference, Frames(f["in.driving_u8"][0].transpose(0, 1) / 255), settings
    )
    loop = sampler.loop()
    loop.start = lambda frame: f["in.initial_latents"][0, :, frame]
    found = torch.stack([x for _, x in loop.run()], dim=1)
    assert error(found[None], f["out.final_latents"]) < ALIKE
    video = latents().decode(found.transpose(0, 1))
    assert error(video[[0, 3, 6, 9]].transpose(0, 1)[None], f["out.video"]) < 5e-4


def test_schedules():
    h = load("h_schedulers.safetensors")
    told = json.loads((GOLDEN / "scheduler_and_windows.json").read_text())
    training, inference = official_training(), official_inference()
    assert error(training.alphas_cumprod, h["train.alphas_cumprod"]) < ALIKE
    assert error(inference.alphas_cumprod, h["infer.alphas_cumprod"]) < ALIKE
    assert (
        error(training.add_noise(h["train.x0"], h["train.noise"], h["train.t"]), h["train.noisy"])
        < ALIKE
    )
    for steps, expected in told["infer_timesteps"].items():
        inference.set_timesteps(int(steps))
        assert inference.timesteps.tolist() == expected


@torch.no_grad()
def test_background_tokens():
    j, a = load("j_clip_tokens.safetensors"), load("a_driven_encoder.safetensors")
    tower = vision_tower(**config()["clip"])
    given = {n.removeprefix("weight."): t.float() for n, t in j.items() if n.startswith("weight.")}
    result = tower.load_state_dict(given, strict=False)
    assert not result.unexpected_keys and all(
        "position_ids" in name for name in result.missing_keys
    )
    pictures = [picture.permute(1, 2, 0).numpy() for picture in a["in.reference_u8"]]
    background = BackgroundTokens(tower, preparation(56))
    assert error(background.pixels(pictures), j["mid.pixel_values"]) < ALIKE
    assert error(background(pictures), j["out.tokens"]) < ALIKE
    full = BackgroundTokens(tower, preparation(224)).pixels(pictures[:1])
    assert error(full, j["mid.pixel_values_224_frame0"]) < 1e-3  # kept in float16


@torch.no_grad()
def test_half_precision():
    """bfloat16 under autocast against the golden noise; the weights alone, rounded, are 1.1 %
    off.
    """
    golden, c = load("c_denoise_no_cfg.safetensors"), case()
    with torch.autocast("cpu", torch.bfloat16):
        noise = animator()(c.noisy, c.timesteps, c.driving, c.reference)
        features = animator().features(c.timesteps, c.reference)
    assert error(noise, golden["out"]) < 0.02
    banks = load("b_reference_net.safetensors")
    for name, feature in zip(animator().unet.reference_blocks, features, strict=True):
        assert error(feature, banks[f"out.bank.{name}"]) < 0.02, name
