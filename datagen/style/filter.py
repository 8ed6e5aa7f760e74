"""The styled twin by image filters, without weights: every frame drawn in one look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen.core import npz as arrays
from datagen.core.errors import Reject
from datagen.core.seeds import seed_of
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.media import video
from datagen.recognising_stage import RecognisingStage
from datagen.style.light import exposure
from datagen.style.looks import LOOKS
from datagen.style.sitter import Sitter
from datagen.swap.donors import Donor, Lazy, builtin_donors, choose
from datagen.swap.search import Found, Recogniser, settled, stray
from datagen.vision import mesh
from datagen.vision.landmarks import FaceMesh

TRIED_FRAMES = 8
COMPARED = 2  # frames on which the recogniser is asked
BUILDS = 3  # seeded heads that it is shown
DrawFrame = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # RGB uint8 frame, its points -> RGB uint8


@dataclass
class FilterStyle(RecognisingStage):
    """Draws every frame of a clip in one look: the first, in an order hashed from its key, in which
    its face stays.

    The drawing is of somebody else: its frames get another build of the head first, one of the
    built-in donors' skin,
    and as much of both as a recogniser needs to see another person (`identity` is the distance of
    dlib's descriptors).
    A face stays where a few frames' face points move for themselves by no more than `drift`
    interocular distances; if
    none does, the best look is taken.
    """

    looks: tuple[str, ...] = tuple(LOOKS)
    seed: int = 0
    identity: float = 0.65
    drift: float = 0.027  # `agree`'s figure lies up to 0.003 above what a few frames say

    name = "style"
    version = 4
    inputs = ("clips", "faces")
    encodes = True
    not_in_key = ("looks", "seed")  # they choose: the order of choice is in `of_clip`

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks = (self.looks,) if isinstance(self.looks, str) else tuple(self.looks)
        unknown = [look for look in self.looks if look not in LOOKS]
        if unknown or not self.looks:
            raise ValueError(f"style.looks: {unknown or 'empty'}; choose from {', '.join(LOOKS)}")

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        looks = sorted(self.looks, key=lambda look: seed_of(self.seed, clip.key, look))
        return {"looks": looks, "build": seed_of(self.seed, clip.key, "sitter")}

    def weights(self) -> dict[str, str]:
        # measure motion, say whose face it is
        return {"mediapipe": version("mediapipe"), **super().weights()}

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh()

    @cached_property
    def _pool(self) -> list[Lazy]:
        return builtin_donors()

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        source, path = clip.path("clips"), workdir / "styled.mp4"
        fps = video.fps_of(source)
        points = mesh.steady(arrays.load(clip.path("faces"))["landmarks"], float(fps))
        known = ~np.isnan(points).any((1, 2))
        shown = evenly(
            TRIED_FRAMES, np.flatnonzero(known) if known.any() else np.arange(len(known))
        )
        pictures = video.at_indices(source, shown)
        draw, metrics = self._drawing(clip, pictures, points[shown], points)
        with video.Writer(path, fps, metadata=mark(self, "redrawn by image filters")) as writer:
            for rgb, face in zip(video.frames(source), points, strict=True):
                writer.write(draw(rgb, face))
        return Artifact(path, metrics)

    def _drawing(
        self, clip: Clip, pictures: np.ndarray, shown: np.ndarray, points: np.ndarray
    ) -> tuple[DrawFrame, dict[str, Any]]:
        """What draws a frame with its points, and how; found on a few frames and theirs `shown`.

        Raises Reject("style_same_person").
        """
        looks = self.of_clip(clip)["looks"]
        if np.isnan(points).any((1, 2)).all():
            draw = partial(_draw, looks[0], exposure(pictures))
            return lambda rgb, _: draw(rgb), {"look": looks[0], "drift": None}
        donor = self._donor(clip)
        sitter = Sitter(donor, points)
        curve = exposure(np.stack([sitter(*each) for each in zip(pictures, shown, strict=True)]))
        strayed, name, found = self._choose(clip, sitter, donor, curve, pictures, shown)
        sitter.draw, sitter.skull = partial(_draw, name, curve), found.skull * found.strength
        told = {"build": round(found.strength, 3), "identity": round(found.distance, 4)}
        strays = round(strayed, 4) if np.isfinite(strayed) else None
        return sitter, {"look": name, "drift": strays, "donor": donor.name, **told}

    def _choose(
        self,
        clip: Clip,
        sitter: Sitter,
        donor: Donor,
        curve: np.ndarray,
        pictures: np.ndarray,
        shown: np.ndarray,
    ) -> tuple[float, str, Found]:
        """The first look in which the face stays and is somebody else's, else the best: how far it
        strays, its name, the build. Raises Reject("style_same_person").
        """
        compared = evenly(COMPARED + 2, np.arange(len(pictures)))[1:-1] or [0]
        apart = Recogniser(self.tells_apart, pictures[compared], shown[compared])
        theirs = donor.descriptor(self.tells_apart)
        own, seed = settled(self._mesh, pictures), self.of_clip(clip)["build"]
        tried: list[tuple[float, str, Found]] = []
        for name in self.of_clip(clip)["looks"]:
            sitter.draw = partial(_draw, name, curve)
            found = sitter.settle(seed, BUILDS, self.identity, apart, theirs)
            if found is None:
                continue
            drawings = (sitter(rgb, face) for rgb, face in zip(pictures, shown, strict=True))
            tried.append((stray(own, settled(self._mesh, drawings)), name, found))
            if found.distance >= self.identity and tried[-1][0] <= self.drift:
                break
        if not tried:
            why = f"in {len(self.looks)} looks of {BUILDS} builds none is {self.identity} away"
            raise Reject("style_same_person", why)
        return min(tried, key=self._flaws)

    def _flaws(self, each: tuple[float, str, Found]) -> tuple[bool, float, float]:
        """Faces that stay come first, the most different of them; else what strays least."""
        strayed, _, found = each
        short = max(self.identity - found.distance, 0.0)
        return strayed > self.drift, short if strayed <= self.drift else strayed, strayed

    def _donor(self, clip: Clip) -> Donor:
        chosen = choose(self._pool, clip, self.of_clip(clip)["build"], self.tells_apart)
        assert chosen is not None, "the built-in donors are twelve people"
        return chosen.drawn


def _draw(name: str, curve: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    return LOOKS[name](cv2.LUT(rgb, curve))
