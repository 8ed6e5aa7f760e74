"""Augmentation that keeps the streams in step: other colours, bent and mirrored faces.

Frames are float32 [n, 3, H, W] in [0, 1] while they are changed, and uint8 levels before and after:
all samples of a batch have one type. All random numbers come from the generator that is passed in.
A strength of 0 draws as many as any other, so that an option changes nothing but what it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datagen.vision.mirror import MIRRORED
from model.inputs import driving as drive
from training.data.batch import to_floats, to_levels

COARSE = 5  # points of a displacement field each way
LIGHT, SATURATION, HUE = 0.4, 0.4, 0.5  # at strength 1: factors around 1, and radians
NEAR = 0.02  # px of change between two rounds that ends an inversion
BEND, STRETCH = 0.12, 0.4  # at strength 1, of half the frame's side; the mapping stays one to one


@dataclass(frozen=True)
class Augmentation:
    """Strengths and probabilities in [0, 1]; 0 changes nothing."""

    warp_probability: float = (
        0.0  # driving frames: aspect and scale drawn from these ranges (docs/model.md, 6)
    )
    warp_aspect: tuple[float, float] = (0.8, 1.2)
    warp_scale: tuple[float, float] = (0.8, 1.2)
    jitter: float = 0.0  # colours: the same for target and reference, others for the driving frames
    flip: float = 0.0  # probability of everything mirrored
    reshape: float = (
        0.0  # target and reference bent alike into another face; the driving frames are not
    )
    reshape_driving: float = (
        0.0  # driving frames bent alike into another face; target and reference are not
    )
    donor_shape: float = (
        0.0  # probability that driving frames take the face shape of another person
    )

    def mistakes(self) -> Iterator[str]:
        """One phrase for each mistake in the options."""
        for name in (
            "warp_probability",
            "jitter",
            "flip",
            "reshape",
            "reshape_driving",
            "donor_shape",
        ):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value <= 1):
                yield f"{name} is {value!r}, a number from 0 to 1 is expected"
        for name in ("warp_aspect", "warp_scale"):
            bounds = getattr(self, name)
            if not (len(bounds) == 2 and 0.1 <= bounds[0] <= bounds[1] <= 10):
                yield f"{name} is {list(bounds)}, a range [low, high] within 0.1 to 10 is expected"

    def needs_pixels(self) -> list[str]:
        """Options in use that change target or reference, whose latents then cannot be cached."""
        return [name for name in ("jitter", "flip", "reshape") if getattr(self, name)]

    def draw(self, generator: torch.Generator) -> AppliedAugmentation:
        """The random numbers of one sample."""
        warp = _uniform(3, generator).tolist()
        ours, driving = (ColourJitter.draw(self.jitter, generator) for _ in range(2))
        flipped = bool(_uniform(1, generator) < self.flip)
        shape, driving_shape = (
            SmoothWarp.draw(each, generator) for each in (self.reshape, self.reshape_driving)
        )
        aspect, scale = (
            low + (high - low) * share
            for (low, high), share in zip(
                (self.warp_aspect, self.warp_scale), warp[1:], strict=True
            )
        )
        warped = (aspect, scale) if warp[0] < self.warp_probability else None
        other, donor = _uniform(2, generator).tolist()
        lent = donor if other < self.donor_shape else None
        return AppliedAugmentation(warped, ours, driving, flipped, shape, driving_shape, lent)


@dataclass(frozen=True)
class ColourJitter:
    """Factors of brightness, contrast and saturation; hue turns in radians about grey (YIQ)."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    @classmethod
    def draw(cls, strength: float, generator: torch.Generator) -> ColourJitter | None:
        """None where nothing changes."""
        light, contrast, saturation, hue = ((2 * _uniform(4, generator) - 1) * strength).tolist()
        drawn = cls(1 + LIGHT * light, 1 + LIGHT * contrast, 1 + SATURATION * saturation, HUE * hue)
        return drawn if strength else None

    def __call__(self, pictures: Tensor) -> Tensor:
        """Contrast changes about middle grey, not a frame's mean, so that all frames of a clip
        change alike.
        """
        light = self.contrast * (self.brightness * pictures - 0.5) + 0.5
        return torch.einsum("rc,nchw->nrhw", self._matrix().to(light), light).clamp(0, 1)

    def _matrix(self) -> Tensor:
        to_yiq = torch.tensor(
            [drive.LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64
        )
        cos, sin = (self.saturation * float(f(self.hue)) for f in (np.cos, np.sin))
        turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
        return torch.linalg.solve(to_yiq, turn @ to_yiq)


@dataclass(frozen=True)
class SmoothWarp:
    """A smooth bend of the frame: where each point of the result comes from, as an offset in
    coordinates of [-1, 1].

    It is symmetric, as faces are: an asymmetric bend would look like another pose.
    """

    matrix: Tensor  # 2 2
    field: Tensor  # 1 2 COARSE COARSE

    @classmethod
    def draw(cls, strength: float, generator: torch.Generator) -> SmoothWarp | None:
        """None where nothing changes."""
        stretch, *bend = ((2 * _uniform(1 + 2 * COARSE**2, generator) - 1) * strength).tolist()
        aspect = float(np.exp(STRETCH * stretch / 2))
        field = BEND * torch.tensor(bend).reshape(1, 2, COARSE, COARSE)
        even = (field + torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1) * field.flip(-1)) / 2**0.5
        drawn = cls(torch.tensor([[aspect, 0.0], [0.0, 1 / aspect]]), even)
        return drawn if strength else None

    def __call__(self, pictures: Tensor, mode: str = "bilinear") -> Tensor:
        """Float [n, c, H, W]. Outside, the border is repeated."""
        grid = self._sources(pictures.shape[2]).expand(len(pictures), -1, -1, -1)
        return F.grid_sample(pictures, grid, mode=mode, padding_mode="border", align_corners=False)

    def points(self, points: np.ndarray, side: int) -> np.ndarray:
        """Where points [..., 2] px of frames of `side` px lie in the result: the inverse mapping,
        by fixed-point iteration.
        """
        target = torch.from_numpy(points.reshape(1, -1, 1, 2) * (2 / side) - 1).float()
        inverse, source = torch.linalg.inv(self.matrix), target
        for _ in range(30):
            bend = F.grid_sample(
                self.field, source, mode="bilinear", padding_mode="border", align_corners=True
            )
            before, source = source, (target - bend.permute(0, 2, 3, 1)) @ inverse.T
            if (source - before).abs().max() * side < NEAR:  # three to ten rounds
                break
        return ((source + 1) * (side / 2)).numpy().reshape(points.shape).astype(np.float32)

    def _sources(self, side: int) -> Tensor:
        """[1, side, side, 2], x before y. The field's points span the frame, corners included."""
        middles = (2 * torch.arange(side) + 1) / side - 1
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        grid = torch.stack([x, y], dim=-1)[None]
        bend = F.grid_sample(
            self.field, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        return grid @ self.matrix.T + bend.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class AppliedAugmentation:
    """What is done to one sample."""

    warp: tuple[float, float] | None  # aspect, scale
    colours: ColourJitter | None
    driving_colours: ColourJitter | None
    flipped: bool
    shape: SmoothWarp | None
    driving_shape: SmoothWarp | None
    donor: float | None = (
        None  # in [0, 1): which of the other people lends the driving frames a face shape
    )

    def pictures(self, pictures: Tensor) -> Tensor:
        """Frames of target or reference, uint8 [n, 3, H, W]."""
        if self.shape or self.colours:
            shown = to_floats(pictures)
            shown = self.shape(shown) if self.shape else shown
            pictures = to_levels(self.colours(shown) if self.colours else shown)
        return self.mirrored(pictures)

    def driving(self, pictures: Tensor, boxes: np.ndarray, grey: bool) -> Tensor:
        """The face alone, uint8 [n, 1 or 3, S, S] of uint8 [n, 3, S, S]; face boxes [n, 4] px."""
        if self.driving_colours:
            pictures = to_levels(self.driving_colours(to_floats(pictures)))
        alone = drive.face_alone(pictures, boxes, grey)
        if self.driving_shape or self.warp:
            shown = alone.float().div_(255)
            shown = self.driving_shape(shown) if self.driving_shape else shown
            alone = to_levels(drive.warp(shown, *self.warp) if self.warp else shown)
        return self.mirrored(alone)

    def levels(self, levels: Tensor) -> Tensor:
        """uint8 [n, H, W] of a mask of target or reference."""
        if self.shape:
            levels = self.shape(levels[:, None].float(), mode="nearest")[:, 0].to(torch.uint8)
        return self.mirrored(levels)

    def landmarks(self, points: np.ndarray, side: int) -> np.ndarray:
        """[f, 478, 2] px of target frames of `side` px."""
        points = self.shape.points(points, side) if self.shape else points
        return (points * [-1, 1] + [side, 0])[:, MIRRORED] if self.flipped else points

    def mirrored(self, pictures: Tensor) -> Tensor:
        return pictures.flip(-1) if self.flipped else pictures


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator)
