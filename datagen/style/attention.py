"""Frames that look at each other: self-attention whose keys and values include those of an anchor
frame.

After Text2Video-Zero (Khachatryan et al. 2023), whose frames attend to the first frame alone. Here
each keeps its own keys and values beside the anchor's, because what the anchor does not show (an
open mouth, a turned head) must be drawn from the frame itself. The anchor's own attention is then
unchanged: its keys twice over weigh as once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class AnchoredAttention:
    """An attention processor of diffusers for self-attention of [groups * frames, L, C]; frame 0 is
    the anchor.

    `groups` are the passes of guidance, which diffusers stacks in one batch: without and with the
    prompt.
    """

    def __init__(self, groups: int):
        self.groups = groups

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> Any:
        assert (
            hidden_states.ndim == 3
            and encoder_hidden_states is None
            and not attn.residual_connection
        )
        query = _heads(attn, attn.to_q(hidden_states))
        key, value = (
            _heads(attn, self.anchored(part(hidden_states))) for part in (attn.to_k, attn.to_v)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        return attn.to_out[1](attn.to_out[0](seen.transpose(1, 2).flatten(2)))

    def anchored(self, tokens: Tensor) -> Tensor:
        """[groups * frames, L, C] -> [groups * frames, 2 L, C]: each frame's own after the anchor's
        of its group.
        """
        frames = tokens.unflatten(0, (self.groups, -1))
        return torch.cat([frames[:, :1].expand_as(frames), frames], dim=2).flatten(0, 1)


def anchor(unet: nn.Module, groups: int) -> None:
    """All self-attention of a UNet looks at the first frame of its batch too."""
    before: dict[str, Any] = unet.attn_processors  # type: ignore[assignment]
    own = AnchoredAttention(groups)
    unet.set_attn_processor(  # type: ignore[operator]
        {name: own if name.endswith("attn1.processor") else kept for name, kept in before.items()}
    )


def _heads(attn: Any, tokens: Tensor) -> Tensor:
    """[N, L, C] -> [N, heads, L, C / heads]"""
    return tokens.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
