"""AnimateDiff's motion module: attention over time at every pixel. Names as in diffusers."""

from __future__ import annotations

import math

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from model.layers import Attention, stream

GROUPS = 32  # whatever the UNet's are


def positions(count: int, dim: int) -> Tensor:
    """[1, count, dim]: sin(p 10000^(-2i/dim)) at 2i, cos of the same at 2i + 1."""
    angles = torch.arange(count)[:, None] * torch.exp(
        torch.arange(0, dim, 2) * (-math.log(10000.0) / dim)
    )
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None]


class TemporalBlock(nn.Module):
    """Two self-attentions along time, each on position-encoded tokens, and a feed-forward."""

    pe: Tensor

    def __init__(self, dim: int, heads: int, max_frames: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")
        self.register_buffer("pe", positions(max_frames, dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, f, c]."""
        pe = self.pe[:, : x.shape[1]].to(x.dtype)
        x = x + self.attn1(self.norm1(x) + pe)
        x = x + self.attn2(self.norm2(x) + pe)
        return x + self.ff(self.norm3(x))


class MotionModule(nn.Module):
    """Norm of each frame, linear, one temporal block, linear (zero at first), + input."""

    def __init__(self, dim: int, heads: int, max_frames: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(dim, heads, max_frames)])
        self.proj_out = nn.Linear(dim, dim)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Pictures [b*f, c, h, w]."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # b*f hw c
        tokens = stream(self.proj_in(tokens)).unflatten(0, (-1, frames)).transpose(1, 2)  # b hw f c
        shape = tokens.shape
        tokens = self.transformer_blocks[0](tokens.flatten(0, 1))
        tokens = self.proj_out(tokens).view(shape).transpose(1, 2).flatten(0, 1)
        return tokens.transpose(1, 2).reshape(x.shape) + x
