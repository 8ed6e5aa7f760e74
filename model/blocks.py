"""Down, mid and up blocks: resnets, spatial transformers and motion modules in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.layers import Resnet, SpatialTransformer
from model.motion import MotionModule


@dataclass(frozen=True)
class Dims:
    """What all blocks of a UNet share. No motion modules where `max_frames` is 0."""

    time: int
    context: int
    heads: int
    groups: int
    max_frames: int


@dataclass
class BlockContext:
    """What the blocks of a forward pass share, beside the frames [b*f, c, h, w].

    `reference` gives the features that blocks from the middle on read, in their order, or none.
    `features` collects their own features for another network.
    """

    time: Tensor  # b d
    tokens: Tensor  # b n d
    frames: int
    reference: Iterator[Tensor] = field(default_factory=lambda: iter(()))
    features: list[Tensor] = field(default_factory=list)


class Unit(nn.Module):
    """Base of the blocks. One unit is a resnet, a spatial transformer and a motion module; the
    last two may be absent.
    """

    resnets: nn.ModuleList
    attentions: nn.ModuleList | None
    motion_modules: nn.ModuleList | None
    gradient_checkpointing = False

    def unit(self, number: int, x: Tensor, context: BlockContext, is_read: bool) -> Tensor:
        """`is_read`: the transformer reads the reference, and its feature is collected."""
        attention = self.attentions[number] if self.attentions is not None else None
        motion = self.motion_modules[number] if self.motion_modules is not None else None
        reference = next(context.reference, None) if attention is not None and is_read else None
        frames = context.frames

        def run(
            x: Tensor, time: Tensor, tokens: Tensor, reference: Tensor | None
        ) -> tuple[Tensor, Tensor | None]:
            x, feature = self.resnets[number](x, time, frames), None
            if attention is not None:
                x, feature = attention(x, tokens, reference)
            return (x if motion is None else motion(x, frames)), feature

        if self.gradient_checkpointing and torch.is_grad_enabled():
            x, feature = checkpoint(
                run, x, context.time, context.tokens, reference, use_reentrant=False
            )
        else:
            x, feature = run(x, context.time, context.tokens, reference)
        if feature is not None and is_read:
            context.features.append(feature)
        return x


def _motion(dim: int, dims: Dims, count: int) -> nn.ModuleList | None:
    if not dims.max_frames:
        return None
    return nn.ModuleList(MotionModule(dim, dims.heads, dims.max_frames) for _ in range(count))


def _attentions(dim: int, dims: Dims, count: int) -> nn.ModuleList:
    return nn.ModuleList(
        SpatialTransformer(dim, dims.context, dims.heads, dims.groups) for _ in range(count)
    )


class DownBlock(Unit):
    """Units, then a downsampler. Every output is a skip."""

    def __init__(self, into: int, out: int, layers: int, dims: Dims, attends: bool, is_last: bool):
        super().__init__()
        self.resnets = nn.ModuleList(
            Resnet(into if i == 0 else out, out, dims.time, dims.groups) for i in range(layers)
        )
        self.attentions = _attentions(out, dims, layers) if attends else None
        self.motion_modules = _motion(out, dims, layers)
        self.downsamplers = (
            None if is_last else nn.ModuleList([Downsample2D(out, use_conv=True, name="op")])
        )

    def forward(self, x: Tensor, context: BlockContext) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for number in range(len(self.resnets)):
            x = self.unit(number, x, context, is_read=False)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidBlock(Unit):
    """Resnet, spatial transformer, resnet; no motion module."""

    def __init__(self, dim: int, dims: Dims):
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(dim, dim, dims.time, dims.groups) for _ in range(2))
        self.attentions = _attentions(dim, dims, 1)
        self.motion_modules = None

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        x = self.unit(0, x, context, is_read=True)
        return self.resnets[1](x, context.time, context.frames)


class UpBlock(Unit):
    """Units, each of which takes a skip, then an upsampler."""

    def __init__(
        self, into: int, out: int, skips: list[int], dims: Dims, attends: bool, is_last: bool
    ):
        super().__init__()
        self.width = out
        sizes = [(into if i == 0 else out) + skip for i, skip in enumerate(skips)]
        self.resnets = nn.ModuleList(Resnet(size, out, dims.time, dims.groups) for size in sizes)
        self.attentions = _attentions(out, dims, len(skips)) if attends else None
        self.motion_modules = _motion(out, dims, len(skips))
        self.upsamplers = None if is_last else nn.ModuleList([Upsample2D(out, use_conv=True)])

    def forward(self, x: Tensor, skips: list[Tensor], context: BlockContext) -> Tensor:
        """Takes its skips off the end of the list."""
        for number in range(len(self.resnets)):
            x = self.unit(number, torch.cat([x, skips.pop()], dim=1), context, is_read=True)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, skips[-1].shape[2:])
        return x
