"""The styled twin by image filters, without weights: every frame drawn in one look."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen import video
from datagen.clip import Artefact, Clip, seed_of
from datagen.stage import Stage
from datagen.style.light import exposure
from datagen.style.looks import LOOKS


@dataclass
class FilterStyle(Stage):
    """Draws every frame of a clip in one look, chosen by the clip's key."""

    looks: tuple[str, ...] = tuple(LOOKS)
    seed: int = 0

    name = "style"
    version = 1
    inputs = ("clips",)
    encodes = True

    def __post_init__(self):
        self.looks = tuple(self.looks)
        unknown = [look for look in self.looks if look not in LOOKS]
        if unknown or not self.looks:
            raise ValueError(f"style.looks: {unknown or 'empty'}; choose from {', '.join(LOOKS)}")

    def parameters(self) -> dict[str, Any]:
        return {}  # the look that `of_clip` names is all: another choice of looks redraws only the clips it changes

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {"look": self.looks[seed_of(self.seed, clip.key) % len(self.looks)]}

    def __call__(self, clip: Clip, workdir: Path) -> Artefact:
        source, path = clip.path("clips"), workdir / "styled.mp4"
        name = self.of_clip(clip)["look"]
        header = video.probe(source)
        curve = exposure(_spread(source, header))
        with video.Writer(path, Fraction(header.fps).limit_denominator(1001)) as writer:
            for rgb in video.frames(source):
                writer.write(LOOKS[name](cv2.LUT(rgb, curve)))
        return Artefact(path, {"look": name})


def _spread(path: Path, header: video.Probe, count: int = 5) -> np.ndarray:
    """`count` frames spread evenly over a clip, RGB uint8 [N, H, W, 3]."""
    length = round((header.seconds or 0) * header.fps)
    return video.at_indices(path, [(2 * k + 1) * length // (2 * count) for k in range(count)])
