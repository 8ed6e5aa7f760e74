"""A denoiser that predicts only the difference from the reference, so that a small model learns in
minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.schedule import ddim


class Residual(nn.Module):
    """Velocity of latents x = r + d, r the reference's and d of known `variances` s2, one for each
    channel.

    Of x_t = sqrt(a) x + sqrt(1 - a) e alone, the best linear guess is x' = r + k (x_t - sqrt(a) r),
    with k = sqrt(a) s2 / (a s2 + 1 - a). The velocity is (sqrt(a) x_t - x) / sqrt(1 - a); what the
    guess leaves of it has the variance s2 / (a s2 + 1 - a), by which the network's output is scaled
    (as in arXiv 2206.00364, for a known mean). Instead of x_t the network receives (x' - r) /
    sqrt(s2): what can be guessed of d through the noise, zero where there is nothing but noise.
    """

    signal: Tensor  # [1000]  a of each timestep
    variances: Tensor  # [c 1 1 1]

    def __init__(self, variances: Sequence[float]):
        super().__init__()
        # not saved: the one is the configuration's, the other the schedule's
        self.register_buffer(
            "variances", torch.tensor(variances).view(-1, 1, 1, 1), persistent=False
        )
        self.register_buffer(
            "signal",
            ddim(zero_snr=True, prediction="v_prediction").alphas_cumprod,
            persistent=False,
        )

    def network_input(self, noisy: Tensor, reference: Tensor, timestep: Tensor) -> Tensor:
        """All [b, c, f, h, w], timesteps [b]"""
        a = self.signal[timestep].view(-1, 1, 1, 1, 1)
        return (
            (a * self.variances).sqrt()
            / (a * self.variances + 1 - a)
            * (noisy - a.sqrt() * reference)
        )

    def forward(self, output: Tensor, noisy: Tensor, reference: Tensor, timestep: Tensor) -> Tensor:
        """All [b, c, f, h, w], timesteps [b] -> velocity."""
        a = self.signal[timestep].view(-1, 1, 1, 1, 1)
        rest, s2 = 1 - a, self.variances
        total = a * s2 + rest
        guess = reference + a.sqrt() * s2 / total * (noisy - a.sqrt() * reference)
        return (a.sqrt() * noisy - guess) / rest.sqrt() + (s2 / total).sqrt() * output
