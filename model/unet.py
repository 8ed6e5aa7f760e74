"""The denoising UNet and the ReferenceNet: Stable Diffusion 1.5's UNet, once inflated over time
and once cut short (docs/model.md, 1 and 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from model.blocks import BlockContext, Dims, DownBlock, MidBlock, UpBlock
from model.layers import ClipNorm, SpatialTransformer, exact, stream
from model.residual import Residual


class UNet(ModelMixin, ConfigMixin):
    """What both networks share: conv_in, time embedding, blocks."""

    _supports_gradient_checkpointing = True

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        layers: int,
        dims: Dims,
        levels: Sequence[bool] | None,
    ):
        super().__init__()
        attends, moves = _levels(levels, len(widths), dims)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], dims.time)
        last = len(widths) - 1
        into = [widths[0], *widths]
        self.down_blocks = nn.ModuleList(
            DownBlock(into[i], out, layers, moves[i], attends[i], is_last=i == last)
            for i, out in enumerate(widths)
        )
        self.mid_block = MidBlock(widths[-1], dims)
        skips = _skips(widths, layers)
        self.up_blocks = nn.ModuleList()
        x = widths[-1]
        for i, out in enumerate(reversed(widths)):
            taken = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(
                UpBlock(x, out, taken, moves[last - i], attends[last - i], is_last=i == last)
            )
            x = out

    @property
    def reference_blocks(self) -> list[str]:
        """The blocks whose self-attention reads the reference, in the order of both networks."""
        attends = [
            (i, block.attentions)
            for i, block in enumerate(self.up_blocks)
            if isinstance(block, UpBlock)
        ]
        up = [(i, j) for i, attentions in attends for j in range(len(attentions or ()))]
        blocks = ["mid_block.attentions.0", *(f"up_blocks.{i}.attentions.{j}" for i, j in up)]
        return [f"{block}.transformer_blocks.0" for block in blocks]

    def block_context(self, timestep: Tensor, context: Tensor, frames: int) -> BlockContext:
        """For the blocks: timesteps [b] and tokens [b, n, d], without a reference."""
        return BlockContext(
            self.time_embedding(self.time_proj(timestep).to(context.dtype)), context, frames
        )

    def down(self, x: Tensor, block_context: BlockContext) -> tuple[Tensor, ...]:
        """All skips of frames [b*f, c, h, w]; the up blocks begin with the last."""
        x = exact(self.conv_in, x)
        skips = [x]
        for block in self.down_blocks:
            x, more = block(x, block_context)
            skips += more
        return tuple(skips)

    def up(self, skips: Sequence[Tensor], block_context: BlockContext) -> Tensor:
        x, left = self.mid_block(skips[-1], block_context), list(skips)
        for block in self.up_blocks:
            x = block(x, left, block_context)
        return x


def _levels(levels: Sequence[bool] | None, count: int, dims: Dims) -> tuple[list[bool], list[Dims]]:
    """For each level: whether it has spatial transformers, and its dims, which say whether it has
    motion modules.
    """
    if levels is None:  # as in Stable Diffusion 1.5 and AnimateDiff
        return [i < count - 1 for i in range(count)], [dims] * count
    if len(levels) != count or not any(levels):
        raise ValueError(
            f"attention_levels are {list(levels)}, a truth value for each of {count} "
            "levels is expected"
        )
    return list(levels), [dims if attends else replace(dims, max_frames=0) for attends in levels]


def _skips(widths: Sequence[int], layers: int) -> list[int]:
    """Channels of all skips, in the order of their making."""
    skips = [widths[0]]
    for i, width in enumerate(widths):
        skips += [width] * (layers + (i < len(widths) - 1))
    return skips


class DenoisingUNet(UNet):
    """Predicts the noise of a clip's latents. Input channels: noisy latents, reference latents,
    background mask, driving features (docs/model.md, 1.1).

    `attention_levels`: for each level, whether it has transformers and motion modules; None is as
    in the paper.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 13,
        out_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        cross_attention_dim: int = 768,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        motion_max_seq_length: int = 32,
        attention_levels: tuple[bool, ...] | None = None,
        residual: tuple[float, ...] | None = None,
    ):
        width = block_out_channels[0]
        dims = Dims(
            4 * width,
            cross_attention_dim,
            num_attention_heads,
            norm_num_groups,
            motion_max_seq_length,
        )
        super().__init__(in_channels, block_out_channels, layers_per_block, dims, attention_levels)
        self.conv_norm_out = ClipNorm(norm_num_groups, width, eps=1e-5)
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        self.difference = None if residual is None else Residual(residual)

    def forward(
        self, x: Tensor, timestep: Tensor, context: Tensor, reference: Sequence[Tensor] = ()
    ) -> Tensor:
        """x [b, c, f, h, w], timesteps [b], context [b, n, d], a feature [b, m, c] for each of
        `reference_blocks`, or none. Returns the noise, or the velocity, [b, 4, f, h, w]. ValueError
        where they do not fit.
        """
        self._check(x, reference)
        block_context = self.block_context(timestep, context, x.shape[2])
        skips = self.down(_pictures(self._network_input(x, timestep)), block_context)
        return self._with_guess(
            self._noise(skips, with_features(block_context, reference)), x, timestep
        )

    def forward_cfg(
        self, x: Tensor, timestep: Tensor, context: Tensor, reference: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Noise without and with the reference, for guidance. The down blocks do not read the
        reference, so they run once for both.
        """
        self._check(x, reference)
        block_context = self.block_context(timestep, context, x.shape[2])
        skips = self.down(_pictures(self._network_input(x, timestep)), block_context)
        noise = (
            self._noise(skips, with_features(block_context, features))
            for features in ((), reference)
        )
        without, with_reference = (self._with_guess(each, x, timestep) for each in noise)
        return without, with_reference

    def start_with_guess(self) -> None:
        """For training from random weights with `residual`: begin by predicting the guess."""
        if self.difference is not None:
            for parameter in self.conv_out.parameters():
                nn.init.zeros_(parameter)

    def _check(self, x: Tensor, reference: Sequence[Tensor]) -> None:
        if x.shape[2] > self.config.motion_max_seq_length:
            raise ValueError(
                f"{x.shape[2]} frames, at most {self.config.motion_max_seq_length} fit "
                "into a window"
            )
        if reference and [len(feature) for feature in reference] != [len(x)] * len(
            self.reference_blocks
        ):
            found = [len(feature) for feature in reference]
            raise ValueError(
                f"features of {found} clips, {len(self.reference_blocks)} of {len(x)} are expected"
            )

    def _noise(self, skips: Sequence[Tensor], block_context: BlockContext) -> Tensor:
        y = F.silu(self.conv_norm_out(self.up(skips, block_context), block_context.frames))
        return exact(self.conv_out, y).unflatten(0, (-1, block_context.frames)).transpose(1, 2)

    def _network_input(self, x: Tensor, timestep: Tensor) -> Tensor:
        """The input as the network receives it."""
        if self.difference is None:
            return x
        network_input = self.difference.network_input(*self._latents(x), timestep)
        return torch.cat([network_input.to(x.dtype), x[:, network_input.shape[1] :]], dim=1)

    def _with_guess(self, noise: Tensor, x: Tensor, timestep: Tensor) -> Tensor:
        """The output plus the guess that needs no learning, where `residual` is configured."""
        return (
            noise
            if self.difference is None
            else self.difference(stream(noise), *self._latents(x), timestep)
        )

    def _latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latents and the reference's, from the input channels."""
        channels = self.config.out_channels
        return x[:, :channels], x[:, channels : 2 * channels]


class ReferenceNet(UNet):
    """Turns the still picture into features, which the denoiser's self-attentions read."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        cross_attention_dim: int = 768,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        attention_levels: tuple[bool, ...] | None = None,
    ):
        width = block_out_channels[0]
        dims = Dims(
            4 * width, cross_attention_dim, num_attention_heads, norm_num_groups, max_frames=0
        )
        super().__init__(in_channels, block_out_channels, layers_per_block, dims, attention_levels)
        self._cut_short(dims)

    def _cut_short(self, dims: Dims) -> None:
        """Remove everything after the first norm of the last transformer."""
        while isinstance(last := self.up_blocks[-1], UpBlock) and last.attentions is None:
            del self.up_blocks[-1]
        assert isinstance(last, UpBlock) and last.attentions is not None
        last.upsamplers = None
        last.attentions[-1] = SpatialTransformer(
            last.width, dims.context, dims.heads, dims.groups, is_last=True
        )

    def forward(self, latents: Tensor, timestep: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Latents [b, 4, h, w] without noise, the denoiser's timesteps [b], context [b, n, d] -> a
        feature [b, h*w, c] for each of `reference_blocks`.
        """
        block_context = self.block_context(timestep, context, frames=1)
        self.up(self.down(latents, block_context), block_context)
        return tuple(block_context.features)


def with_features(block_context: BlockContext, reference: Sequence[Tensor]) -> BlockContext:
    """The same context, with the features that the blocks are to read."""
    return replace(block_context, reference=iter(reference), features=[])


def _pictures(x: Tensor) -> Tensor:
    """b c f h w -> b*f c h w"""
    return x.transpose(1, 2).flatten(0, 1)
