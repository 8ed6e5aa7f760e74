"""CLIP's tokens of the reference without the person: the only context of both networks, which have
no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class BackgroundTokens:
    """A CLIPVisionModelWithProjection, frozen, and its CLIPImageProcessor."""

    def __init__(self, image_encoder: Any, processor: Any):
        self.image_encoder = image_encoder.requires_grad_(False).eval()
        self.processor = processor

    @torch.no_grad()
    def __call__(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """RGB uint8 [H, W, 3], the person black -> tokens [b, n, d], class token first
        (docs/model.md, 4).
        """
        return self.encode(self.pixels(pictures).to(self.image_encoder.device))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Tokens [b, n, d] of prepared pictures [b, 3, s, s]."""
        vision = self.image_encoder.vision_model
        states = vision(pixel_values=pixels.to(self.image_encoder.dtype)).last_hidden_state
        return self.image_encoder.visual_projection(vision.post_layernorm(states))

    def pixels(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """[b, 3, s, s], as CLIP was trained: bicubic to the shorter side, centre crop, CLIP's mean
        and deviation.
        """
        images = [Image.fromarray(picture) for picture in pictures]
        return self.processor(images=images, return_tensors="pt").pixel_values


def vision_tower(**config: Any) -> Any:
    """CLIP's vision tower with random weights. They are always the same: the tower is frozen, and a
    model depends on it.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**config))


def preparation(side: int) -> Any:
    """CLIP's image processor, by PIL: torchvision's differs by up to 0.015."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side)
