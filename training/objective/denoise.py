"""What the network learns to say of a noisy clip, and how far off it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from datagen.core.seeds import seed_of


@dataclass(frozen=True)
class NoiseSample:
    """What chance adds to b clips; the same for a sample wherever and in whatever batch it is
    trained on.
    """

    noise: Tensor  # b c f h w
    timesteps: Tensor  # b  int64
    without_reference: tuple[bool, ...]  # the ReferenceNet is not looked at
    without_driving: tuple[bool, ...]  # the driving frames are black


class DenoisingLoss:
    """Denoising of latents x at timestep t: x_t = sqrt(a_t) x + sqrt(1 - a_t) e, a_t from
    `noise_schedule`, or else from the model's own `schedule`, which also says what is predicted.

    `noise_offset` s: e = N(0, 1) + s N(0, 1) constant over frames and pixels (specification, 4).
    `high_noise` k: t/1000 is 1 - u^k for uniform u; 1 is uniform. `min_snr` g weighs by min(snr, g)
    / snr for noise, / (snr + 1) for velocity (arXiv 2303.09556, equation 5). `of_latents` weighs
    errors of velocity by 1 - a: these are errors of the latents, and steps with little noise count
    little. Shares of clips are trained without reference, or driving frames.
    """

    def __init__(
        self,
        schedule: DDIMScheduler,
        seed: int = 0,
        noise_offset: float = 0.0,
        high_noise: float = 1.0,
        min_snr: float | None = None,
        of_latents: bool = False,
        drop_reference: float = 0.0,
        drop_driving: float = 0.0,
        noise_schedule: DDIMScheduler | None = None,
    ):
        for name, value in (("drop_reference", drop_reference), ("drop_driving", drop_driving)):
            if not 0 <= value <= 1:
                raise ValueError(f"objective.{name} is {value!r}, a share from 0 to 1 is expected")
        if not (high_noise > 0 and noise_offset >= 0 and (min_snr is None or min_snr > 0)):
            raise ValueError(
                "objective.high_noise and min_snr are above 0, noise_offset is not below"
            )
        if of_latents and (
            min_snr is not None or schedule.config.prediction_type != "v_prediction"
        ):
            raise ValueError(
                "objective.of_latents is for a model that predicts velocity, without "
                "objective.min_snr"
            )
        self.of_latents = of_latents
        self.prediction = schedule.config.prediction_type
        self.steps = schedule.config.num_train_timesteps
        self.signal = (noise_schedule or schedule).alphas_cumprod
        self.seed, self.noise_offset, self.high_noise, self.min_snr = (
            seed,
            noise_offset,
            high_noise,
            min_snr,
        )
        self.drop_reference, self.drop_driving = drop_reference, drop_driving

    def draw(
        self, positions: Sequence[int], shape: Sequence[int], device: torch.device
    ) -> NoiseSample:
        """For samples at these positions, with latents of `shape` [c, f, h, w]."""
        noise, timesteps, references, drivings = zip(
            *(self._draw_one(p, shape) for p in positions), strict=True
        )
        return NoiseSample(
            torch.stack(noise).to(device),
            torch.tensor(timesteps, device=device),
            references,
            drivings,
        )

    def generator(self, purpose: str, position: int) -> torch.Generator:
        """On the CPU, so that it says the same on every device."""
        return torch.Generator().manual_seed(seed_of(purpose, self.seed, position) % 2**32)

    def _draw_one(self, position: int, shape: Sequence[int]) -> tuple[Tensor, int, bool, bool]:
        generator = self.generator("noise", position)
        high, reference, driving = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        timestep = int((1 - high**self.high_noise) * self.steps)
        noise = torch.randn(*shape, generator=generator)
        noise = noise + self.noise_offset * torch.randn(shape[0], 1, 1, 1, generator=generator)
        return (
            noise,
            min(timestep, self.steps - 1),
            reference < self.drop_reference,
            driving < self.drop_driving,
        )

    def noisy(self, latents: Tensor, draw: NoiseSample) -> Tensor:
        """x_t of latents [b, c, f, h, w]."""
        signal = self._signal(draw.timesteps, latents)
        return signal.sqrt() * latents + (1 - signal).sqrt() * draw.noise

    def target(self, latents: Tensor, draw: NoiseSample) -> Tensor:
        """The noise, the velocity sqrt(a) e - sqrt(1 - a) x (arXiv 2202.00512), or the latents
        themselves.
        """
        if self.prediction == "epsilon":
            return draw.noise
        if self.prediction == "sample":
            return latents
        signal = self._signal(draw.timesteps, latents)
        return signal.sqrt() * draw.noise - (1 - signal).sqrt() * latents

    def loss(self, prediction: Tensor, target: Tensor, draw: NoiseSample) -> Tensor:
        """Mean squared error of each clip [b], float32, weighed."""
        errors = (prediction.float() - target.float()).square().flatten(1).mean(1)
        return errors * self._weights(draw.timesteps.to(errors.device))

    def _weights(self, timesteps: Tensor) -> Tensor:
        signal = self.signal.to(timesteps.device)[timesteps]
        if self.min_snr is None:
            return 1 - signal if self.of_latents else torch.ones_like(signal)
        snr = signal / (1 - signal)
        clipped = snr.clamp(max=self.min_snr)
        if self.prediction == "sample":
            return clipped
        # without signal at all (zero-SNR) the weight for noise would be 0 / 0: its limit is 1
        return (
            clipped / (snr + 1)
            if self.prediction == "v_prediction"
            else (clipped / snr).nan_to_num(1.0)
        )

    def _signal(self, timesteps: Tensor, like: Tensor) -> Tensor:
        return self.signal.to(like)[timesteps].view(-1, 1, 1, 1, 1)
