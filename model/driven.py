"""DrivenEncoder: turns driving frames into a few channels at the latents' size, modulated by the
reference.
"""

from __future__ import annotations

import math

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

LAST_SIDE = 4  # px of the reference after all halvings


class DrivenEncoder(ModelMixin, ConfigMixin):
    """See docs/model.md, 2. Names are those of the official condition_input_layer."""

    @register_to_config
    def __init__(
        self,
        out_channels: int = 4,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        reference_channels: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512),
        gain: float = 1.0,
    ):
        super().__init__()
        self.spatial_conv_layers = nn.ModuleList(_spatial(channels))
        self.spatial_conv_out = nn.Conv2d(channels[-1], out_channels, 1)
        last = reference_channels[-1]
        self.refer_convs = nn.Sequential(*_reference(reference_channels))
        self.refer_linears = nn.Sequential(nn.Linear(last, last // 2), nn.SiLU())
        self.refer_linears_out = nn.Sequential(nn.Linear(last // 2, 2 * channels[-1]))
        self._initialise()

    @property
    def reference_side(self) -> int:
        """px of the smallest reference; up to a quarter more works too."""
        return LAST_SIDE * 2 ** (len(self.config.reference_channels) - 1)

    @property
    def shrinks(self) -> int:
        """Driving px for each latent px: eight in the paper, which has four stages."""
        return 2 ** (len(self.config.channels) - 1)

    def forward(self, driving: Tensor, reference: Tensor) -> Tensor:
        """Driving frames [b, 3, f, H, W] and reference [b, 3, S, S], RGB in [0, 1] -> [b, 4, f,
        H/8, W/8], or as many channels and px to a latent as configured.
        """
        side = self.reference_side
        if not all(side <= size < side + side // LAST_SIDE for size in reference.shape[2:]):
            sides = "x".join(map(str, reference.shape[2:]))
            raise ValueError(
                f"the reference is {sides} px, {side} to {side + side // LAST_SIDE - 1} "
                "are expected"
            )
        if driving.shape[3] % self.shrinks or driving.shape[4] % self.shrinks:
            size = tuple(driving.shape[3:])
            raise ValueError(
                f"the driving frames are {size} px, multiples of {self.shrinks} are expected"
            )
        scale, shift = self.modulation(reference)
        frames = driving.shape[2]
        y = self.spatial(driving.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, frames))
        y = y * (1 + scale) + shift
        return self.spatial_conv_out(y.flatten(0, 1)).unflatten(0, (-1, frames)).transpose(1, 2)

    def spatial(self, pictures: Tensor) -> Tensor:
        """[n, 3, H, W] in [0, 1] -> [n, 128, H/8, W/8]"""
        y = 2 * pictures - 1
        for layer in self.spatial_conv_layers:
            y = layer(y)
        return y

    def modulation(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift [b, 1, 128, 1, 1] by the reference [b, 3, S, S] in [0, 1]."""
        y = self.refer_convs(2 * reference - 1).flatten(1)
        scale, shift = self.refer_linears_out(self.refer_linears(y))[:, None, :, None, None].chunk(
            2, dim=2
        )
        return scale, shift

    def _initialise(self) -> None:
        """Convolutions He by fan-in, the last one times `gain`; no scale or shift at first."""
        for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            nn.init.normal_(conv.weight, std=math.sqrt(2 / conv.weight[0].numel()))
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.spatial_conv_out.weight.data *= self.config.gain
        for parameter in self.refer_linears_out.parameters():
            nn.init.zeros_(parameter)


def _spatial(channels: tuple[int, ...]) -> list[nn.Module]:
    """Stages of two convolutions; all but the last halve the side."""
    stages: list[nn.Module] = []
    for into, out in zip((3, *channels), channels, strict=False):
        is_last = len(stages) == len(channels) - 1
        second = nn.Conv2d(into, out, 3, padding=1) if is_last else nn.Conv2d(into, out, 4, 2, 1)
        stages.append(
            nn.Sequential(nn.Conv2d(into, into, 3, padding=1), nn.SiLU(), second, nn.SiLU())
        )
    return stages


def _reference(channels: tuple[int, ...]) -> list[nn.Module]:
    """A convolution, a halving one for each step of `channels`, and one from 4 px to 1 px."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), nn.SiLU()]
    for into, out in zip(channels, channels[1:], strict=False):
        layers += [
            nn.Conv2d(into, out, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(out, out, 3, padding=1),
            nn.SiLU(),
        ]
    return [*layers, nn.Conv2d(channels[-1], channels[-1], LAST_SIDE), nn.SiLU()]
