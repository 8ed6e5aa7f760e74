"""Pictures to latents and back. Only this file knows [-1, 1], the autoencoder's scale, and how many
pictures fit at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Latents:
    """An autoencoder, frozen, with diffusers' interface (AutoencoderKL, or
    model.dct.DctAutoencoder).
    """

    def __init__(self, autoencoder: Any, chunk: int = 8):
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.scale = autoencoder.config.scaling_factor
        self.chunk = chunk

    @torch.no_grad()
    def mean(self, pictures: Tensor) -> Tensor:
        """[n, 3, H, W] RGB in [0, 1] -> [n, 4, h, w], the posterior's mean, scaled."""
        return self._chunked(lambda part: self._posterior(part).mode() * self.scale, pictures)

    @torch.no_grad()
    def sample(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[n, 3, H, W] RGB in [0, 1] -> [n, 4, h, w], drawn from the posterior, scaled."""
        return self._chunked(
            lambda part: self._posterior(part).sample(generator) * self.scale, pictures
        )

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[n, 4, h, w] scaled -> [n, 3, H, W] RGB in [0, 1]."""
        return self._chunked(lambda part: self._pictures(part), latents)

    def _posterior(self, pictures: Tensor) -> Any:
        return self.autoencoder.encode(2 * pictures - 1).latent_dist

    def _pictures(self, latents: Tensor) -> Tensor:
        return (self.autoencoder.decode(latents / self.scale).sample / 2 + 0.5).clamp(0, 1)

    def _chunked(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.cat([function(part) for part in x.split(self.chunk)])
