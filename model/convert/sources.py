"""The sources of weights, each checked name by name against a pipeline, which may be on the meta
device.

`fit.fill(pipeline, official(path, pipeline))` copies a checkpoint into a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datagen.core.errors import UserError
from datagen.weights.names import modern
from datagen.weights.tensors import locate, read, read_json
from model.convert.matching import Fitting, Loaded, Tensors
from model.convert.names import (
    IS_POSITIONS,
    LDM_UNET,
    from_official,
    is_motion,
    of_ldm_unet,
    of_ldm_vae,
)
from model.motion import positions
from model.pipeline import MegActorPipeline

DRIVEN = "condition_input_layer."  # the official DrivenEncoder, inside its UNet
FROZEN = {
    "vae": "the autoencoder is not trained (see --vae)",
    "text_encoder": "no text is used",
    "image_encoder": "CLIP is not trained (see --image-encoder)",
}
# What Stable Diffusion's one-file checkpoint holds beside the UNet and the autoencoder.
LDM_REST = re.compile(
    r"cond_stage_model\.|model_ema\.|loss\.|betas$|alphas_|sqrt_|log_one_minus_|posterior_|lvlb_|logvar$|scale_factor$"
)
LDM_VAE = (
    "first_stage_model.",
    "encoder.down.",
    "decoder.up.",
)  # the last two: the autoencoder alone
CLIP_REST = re.compile(
    r"text_model\.|text_projection\.|logit_scale$|vision_model\.embeddings\.position_ids$"
)
V3 = "v3_sd15_mm.ckpt is expected (python -m datagen.weights fetch animatediff)."
ROUNDING = 5e-3  # of positions in half precision


def official(path: Path, pipeline: MegActorPipeline) -> Loaded:
    """A MegActor checkpoint: unet.* and appearance_encoder.*, with module. before them or not."""
    return official_tensors(path, read(path), pipeline)


def official_tensors(source: object, tensors: Tensors, pipeline: MegActorPipeline) -> Loaded:
    fit, groups = Fitting(source, pipeline), _by_prefix(tensors)
    if not groups.keys() & {"unet", "appearance_encoder"}:
        found = ", ".join(sorted(tensors)[:2])
        raise UserError(
            f"{source} is no MegActor checkpoint: names like module.unet.* are expected, "
            f"found {found}, ..."
        )
    unet = _without_positions(fit, groups.pop("unet", {}))
    driven = {
        name.removeprefix(DRIVEN): tensor
        for name, tensor in unet.items()
        if name.startswith(DRIVEN)
    }
    fit.add(
        "unet",
        {
            from_official(name): tensor
            for name, tensor in unet.items()
            if not name.startswith(DRIVEN)
        },
    )
    fit.add("driven_encoder", driven)
    fit.add("reference_net", groups.pop("appearance_encoder", {}))
    for prefix, group in groups.items():
        names = [f"{prefix}.{name}" if name else prefix for name in group]
        if prefix in FROZEN:
            fit.ignore(FROZEN[prefix], names)
        else:
            fit.unknown(names)
    return fit.done()


def sd15(path: Path, pipeline: MegActorPipeline) -> Loaded:
    """Stable Diffusion 1.5, a folder in diffusers' layout or one file, for both UNets, and what
    else is in it.
    """
    fit = Fitting(path, pipeline)
    for part, tensors in (_folder if path.is_dir() else _one_file)(fit, path).items():
        if part == "unet":
            _both_unets(fit, tensors)
        elif part == "vae" and not _has_learnt_autoencoder(pipeline):
            fit.ignore("the preset's autoencoder is another", tensors)
        else:
            fit.add(part, tensors)
    return fit.done()


def motion(source: Path, pipeline: MegActorPipeline) -> Loaded:
    """AnimateDiff's v3 motion modules, as published or as diffusers' MotionAdapter."""
    fit, path = Fitting(source, pipeline), locate(source)
    tensors = {
        re.sub(r"^(module\.)*(unet\.)?", "", name): tensor for name, tensor in read(path).items()
    }
    if not any(is_motion(name) for name in tensors):
        raise UserError(f"{source} has no motion modules (found {next(iter(tensors))}, ...): {V3}")
    if any(name.startswith("mid_block.motion_modules.") for name in tensors):
        raise UserError(f"{source} is AnimateDiff v2 (its mid block has a motion module): {V3}")
    if not any(name.startswith("down_blocks.3.") for name in tensors):
        raise UserError(f"{source} is of Stable Diffusion XL (it has no down_blocks.3): {V3}")
    tensors = _without_positions(fit, tensors)
    fit.unknown(name for name in tensors if not is_motion(name))
    given = {from_official(name): tensor for name, tensor in tensors.items() if is_motion(name)}
    fit.add("unet", given, may_lack=lambda name: not is_motion(name))
    return fit.done()


def appearance(source: Path, pipeline: MegActorPipeline) -> Loaded:
    """MagicAnimate's appearance encoder, whole or cut, for the ReferenceNet."""
    fit, path = Fitting(source, pipeline), locate(source, "appearance_encoder")
    _agree(path, _unet_settings(pipeline.reference_net))
    _reference(fit, read(path))
    return fit.done()


