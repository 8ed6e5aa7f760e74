"""The layers that the UNets are made of. Pictures of a clip travel as [b*f, c, h, w], clip-major,
frame-minor.

The parameter names are those of Stable Diffusion 1.5 in diffusers. Norms of resnets take their
statistics over all frames of a clip, those of transformers over each frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

SHORT = 512  # tokens of 16 x 16 latents and their reference together


def stream(x: Tensor) -> Tensor:
    """Keeps the residual stream in float32 under autocast: rounding at every sum would double the
    error.
    """
    return x.float() if torch.is_autocast_enabled(x.device.type) else x


def exact(layer: nn.Module, x: Tensor) -> Tensor:
    """A small layer on the residual stream, in float32 under autocast."""
    if not torch.is_autocast_enabled(x.device.type):
        return layer(x)
    weights = {name: parameter.float() for name, parameter in layer.named_parameters()}
    with torch.autocast(x.device.type, enabled=False):
        return torch.func.functional_call(layer, weights, x.float())


class ClipNorm(nn.GroupNorm):
    """GroupNorm over (channels of the group, frames, h, w)."""

    def forward(self, x: Tensor, frames: int) -> Tensor:  # type: ignore[override]
        if frames == 1:
            return super().forward(x)
        clips = x.unflatten(0, (-1, frames)).transpose(1, 2)  # b c f h w
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


class Resnet(nn.Module):
    """norm, SiLU, conv, + time, norm, SiLU, conv, + input; one time embedding [b, d] for each
    clip.
    """

    def __init__(self, into: int, out: int, time_dim: int, groups: int):
        super().__init__()
        self.norm1 = ClipNorm(groups, into, eps=1e-5)
        self.conv1 = nn.Conv2d(into, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, out)
        self.norm2 = ClipNorm(groups, out, eps=1e-5)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, frames: int) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x, frames)))
        shift = self.time_emb_proj(F.silu(time))  # b c
        y = (y.unflatten(0, (-1, frames)) + shift[:, None, :, None, None]).flatten(0, 1)
        y = self.conv2(F.silu(self.norm2(y, frames)))
        return exact(self.conv_shortcut, x) + y


class Attention(nn.Module):
    """Multi-head attention, scale (c / heads)^-1/2; no bias but at the end."""

    def __init__(self, dim: int, context_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(
        self, x: Tensor, context: Tensor | None = None, more: Tensor | None = None
    ) -> Tensor:
        """Queries x [n, l, c] attend to context [n, m, d], by default themselves, and to `more`.

        `more` [b, m, d] is shared by the n / b frames of each clip. It is projected once and
        expanded as a view.
        """
        context = x if context is None else context
        keys, values = self.to_k(context), self.to_v(context)
        if more is not None:
            keys, values = (
                _joined(own, to(more)) for own, to in ((keys, self.to_k), (values, self.to_v))
            )
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), keys, values)
        )
        out = _attended(q, k, v)
        return self.to_out[0](out.transpose(1, 2).flatten(2))


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(c)) v. On a CPU torch's own is slower for few tokens, and several times
    slower for few frames.
    """
    if q.device.type == "cpu" and max(q.shape[-2], k.shape[-2]) <= SHORT:
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def _joined(own: Tensor, more: Tensor) -> Tensor:
    """own [b*f, l, c] with more [b, m, c], the same for all frames of a clip: [b*f, l + m, c]."""
    frames = own.shape[0] // more.shape[0]
    shared = more[:, None].expand(-1, frames, -1, -1)
    return torch.cat([own.unflatten(0, (-1, frames)), shared], dim=2).flatten(0, 1)


class TransformerBlock(nn.Module):
    """x += attn1(norm1 x); x += attn2(norm2 x, context); x += ff(norm3 x). Reference features join
    in attn1.
    """

    def __init__(self, dim: int, context_dim: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, context_dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(
        self, x: Tensor, context: Tensor, reference: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens x [b*f, l, c], context [b, n, d], reference [b, m, c] -> (tokens, norm1 of the
        tokens).
        """
        feature = self.norm1(x)
        x = x + self.attn1(feature, more=reference)
        x = x + self._cross(self.norm2(x), context)
        return x + self.ff(self.norm3(x)), feature

    def _cross(self, x: Tensor, context: Tensor) -> Tensor:
        """All frames of a clip share the context, so its keys are computed once for all frames."""
        return self.attn2(x.reshape(context.shape[0], -1, x.shape[-1]), context).reshape(x.shape)


class Norm1(nn.Module):
    """What remains of the ReferenceNet's last transformer block: its first norm."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, context: Tensor, reference: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        feature = self.norm1(x)
        return feature, feature


class SpatialTransformer(nn.Module):
    """Norm of each frame, 1x1 convolution, one transformer block, 1x1 convolution, + input."""

    def __init__(self, dim: int, context_dim: int, heads: int, groups: int, is_last: bool = False):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, dim, 1)
        block = Norm1(dim) if is_last else TransformerBlock(dim, context_dim, heads)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Identity() if is_last else nn.Conv2d(dim, dim, 1)

    def forward(
        self, x: Tensor, context: Tensor, reference: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pictures x [b*f, c, h, w] -> (pictures, feature [b*f, h*w, c] for other networks'
        reference attention).
        """
        tokens = stream(self.proj_in(self.norm(x))).flatten(2).transpose(1, 2)
        tokens, feature = self.transformer_blocks[0](tokens, context, reference)
        y = tokens.transpose(1, 2).unflatten(2, x.shape[2:])
        return self.proj_out(y) + x, feature
