"""From a batch to the loss: what the frozen parts make of it, what chance adds, and what the
animator says.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.animator import Animator, Reference
from model.latents import Latents
from model.pipeline import MegActorPipeline
from training.data.batch import Batch, to_floats
from training.objective.denoise import DenoisingLoss, NoiseSample


@dataclass(frozen=True)
class FrozenEncoders:
    """The autoencoder and CLIP, which are not trained and not part of checkpoints."""

    pipeline: MegActorPipeline

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        self.pipeline.vae.to(device, dtype)
        self.pipeline.image_encoder.to(device, dtype)

    @torch.no_grad()
    def latents(self, batch: Batch, generators: list[torch.Generator]) -> Tensor:
        """A sample of the posterior, scaled, of the target [b, c, f, h, w]; cached ones where there
        are.
        """
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
        """Mean for the ReferenceNet, a sample for the denoiser's input (specification, 4)."""
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

    frozen: FrozenEncoders
    objective: DenoisingLoss

    def losses(self, animator: Animator, batch: Batch) -> Tensor:
        """[b], float32."""
        generators = self._generators(batch)
        latents = self.frozen.latents(batch, generators)
        reference = self.frozen.reference(batch, generators)
        draw = self.objective.draw(batch.positions.tolist(), latents.shape[1:], latents.device)
        driving = self._driving(batch, draw)
        noisy = self.objective.noisy(latents, draw)
        prediction = animator(noisy, draw.timesteps, driving, reference, draw.without_reference)
        return self.objective.loss(prediction, self.objective.target(latents, draw), draw)

    def _driving(self, batch: Batch, draw: NoiseSample) -> Tensor:
        keep = torch.tensor(
            [not dropped for dropped in draw.without_driving], device=batch.driving.device
        )
        return to_floats(batch.driving) * keep[:, None, None, None, None]

    def _generators(self, batch: Batch) -> list[torch.Generator]:
        return [
            self.objective.generator("latents", position) for position in batch.positions.tolist()
        ]