def vae(path: Path, pipeline: MegActorPipeline) -> Loaded:
    """The autoencoder, in diffusers' layout or as one file of Stable Diffusion's own names."""
    if not _has_learnt_autoencoder(pipeline):
        kind = type(pipeline.vae).__name__
        raise UserError(
            f"the preset's autoencoder is {kind}, which learns nothing: leave out --vae ({path})."
        )
    fit = Fitting(path, pipeline)
    fit.add("vae", _autoencoder(fit, locate(path, "vae")))
    return fit.done()


def image_encoder(source: Path, pipeline: MegActorPipeline) -> Loaded:
    """CLIP's vision tower with its projection; the text tower of a whole CLIP is left out."""
    fit, path = Fitting(source, pipeline), locate(source, "image_encoder")
    fit.add("image_encoder", _clip(fit, path))
    return fit.done()


# In the order of loading: what comes later replaces what came before.
SOURCES: dict[str, Callable[[Path, Any], Loaded]] = {
    "sd15": sd15,
    "appearance": appearance,
    "megactor": official,
    "motion": motion,
    "vae": vae,
    "image_encoder": image_encoder,
}


def _by_prefix(tensors: Tensors) -> dict[str, Tensors]:
    """unet.*, vae.* and so on, each without its prefix."""
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        prefix, _, rest = re.sub(r"^(module\.)+", "", name).partition(".")
        groups.setdefault(prefix, {})[rest] = tensor
    return groups


def _without_positions(fit: Fitting, tensors: Tensors) -> Tensors:
    """Positions are computed, not loaded; those of the file must be the same."""
    found = {name: tensor for name, tensor in tensors.items() if IS_POSITIONS.search(name)}
    frames = fit.pipeline.unet.config.motion_max_seq_length
    for name, tensor in found.items():
        length = tensor.shape[1] if tensor.ndim == 3 else 0
        if length != frames:
            kind = "AnimateDiff v1" if length == 24 else "made for another length"
            raise UserError(
                f"{fit.report.source} is {kind}: {name} knows {length} frames, {frames} "
                "are expected "
                "(motion_max_seq_length of the preset); take v3_sd15_mm.ckpt or change the preset."
            )
        waves = positions(length, tensor.shape[2])
        if tensor.shape != waves.shape or not torch.allclose(
            tensor.float(), waves, rtol=0, atol=ROUNDING
        ):
            raise UserError(
                f"{fit.report.source} has other positions in {name} than sines and cosines: {V3}"
            )
    fit.ignore("positions are computed", found)
    return {name: tensor for name, tensor in tensors.items() if name not in found}


def _both_unets(fit: Fitting, tensors: Tensors) -> None:
    unet = fit.pipeline.unet
    widened = dict(tensors)
    if "conv_in.weight" in widened:
        widened["conv_in.weight"] = _widened(
            widened["conv_in.weight"], unet.config.in_channels, unet.config.out_channels
        )
    fit.add("unet", widened, may_lack=is_motion)
    _reference(fit, tensors)


def _widened(weight: Tensor, channels: int, noisy: int) -> Tensor:
    """The first convolution, that of the noisy latents, for more channels: zero columns, which
    change nothing yet.
    """
    if weight.ndim != 4 or weight.shape[1] != noisy:
        return weight
    more = weight.new_zeros(weight.shape[0], channels - noisy, *weight.shape[2:])
    return torch.cat([weight, more], dim=1)


