"""What chance adds to clips, and what the network is asked to predict of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from datagen.core.seeds import seed_of

OPTIONS = ("noise_schedule", "noise_offset", "high_noise", "drop_reference", "drop_driving")


@dataclass(frozen=True)
class NoiseSample:
    """Noise for b clips; the same for a sample in whatever batch it is trained on."""

    noise: Tensor  # b c f h w
    timesteps: Tensor  # b  int64
    signal: Tensor  # b  float32, a_t: the share of signal, as a variance
    noisy: Tensor  # b c f h w, x_t
    target: Tensor  # b c f h w, what the network should predict
    without_reference: tuple[bool, ...]  # clips that do not look at the ReferenceNet
    without_driving: tuple[bool, ...]  # clips whose driving frames are black


class NoiseSampler:
    """Noisy latents x_t = sqrt(a_t) x + sqrt(1 - a_t) e at random timesteps t.

    a_t is from `noise_schedule`, or else from the model's own `schedule`, which also says what is
    predicted. `noise_offset` s: e = N(0, 1) + s N(0, 1), the second constant over frames and pixels
    (docs/model.md, 5). `high_noise` k: t/1000 is 1 - u^k for uniform u; 1 is uniform.
    `drop_reference` and `drop_driving` are shares of clips. ValueError for other numbers.
    """

    def __init__(
        self,
        schedule: DDIMScheduler,
        seed: int = 0,
        noise_schedule: DDIMScheduler | None = None,
        noise_offset: float = 0.0,
        high_noise: float = 1.0,
        drop_reference: float = 0.0,
        drop_driving: float = 0.0,
    ):
        for name, value in (("drop_reference", drop_reference), ("drop_driving", drop_driving)):
            if not 0 <= value <= 1:
                raise ValueError(f"objective.{name} is {value!r}, a share from 0 to 1 is expected")
        if not (high_noise > 0 and noise_offset >= 0):
            raise ValueError("objective.high_noise is above 0, noise_offset is not below")
        self.prediction_type = schedule.config.prediction_type
        self.steps = schedule.config.num_train_timesteps
        self.signal = (noise_schedule or schedule).alphas_cumprod
        self.seed, self.noise_offset, self.high_noise = seed, noise_offset, high_noise
        self.drop_reference, self.drop_driving = drop_reference, drop_driving

    def __call__(self, latents: Tensor, positions: Sequence[int]) -> NoiseSample:
        """For clean latents [b, c, f, h, w] of the samples at these positions."""
        noises, timesteps, references, drivings = zip(
            *(self._draw_one(position, latents.shape[1:]) for position in positions), strict=True
        )
        noise = torch.stack(noises).to(latents.device)
        return self.at(
            latents, noise, torch.tensor(timesteps, device=latents.device), references, drivings
        )

    def at(
        self,
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        without_reference: tuple[bool, ...],
        without_driving: tuple[bool, ...],
    ) -> NoiseSample:
        """The same with noise and timesteps [b] of one's choice."""
        signal = self.signal.to(latents.device)[timesteps]
        a = self.signal.to(latents)[timesteps].view(-1, 1, 1, 1, 1)
        noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
        target = self._target(latents, noise, a)
        return NoiseSample(
            noise, timesteps, signal, noisy, target, without_reference, without_driving
        )

    def generator(self, purpose: str, position: int) -> torch.Generator:
        """On the CPU, so that its numbers are the same for every device."""
        return torch.Generator().manual_seed(seed_of(purpose, self.seed, position) % 2**32)

    def _target(self, latents: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        """The noise, the velocity sqrt(a) e - sqrt(1 - a) x (arXiv 2202.00512), or the latents."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        return a.sqrt() * noise - (1 - a).sqrt() * latents

    def _draw_one(self, position: int, shape: Sequence[int]) -> tuple[Tensor, int, bool, bool]:
        generator = self.generator("noise", position)
        high, reference, driving = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        timestep = min(int((1 - high**self.high_noise) * self.steps), self.steps - 1)
        noise = torch.randn(*shape, generator=generator)
        noise = noise + self.noise_offset * torch.randn(shape[0], 1, 1, 1, generator=generator)
        return noise, timestep, reference < self.drop_reference, driving < self.drop_driving
