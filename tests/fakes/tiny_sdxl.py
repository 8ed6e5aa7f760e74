"""A tiny SDXL with random weights, in the layout and by the names in which the real one is
published.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerAncestralDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from datagen.style.diffusion import quiet

LONGEST = 300  # tokens, which here are letters
START, END = "<|startoftext|>", "<|endoftext|>"


def tiny_sdxl(folder: Path, vae: AutoencoderKL | None = None) -> Path:
    """Write the pipeline to a folder and return it."""
    torch.manual_seed(0)
    words = _tokenizer(folder / "tokenizer"), _tokenizer(folder / "tokenizer_2")
    text = CLIPTextConfig(
        vocab_size=len(words[0]),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        projection_dim=16,
        bos_token_id=len(words[0]) - 2,
        eos_token_id=len(words[0]) - 1,
        pad_token_id=len(words[0]) - 1,
    )
    with quiet():
        scheduler = EulerAncestralDiscreteScheduler(timestep_spacing="trailing")
    pipeline = StableDiffusionXLPipeline(
        vae=vae or _autoencoder(),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=words[0],
        tokenizer_2=words[1],
        unet=tiny_unet(),
        scheduler=scheduler,
        add_watermarker=False,
    )
    with quiet():
        pipeline.save_pretrained(folder)
    _as_published(folder)
    return folder


def tiny_unet(words: int = 32) -> UNet2DConditionModel:
    """SDXL's kind of UNet: attention in the lower level alone, two blocks in a transformer, sizes
    among the inputs.

    Its self-attention weighs more than random weights have it, so that what it looks at shows.
    """
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=words,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
        norm_num_groups=8,
    )
    for name, weight in unet.named_parameters():
        if "attn1" in name and weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.5)
    return unet


def tiny_controlnet(folder: Path, words: int = 32) -> Path:
    """A ControlNet for the tiny UNet that has an effect: the layers that begin at zero are
    random.
    """
    torch.manual_seed(1)
    net = ControlNetModel.from_unet(tiny_unet(words))
    for layer in (
        *net.controlnet_down_blocks,
        net.controlnet_mid_block,
        net.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(layer.weight, std=0.3)
    with quiet():
        net.save_pretrained(folder)
    return folder


def clear_autoencoder() -> AutoencoderKL:
    """Three of its four latents are the picture's red, green and blue, each brightened or darkened
    as a whole.
    """
    vae = _autoencoder(widths=(3,), groups=3)
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            if not name.endswith("norm_out.weight"):
                weight.zero_()
        one = torch.eye(8)
        vae.encoder.conv_in.weight[:, :, 1, 1] = one[:3, :3]
        vae.encoder.conv_out.weight[:, :, 1, 1] = one[:8, :3]
        vae.encoder.conv_out.bias[4:] = -30  # the logarithm of the variance
        vae.quant_conv.weight[:, :, 0, 0] = one
        vae.post_quant_conv.weight[:, :, 0, 0] = one[:4, :4]
        vae.decoder.conv_in.weight[:, :, 1, 1] = one[:3, :4]
        vae.decoder.conv_out.weight[:, :, 1, 1] = one[:3, :3]
    return vae


def _autoencoder(widths: tuple[int, ...] = (8, 8, 8, 8), groups: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=groups,
        latent_channels=4,
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """One that knows letters alone."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    (folder / "vocab.json").write_text(
        json.dumps({word: number for number, word in enumerate(words)})
    )
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LONGEST
    )


def _as_published(folder: Path) -> None:
    """Names of the first text encoder and files of the tokenizers as older releases of transformers
    wrote them.
    """
    file = folder / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name}": tensor for name, tensor in load_file(file).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(LONGEST)[None]
    save_file(tensors, file, metadata={"format": "pt"})
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    told = {
        **special,
        "model_max_length": LONGEST,
        "do_lower_case": True,
        "tokenizer_class": "CLIPTokenizer",
    }
    for name in ("tokenizer", "tokenizer_2"):
        (folder / name / "tokenizer.json").unlink()
        (folder / name / "special_tokens_map.json").write_text(json.dumps(special))
        (folder / name / "tokenizer_config.json").write_text(json.dumps(told))
