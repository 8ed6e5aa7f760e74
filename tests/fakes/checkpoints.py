"""Small random checkpoints in the layouts that others publish, by names written down here on their
own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from model.build import PARTS, instantiate, preset
from model.convert.export import official_state_dict
from model.pipeline import MegActorPipeline

WIDTHS = [32, 64, 64, 64]
VAE_WIDTHS = [8, 8, 16, 16]
HEADS, GROUPS, CONTEXT = 8, 8, 32
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def small() -> Any:
    """The golden tensors' sizes, as a preset."""
    unet = {
        "block_out_channels": WIDTHS,
        "norm_num_groups": GROUPS,
        "cross_attention_dim": CONTEXT,
        "num_attention_heads": HEADS,
    }
    vae = {
        "block_out_channels": VAE_WIDTHS,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 64,
    }
    clip = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    clip |= {"image_size": 56, "projection_dim": CONTEXT}
    reference_net = {key: unet[key] for key in unet}
    return OmegaConf.merge(
        preset("sd15"),
        {"unet": unet, "reference_net": reference_net, "vae": vae, "image_encoder": clip},
    )


def randomised(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """No parameter keeps what it began with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def trained() -> MegActorPipeline:
    """A small model no tensor of which is as it was initialised."""
    pipeline = instantiate(small())
    for seed, part in enumerate(PARTS):
        randomised(getattr(pipeline, part), seed)
    return pipeline


def official(model: MegActorPipeline) -> dict[str, Tensor]:
    """A checkpoint of its own memory."""
    return {name: tensor.clone() for name, tensor in official_state_dict(model).items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Name by name, bit by bit."""
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def image_unet(seed: int = 1) -> Any:
    """Stable Diffusion's UNet, by diffusers."""
    from diffusers import UNet2DConditionModel

    sizes = {
        "block_out_channels": tuple(WIDTHS),
        "norm_num_groups": GROUPS,
        "cross_attention_dim": CONTEXT,
    }
    return randomised(UNet2DConditionModel(sample_size=16, attention_head_dim=HEADS, **sizes), seed)


def autoencoder(seed: int = 2) -> Any:
    return randomised(instantiate(small().vae), seed)


def clip(seed: int = 3) -> Any:
    return randomised(instantiate(small().image_encoder), seed)


def old_attention(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder as diffusers named it when Stable Diffusion came out."""
    new = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    return {_replaced(name, new): tensor for name, tensor in tensors.items()}


def one_file(unet: Any, vae: Any) -> dict[str, Tensor]:
    """Stable Diffusion's own names, with some of what else is in such a file."""
    image = {
        f"model.diffusion_model.{ldm_unet(name)}": tensor
        for name, tensor in unet.state_dict().items()
    }
    rest = {
        "cond_stage_model.transformer.x": torch.zeros(1),
        "model_ema.decay": torch.tensor(0.9),
        "betas": torch.ones(3),
    }
    return (
        image
        | {f"first_stage_model.{name}": t for name, t in ldm_vae(vae.state_dict()).items()}
        | rest
    )


def ldm_unet(name: str) -> str:
    """Blocks are numbered through, in and out; three to a level."""
    for ours, theirs in UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return theirs + _resnet(name.removeprefix(ours))
    side, level, kind, number, rest = re.fullmatch(
        r"(\w+)_blocks\.(\d)\.(\w+)\.(\d)(\..*)", name
    ).groups()
    first = 3 * int(level)
    if kind == "downsamplers":
        return f"input_blocks.{first + 3}.0.op{rest.removeprefix('.conv')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + 2}.{1 if level == '0' else 2}{rest}"
    block = (
        f"input_blocks.{first + int(number) + 1}"
        if side == "down"
        else f"output_blocks.{first + int(number)}"
    )
    return f"{block}.{0 if kind == 'resnets' else 1}{_resnet(rest) if kind == 'resnets' else rest}"


def ldm_vae(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention's projections are 1x1 convolutions; levels of the decoder count from the last."""
    found = {}
    for name, tensor in tensors.items():
        if ".attentions." in name and tensor.ndim == 2:
            tensor = tensor[:, :, None, None].clone()
        found[_ldm_vae(name)] = tensor
    return found


def _ldm_vae(name: str) -> str:
    if ".attentions." in name:
        name = _replaced(name, ATTENTION)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{len(VAE_WIDTHS) - 1 - int(m[1])}", name)
    return _replaced(
        name,
        {
            "mid_block.attentions.0": "mid.attn_1",
            "down_blocks": "down",
            "resnets": "block",
            "downsamplers.0": "downsample",
            "upsamplers.0": "upsample",
            "conv_shortcut": "nin_shortcut",
            "conv_norm_out": "norm_out",
        },
    )


def _resnet(rest: str) -> str:
    return _replaced(rest, RESNET) if "transformer_blocks" not in rest else rest


def _replaced(name: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        name = name.replace(word, other)
    return name


def write(path: Path, tensors: Any) -> Path:
    """By the suffix: safetensors, or torch's pickle."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path
