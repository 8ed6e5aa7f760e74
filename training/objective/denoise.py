"""The contract of losses, and the usual one: how far the prediction is off.

A loss of your own is one file here and one in conf/objective (`defaults: [denoise]`, `_target_` and
its options), chosen by objective=NAME:

    class FaceLoss(DenoisingLoss):
        needs = ("mask",)  # with data.extras=[mask]

        def __call__(self, prediction, batch, noise):
            errors = self.squared_errors(prediction, noise)  # b c f h w
            ...
            return losses, {"face": face_errors}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from training.data.batch import Batch
from training.objective.noise import NoiseSample, NoiseSampler


class TrainingLoss(Protocol):
    """What training makes small. All named values are logged, as loss/NAME."""

    sampler: NoiseSampler
    needs: tuple[str, ...]  # fields of a Batch that it reads, of data.extras

    def __call__(
        self, prediction: Tensor, batch: Batch, noise: NoiseSample
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """(loss of each clip [b] or of all [], what to log by name). Predictions are [b, c, f, h,
        w]; `noise.target` is what they should be.
        """
        ...


class DenoisingLoss:
    """Mean squared error of each clip, weighed by its timestep.

    `min_snr` g weighs by min(snr, g) / snr for noise, / (snr + 1) for velocity (arXiv 2303.09556,
    equation 5). `of_latents` weighs errors of velocity by 1 - a: these are errors of the latents,
    and steps with little noise count little. ValueError for options that do not fit the prediction.
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self, sampler: NoiseSampler, min_snr: float | None = None, of_latents: bool = False
    ):
        if min_snr is not None and not min_snr > 0:
            raise ValueError(f"objective.min_snr is {min_snr!r}, a number above 0 is expected")
        if of_latents and (min_snr is not None or sampler.prediction_type != "v_prediction"):
            raise ValueError(
                "objective.of_latents is for a model that predicts velocity, without "
                "objective.min_snr"
            )
        self.sampler, self.min_snr, self.of_latents = sampler, min_snr, of_latents

    def __call__(
        self, prediction: Tensor, batch: Batch, noise: NoiseSample
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        errors = self.squared_errors(prediction, noise).flatten(1).mean(1)
        return errors * self.timestep_weights(noise), {"mse": errors}

    def squared_errors(self, prediction: Tensor, noise: NoiseSample) -> Tensor:
        """[b, c, f, h, w], float32, before any weights."""
        return (prediction.float() - noise.target.float()).square()

    def timestep_weights(self, noise: NoiseSample) -> Tensor:
        """[b]"""
        signal = noise.signal
        if self.min_snr is None:
            return 1 - signal if self.of_latents else torch.ones_like(signal)
        snr = signal / (1 - signal)
        clipped = snr.clamp(max=self.min_snr)
        if self.sampler.prediction_type == "sample":
            return clipped
        if self.sampler.prediction_type == "v_prediction":
            return clipped / (snr + 1)
        # without signal at all (zero-SNR) the weight for noise would be 0 / 0: its limit is 1
        return (clipped / snr).nan_to_num(1.0)
