"""From a batch to the loss: encoded by the frozen parts, noised, denoised by the animator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.animator import Reference
from model.latents import Latents
from model.pipeline import MegActorPipeline
from training.data.batch import Batch, to_floats
from training.objective.denoise import TrainingLoss
from training.objective.noise import NoiseSample


@dataclass(frozen=True)
class FrozenEncoders:
    """The autoencoder and CLIP, which are not trained and not part of checkpoints."""

    pipeline: MegActorPipeline

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        self.pipeline.vae.to(device, dtype)
        self.pipeline.image_encoder.to(device, dtype)

    @torch.no_grad()
    def latents(self, batch: Batch, generators: list[torch.Generator]) -> Tensor:
        """Of the target, [b, c, f, h, w]: cached ones, or samples of the posterior, scaled."""
        if batch.latents is not None:
            return batch.latents.float()
        own: Latents = self.pipeline.latents
        clips = zip(self._typed(batch.target).transpose(1, 2), generators, strict=True)
        return (
            torch.stack([own.sample(clip, generator) for clip, generator in clips])
            .transpose(1, 2)
            .float()
        )

    @torch.no_grad()
    def reference(self, batch: Batch, generators: list[torch.Generator]) -> Reference:
        """The mean for the ReferenceNet, a sample for the denoiser's input (docs/model.md, 5)."""
        own: Latents = self.pipeline.latents
        if batch.reference_latents is not None:
            mean = sample = batch.reference_latents.float()
        else:
            pictures = self._typed(batch.reference)
            mean = own.mean(pictures).float()
            rows = [
                own.sample(one[None], generator)
                for one, generator in zip(pictures, generators, strict=True)
            ]
            sample = torch.cat(rows).float()
        return Reference(
            to_floats(batch.reference), mean, sample, batch.background, self._tokens(batch)
        )

    def _tokens(self, batch: Batch) -> Tensor:
        if batch.tokens is not None:
            return batch.tokens.float()
        return self.pipeline.background.encode(batch.clip_pixels).float()

    def _typed(self, levels: Tensor) -> Tensor:
        return to_floats(levels).to(self.pipeline.vae.dtype)


@dataclass(frozen=True)
class DiffusionTask:
    """Learning to denoise windows of clips that other clips drive."""

    encoders: FrozenEncoders
    loss: TrainingLoss

    def losses(
        self, animator: Callable[..., Tensor], batch: Batch
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What the loss gives: (of each clip [b] or of all [], float32; what to log by name).
        `animator` is called like Animator.forward.
        """
        sampler, positions = self.loss.sampler, batch.positions.tolist()
        generators = [sampler.generator("latents", position) for position in positions]
        latents = self.encoders.latents(batch, generators)
        reference = self.encoders.reference(batch, generators)
        noise = sampler(latents, positions)
        prediction = animator(
            noise.noisy,
            noise.timesteps,
            _driving(batch, noise),
            reference,
            noise.without_reference,
        )
        return self.loss(prediction, batch, noise)


def _driving(batch: Batch, noise: NoiseSample) -> Tensor:
    """Driving frames [b, 3, f, D, D] in [0, 1], black where they are dropped."""
    keep = [not dropped for dropped in noise.without_driving]
    kept = torch.tensor(keep, device=batch.driving.device)
    return to_floats(batch.driving) * kept[:, None, None, None, None]
