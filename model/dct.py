"""An autoencoder that needs no download: the lowest frequencies of small squares. For the tiny
preset.

Not as dense as a learnt one, but it trains nothing, forgets little, and has diffusers' interface.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

# Rows: luma and two colour differences of R, G, B; orthonormal.
COLOURS = (
    (1 / math.sqrt(3),) * 3,
    (1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)),
    (1 / math.sqrt(6), -2 / math.sqrt(6), 1 / math.sqrt(6)),
)


class DctAutoencoder(ModelMixin, ConfigMixin):
    """The `luma` lowest frequencies of brightness and `chroma` of each colour difference, of
    squares of `patch` px.

    Each is divided by its deviation to the power of `whitening`, and all so that the mean variance
    is about 1. At 1 all weigh alike in a loss, and a model spends itself on the texture of hair; at
    0 they weigh as pixels do.
    """

    basis: Tensor  # orthonormal [channels, 3 * patch^2]
    deviations: Tensor  # [channels] by which latents are divided

    @register_to_config
    def __init__(
        self,
        patch: int = 4,
        luma: int = 10,
        chroma: int = 3,
        whitening: float = 0.5,
        scaling_factor: float = 1.0,
    ):
        super().__init__()
        basis, deviations = _basis(patch, luma, chroma)
        deviations = deviations * patch / 4
        kept = deviations ** (1 - whitening)
        self.register_buffer("basis", basis)
        self.register_buffer("deviations", deviations**whitening * kept.square().mean().sqrt())

    @property
    def channels(self) -> int:
        return len(self.basis)

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        """[n, 3, H, W] in [-1, 1] -> .latent_dist with .mode() and .sample(): [n, c, H/patch,
        W/patch].
        """
        squares = torch.nn.functional.pixel_unshuffle(pictures, self.config.patch)
        latents = torch.einsum(
            "nkhw,ck->nchw", squares, (self.basis / self.deviations[:, None]).to(squares.dtype)
        )
        return SimpleNamespace(latent_dist=SingleValue(latents))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """[n, c, h, w] -> .sample [n, 3, H, W]"""
        squares = torch.einsum(
            "nchw,ck->nkhw", latents, (self.basis * self.deviations[:, None]).to(latents.dtype)
        )
        return SimpleNamespace(sample=torch.nn.functional.pixel_shuffle(squares, self.config.patch))


class SingleValue:
    """A distribution with a single value."""

    def __init__(self, value: Tensor):
        self.value = value

    def mode(self) -> Tensor:
        return self.value

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.value


def _basis(patch: int, luma: int, chroma: int) -> tuple[Tensor, Tensor]:
    """Rows [luma + 2 chroma, 3 * patch^2] over pixel_unshuffle's order (colour, row, column), and
    their deviations.
    """
    waves, rows, deviations = _waves(patch), [], []
    order = sorted(
        ((i, j) for i in range(patch) for j in range(patch)), key=lambda ij: (sum(ij), ij)
    )
    for colour, count, size in zip(COLOURS, (luma, chroma, chroma), (1.0, 0.22, 0.22), strict=True):
        for i, j in order[:count]:
            plane = waves[i][:, None] * waves[j][None]
            rows.append(torch.stack([weight * plane for weight in colour]).flatten())
            deviations.append(size * (0.9 * (i + j) ** -1.2 if i + j else 3.5))
    return torch.stack(rows), torch.tensor(deviations)


def _waves(count: int) -> Tensor:
    """DCT-II, orthonormal [frequency, place]."""
    place, frequency = torch.arange(count) + 0.5, torch.arange(count)[:, None]
    waves = torch.cos(math.pi / count * place * frequency) * math.sqrt(2 / count)
    waves[0] /= math.sqrt(2)
    return waves
