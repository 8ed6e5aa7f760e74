"""The trained parts together: the one way to call the denoiser, in training and inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from model.driven import DrivenEncoder
from model.unet import DenoisingUNet, ReferenceNet


@dataclass(frozen=True)
class Reference:
    """The still pictures of the clips of a batch, encoded."""

    picture: Tensor  # b 3 S S  RGB in [0, 1]
    latents: Tensor  # b 4 h w  mean of the autoencoder's posterior, scaled: for the ReferenceNet
    sample: Tensor  # b 4 h w  a sample of it, scaled: for the denoiser's input
    background: Tensor  # b 1 h w  1 background, 0 person
    tokens: Tensor  # b n d  of the picture without the person


class Animator(nn.Module):
    """DenoisingUNet, ReferenceNet and DrivenEncoder."""

    def __init__(
        self, unet: DenoisingUNet, reference_net: ReferenceNet, driven_encoder: DrivenEncoder
    ):
        super().__init__()
        self.unet = unet
        self.reference_net = reference_net
        self.driven_encoder = driven_encoder

    def forward(
        self,
        noisy: Tensor,
        timestep: Tensor,
        driving: Tensor,
        reference: Reference,
        without: Sequence[bool] = (),
    ) -> Tensor:
        """The training call: noise [b, 4, f, h, w] of noisy latents at timesteps [b], driven by
        frames [b, 3, f, H, W] in [0, 1]. Clips marked in `without` get no reference features.
        """
        driven = self.driven_encoder(driving, reference.picture)
        features = self.features(timestep, reference)
        if not any(without):
            return self.denoise(noisy, timestep, features, driven, reference)
        prediction = noisy.new_empty(noisy.shape)
        for drops in sorted(set(without)):
            rows = [row for row, each in enumerate(without) if each == drops]
            attended = () if drops else tuple(feature[rows] for feature in features)
            part = self.denoise(
                noisy[rows], timestep[rows], attended, driven[rows], chosen(reference, rows)
            )
            prediction = prediction.index_copy(
                0, torch.tensor(rows, device=prediction.device), part.to(prediction.dtype)
            )
        # DDP needs every parameter in every step
        return prediction + 0 * sum(feature.sum() for feature in features)

    def features(self, timestep: Tensor, reference: Reference) -> tuple[Tensor, ...]:
        """The ReferenceNet's features at the denoiser's timesteps [b]."""
        return self.reference_net(reference.latents, timestep, reference.tokens)

    def denoise(
        self,
        noisy: Tensor,
        timestep: Tensor,
        features: Sequence[Tensor],
        driven: Tensor,
        reference: Reference,
    ) -> Tensor:
        """Noise [b, 4, f, h, w]. Without `features` the reference is not read."""
        return self.unet(joined(noisy, driven, reference), timestep, reference.tokens, features)

    def guided(
        self,
        noisy: Tensor,
        timestep: Tensor,
        features: Sequence[Tensor],
        driven: Tensor,
        reference: Reference,
        guidance: float,
    ) -> Tensor:
        """u + guidance (c - u), where u is the noise without the reference's features and c with
        them.
        """
        if guidance == 1:
            return self.denoise(noisy, timestep, features, driven, reference)
        x = joined(noisy, driven, reference)
        without, with_reference = self.unet.forward_cfg(x, timestep, reference.tokens, features)
        return without + guidance * (with_reference - without)


def chosen(reference: Reference, rows: Sequence[int]) -> Reference:
    """The references of these clips of a batch."""
    return Reference(**{f.name: getattr(reference, f.name)[list(rows)] for f in fields(reference)})


def joined(noisy: Tensor, driven: Tensor, reference: Reference) -> Tensor:
    """The denoiser's input [b, c, f, h, w]: noisy, reference, background, driven."""
    still = torch.cat([reference.sample, reference.background], dim=1)[:, :, None]
    return torch.cat([noisy, still.expand(-1, -1, noisy.shape[2], -1, -1), driven], dim=1)
