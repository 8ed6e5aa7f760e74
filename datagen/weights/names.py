"""Names of tensors in published checkpoints, as current libraries call them."""

from __future__ import annotations

from collections.abc import Sequence

# The autoencoder's attention, as diffusers called it before 0.15; the published files still do.
OLD_ATTENTION = (
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
)


def modern(name: str) -> str:
    """The name of an autoencoder's tensor in current diffusers."""
    for old, new in OLD_ATTENTION:
        name = name.replace(old, new) if ".attentions." in name else name
    return name


def shortened(names: Sequence[str], shown: int = 3) -> str:
    """The number of names, and the first few."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} ({', '.join(names[:shown])}{more})"
