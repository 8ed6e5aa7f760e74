"""All parts of a model in one folder, in diffusers' layout. Makes videos from a reference picture
and driving frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

import model.dct  # noqa: F401  diffusers looks a part's class up among what is imported
from datagen.core.seeds import seed_of
from model.animator import Animator, Reference
from model.background import BackgroundTokens
from model.latents import Latents
from model.sampling import DenoisingLoop, Window, windows


class Driving(Protocol):
    """The driving frames of a video whose length is known."""

    def __len__(self) -> int: ...

    def read(self, frames: range) -> Tensor:
        """Frames [3, n, H, W] in [0, 1], grey or in colour, as the model takes them. Each frame is
        read once, in order.
        """
        ...


@dataclass(frozen=True)
class SamplingSettings:
    """How a video is made from noise."""

    steps: int = 25
    guidance: float = 4.5
    seed: int = 42
    window: int = 16
    overlap: int = 8
    closed: bool = False  # official: blends the end of the video with its beginning
    batch: int = 1  # windows at once


class MegActorPipeline(DiffusionPipeline):
    """`save_pretrained` and `from_pretrained` are diffusers': model_index.json and a folder for
    each part.
    """

    def __init__(
        self,
        unet: Any,
        reference_net: Any,
        driven_encoder: Any,
        vae: Any,
        image_encoder: Any,
        feature_extractor: Any,
        scheduler: Any,
        grey: bool = True,
        margin: float | None = None,
    ):
        """`grey` and `margin` say what the model was trained on and are kept in model_index.json:
        driving frames without colour; side of the square over side of the face, None for the
        largest squares.
        """
        super().__init__()
        if not (margin is None or (isinstance(margin, int | float) and 1 <= margin < 1e6)):
            raise ValueError(f"margin is {margin!r}, a number from 1 or null is expected")
        self.register_to_config(grey=grey, margin=margin)
        self.register_modules(
            unet=unet,
            reference_net=reference_net,
            driven_encoder=driven_encoder,
            vae=vae,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            scheduler=scheduler,
        )
        self.animator = Animator(unet, reference_net, driven_encoder)
        self.latents = Latents(vae)
        self.background = BackgroundTokens(image_encoder, feature_extractor)

    @property
    def grey(self) -> bool:
        """Whether driving frames go in without colour."""
        return bool(self.config.grey)

    @property
    def margin(self) -> float | None:
        """Side of the squares over side of the face; None: the largest squares."""
        return self.config.margin

    @property
    def factor(self) -> int:
        """Pixels to a latent."""
        patch = getattr(self.vae.config, "patch", None)
        return patch or 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def side(self) -> int:
        """px of the pictures that this model makes."""
        return self.driven_encoder.reference_side

    @property
    def driving_side(self) -> int:
        """px of the driving frames."""
        return self.driven_encoder.shrinks * self.side // self.factor

    @property
    def longest_window(self) -> int:
        """Frames that the motion modules have positions for."""
        return int(self.unet.config.motion_max_seq_length)

    @torch.no_grad()
    def reference(self, picture: np.ndarray, background: np.ndarray, seed: int) -> Reference:
        """RGB uint8 [S, S, 3] of `side` px; background bool [S, S]."""
        device, dtype = self.device, self.unet.dtype
        pixels = torch.from_numpy(picture).to(device, dtype).permute(2, 0, 1)[None] / 255
        generator = torch.Generator("cpu").manual_seed(seed)
        latents = self.latents.mean(pixels)
        mask = torch.from_numpy(background).to(device, dtype)[None, None]
        return Reference(
            picture=pixels,
            latents=latents,
            sample=self.latents.sample(pixels, generator),
            background=torch.nn.functional.interpolate(
                mask, size=latents.shape[2:], mode="nearest"
            ),
            tokens=self.background([picture * background[..., None].astype(np.uint8)]).to(dtype),
        )

    @torch.no_grad()
    def animate(
        self, reference: Reference, driving: Driving, settings: SamplingSettings
    ) -> Iterator[np.ndarray]:
        """RGB uint8 [S, S, 3], frame by frame. Memory grows with the video only if it is
        `closed`.
        """
        sampler = _Sampler(self, reference, driving, settings)
        for frame, latents in sampler.loop().run():
            del sampler.driven[frame]
            rgb = self.latents.decode(latents[None])[0].permute(1, 2, 0)
            yield (rgb.float().cpu().numpy() * 255).round().astype(np.uint8)


class _Sampler:
    """What the loop over one video needs: the reference features of each step, and the driving
    features of frames in progress.
    """

    def __init__(
        self,
        pipeline: MegActorPipeline,
        reference: Reference,
        driving: Driving,
        settings: SamplingSettings,
    ):
        self.animator = pipeline.animator
        self.scheduler = type(pipeline.scheduler).from_config(
            pipeline.scheduler.config
        )  # a scheduler holds the state of its steps
        self.reference, self.driving, self.settings = reference, driving, settings
        self.scheduler.set_timesteps(settings.steps, device=reference.latents.device)
        self.features: dict[int, tuple[Tensor, ...]] = {}
        self.driven: dict[int, Tensor] = {}  # frame -> [4, h, w]
        self.read = 0
        self.plan = windows(len(driving), settings.window, settings.overlap, settings.closed)

    def loop(self) -> DenoisingLoop:
        steps, batch = len(self.scheduler.timesteps), self.settings.batch
        return DenoisingLoop(self.plan, steps, self.predict, self.step, self.start, batch)

    def start(self, frame: int) -> Tensor:
        """A frame's noise does not depend on the length of the video."""
        latents = self.reference.latents[0]
        generator = torch.Generator("cpu").manual_seed(seed_of("noise", self.settings.seed, frame))
        noise = torch.randn(latents.shape, generator=generator) * self.scheduler.init_noise_sigma
        return noise.to(latents.device)

    def step(self, noise: Tensor, number: int, latents: Tensor) -> Tensor:
        return self.scheduler.step(noise, self.scheduler.timesteps[number], latents).prev_sample

    def predict(self, frames: Sequence[Window], steps: Sequence[int], latents: Tensor) -> Tensor:
        driven = torch.stack([self._driven(window) for window in frames])
        timesteps = self.scheduler.timesteps[list(steps)].to(latents.device)
        features = tuple(
            torch.cat(level)
            for level in zip(*(self._features(step) for step in steps), strict=True)
        )
        reference = repeated(self.reference, len(frames))
        return self.animator.guided(
            latents, timesteps, features, driven, reference, self.settings.guidance
        )

    def _features(self, step: int) -> tuple[Tensor, ...]:
        """The ReferenceNet runs once for each step."""
        if step not in self.features:
            self.features[step] = self.animator.features(
                self.scheduler.timesteps[step][None], self.reference
            )
        return self.features[step]

    def _driven(self, window: Window) -> Tensor:
        """[4, f, h, w]. The DrivenEncoder runs once for each frame."""
        while self.read <= max(window):
            frames = range(self.read, min(self.read + self.settings.window, len(self.driving)))
            pictures = self.driving.read(frames).to(self.reference.picture)
            driven = self.animator.driven_encoder(pictures[None], self.reference.picture)[0]
            self.driven |= dict(zip(frames, driven.unbind(1), strict=True))
            self.read = frames.stop
        return torch.stack([self.driven[frame] for frame in window], dim=1)


def repeated(reference: Reference, count: int) -> Reference:
    """The same reference for `count` clips, as views."""
    parts = {f.name: getattr(reference, f.name) for f in fields(reference)}
    return Reference(**{name: part.expand(count, *part.shape[1:]) for name, part in parts.items()})