def _reference(fit: Fitting, tensors: Tensors) -> None:
    """A whole UNet has names that the ReferenceNet, which is cut short, has not."""
    whole, own = fit.expected("unet"), fit.expected("reference_net")
    cut = {name for name in tensors if name in whole and name not in own}
    fit.ignore("the ReferenceNet ends before", cut)
    fit.add("reference_net", {name: tensor for name, tensor in tensors.items() if name not in cut})


def _folder(fit: Fitting, path: Path) -> dict[str, Tensors]:
    unet = locate(path, "unet")
    _agree(unet, _unet_settings(fit.pipeline.unet))
    found = {"unet": read(unet)}
    if (path / "vae").is_dir() and _has_learnt_autoencoder(fit.pipeline):
        found["vae"] = _autoencoder(fit, locate(path / "vae"))
    if (path / "image_encoder").is_dir():
        found["image_encoder"] = _clip(fit, locate(path / "image_encoder"))
    return found


def _one_file(fit: Fitting, path: Path) -> dict[str, Tensors]:
    tensors = read(path)
    if not any(name.startswith(LDM_UNET) for name in tensors):
        return {"unet": tensors}  # the file of a folder unet/
    image = {name: tensor for name, tensor in tensors.items() if name.startswith(LDM_UNET)}
    found = {
        "unet": _moved(fit, image, of_ldm_unet(image, fit.pipeline.unet.config.layers_per_block))
    }
    if autoencoder := _ldm_vae(
        fit, {name: tensor for name, tensor in tensors.items() if name not in image}
    ):
        found["vae"] = autoencoder
    return found


def _autoencoder(fit: Fitting, path: Path) -> Tensors:
    tensors = read(path)
    if any(name.startswith(LDM_VAE) for name in tensors):
        return _ldm_vae(fit, tensors)
    config = fit.pipeline.vae.config
    _agree(path, {key: getattr(config, key) for key in ("norm_num_groups", "scaling_factor")})
    return {modern(name): tensor for name, tensor in tensors.items()}


def _ldm_vae(fit: Fitting, tensors: Tensors) -> Tensors:
    """The autoencoder of what is left of a one-file checkpoint without its UNet; empty if there is
    none.
    """
    own = {name: tensor for name, tensor in tensors.items() if not LDM_REST.match(name)}
    fit.ignore("not of the UNet or the autoencoder", tensors.keys() - own.keys())
    levels = len(
        {match[1] for name in own if (match := re.search(r"encoder\.down\.(\d+)\.", name))}
    )
    moved = _moved(fit, own, of_ldm_vae(own, levels))
    # its attention's projections are 1x1 convolutions
    return {
        name: t.flatten(1) if ".attentions." in name and t.ndim == 4 else t
        for name, t in moved.items()
    }


def _moved(fit: Fitting, tensors: Tensors, names: dict[str, str]) -> Tensors:
    fit.unknown(tensors.keys() - set(names.values()))
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def _clip(fit: Fitting, path: Path) -> Tensors:
    config = fit.pipeline.image_encoder.config
    keys = ("hidden_act", "num_attention_heads", "layer_norm_eps", "patch_size", "image_size")
    _agree(path, {key: getattr(config, key) for key in keys})
    tensors = read(path)
    own = {name: tensor for name, tensor in tensors.items() if not CLIP_REST.match(name)}
    fit.ignore("not of CLIP's vision tower", tensors.keys() - own.keys())
    return own


def _agree(path: Path, expected: dict[str, Any]) -> None:
    """Settings that no shape shows: the config.json beside the weights, if there is one, must say
    the same.
    """
    config = path.with_name("config.json")
    if not config.is_file():
        return
    settings = read_json(config)
    settings = settings.get("vision_config") or settings
    wrong = [
        f"{key} is {settings[key]}, not {value}"
        for key, value in expected.items()
        if settings.get(key, value) != value
    ]
    if wrong:
        raise UserError(
            f"{config} does not fit this model ({'; '.join(wrong)}): give the weights of "
            "the preset's kind."
        )


def _unet_settings(unet: Any) -> dict[str, Any]:
    """What diffusers calls attention_head_dim in Stable Diffusion 1.5 is the number of heads."""
    return {
        "norm_num_groups": unet.config.norm_num_groups,
        "attention_head_dim": unet.config.num_attention_heads,
    }


def _has_learnt_autoencoder(pipeline: MegActorPipeline) -> bool:
    return any(True for _ in pipeline.vae.parameters())
