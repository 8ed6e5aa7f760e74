"""The styled twin by image filters, without weights: every frame drawn in one look."""

from __future__ import annotations

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
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.media import video
from datagen.recognising_stage import RecognisingStage
from datagen.style.light import exposure
from datagen.style.looks import LOOKS
from datagen.style.sitter import Sitter
from datagen.swap.donors import Lazy, builtin_donors, choose
from datagen.swap.search import OVER, Found, somebody_else
from datagen.swap.trial import Trial
from datagen.vision import mesh
from datagen.vision.landmarks import FaceMesh

BUILDS = 8  # seeded heads that the recogniser is shown
TRIED = 3  # of them, at the strength they need
FEW = 3  # looks that are tried for their motion, once one is of somebody else


@dataclass
class FilterStyle(RecognisingStage):
    """Draws every frame of a clip in one look: the first, in an order hashed from its key, that
    keeps the motion.

    The drawing is of somebody else: its frames first get another build of the head and the skin of
    one of the built-in donors, as strong as the recogniser needs to see another person (`identity`
    is the distance of its descriptors). Motion is kept where a few frames' face points move for
    themselves by no more than `drift` interocular distances, and brows, eyes and mouth go with the
    target's; if no look keeps it, the best is taken. A clip is rejected where every drawing is
    nearer than `least`.
    """

    looks: tuple[str, ...] = tuple(LOOKS)
    seed: int = 0
    identity: float = 0.68
    least: float = 0.3  # as in the swap
    drift: float = 0.017

    name = "style"
    version = 5
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
        build = seed_of(self.seed, clip.key, "sitter")
        donor = choose(self._pool, clip, build, self.tells_apart)
        who = {"donor": donor.name, "sha256": donor.sha256} if donor else {"donor": None}
        return {"looks": looks, "build": build, **who}

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
        if np.isnan(points).any((1, 2)).all():
            return self._without_face(clip, path)
        sitter, metrics = self._drawing(clip, points)
        with video.Writer(path, fps, metadata=mark(self, "redrawn by image filters")) as writer:
            for rgb, face in zip(video.frames(source), points, strict=True):
                writer.write(sitter(rgb, face))
        return Artifact(path, metrics)

    def _without_face(self, clip: Clip, path: Path) -> Artifact:
        """Nobody is seen, so there is nobody to change."""
        look, source = self.of_clip(clip)["looks"][0], clip.path("clips")
        curve = exposure(video.at_indices(source, [0]))
        how = mark(self, "redrawn by image filters")
        with video.Writer(path, video.fps_of(source), metadata=how) as writer:
            for rgb in video.frames(source):
                writer.write(_draw(look, curve, rgb))
        return Artifact(path, {"look": look, "drift": None})

    def _drawing(self, clip: Clip, points: np.ndarray) -> tuple[Sitter, dict[str, Any]]:
        """What draws a frame with its points, and how. Raises Reject("style_same_person")."""
        donor = choose(self._pool, clip, self.of_clip(clip)["build"], self.tells_apart)
        if donor is None:
            raise Reject("no_donor", "every built-in donor looks like the clip's own person")
        trial = Trial.of(clip.path("clips"), points, self._mesh, self.tells_apart)
        sitter = Sitter(donor.drawn, points)
        curve = exposure(np.stack([sitter(*each) for each in trial.frames]))
        name, found = self._choose(clip, sitter, curve, trial)
        sitter.draw, sitter.skull = partial(_draw, name, curve), found.skull * found.strength
        drift = round(found.kept.drift, 4) if np.isfinite(found.kept.drift) else None
        measured = {"build": round(found.strength, 3), "identity": round(found.distance, 4)}
        return sitter, {"look": name, "drift": drift, "donor": donor.name, **measured}

    def _choose(
        self, clip: Clip, sitter: Sitter, curve: np.ndarray, trial: Trial
    ) -> tuple[str, Found]:
        """The first look that is of somebody else and keeps the motion, else the best; its build.

        Raises Reject("style_same_person").
        """
        order, seed = self.of_clip(clip)["looks"], self.of_clip(clip)["build"]
        undrawn = self._build(sitter, seed, trial)
        wanted = min(self.identity, undrawn.distance)  # a drawing is hardly farther away
        tried: list[tuple[str, Found]] = []
        for name in order:
            if len(tried) >= FEW and max(found.distance for _, found in tried) >= wanted - OVER:
                break
            sitter.draw = partial(_draw, name, curve)
            found = somebody_else(sitter, [undrawn.skull], 1, wanted, self.drift, trial)
            tried.append((name, found))
            if found.distance >= wanted - OVER and found.kept.is_good(self.drift):
                break
        best = min(tried, key=lambda each: each[1].flaws(wanted, self.drift))
        if best[1].distance < self.least:
            why = f"in none of {len(order)} looks the drawing is {self.least} from the target"
            raise Reject("style_same_person", why)
        return best

    def _build(self, sitter: Sitter, seed: int, trial: Trial) -> Found:
        """The build that keeps the motion best, found before anything is drawn, which is quicker
        and lets FaceMesh see more.
        """
        skulls = sitter.builds(seed, BUILDS)
        return somebody_else(sitter, skulls, TRIED, self.identity, self.drift, trial.half())


def _draw(name: str, curve: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    return LOOKS[name](cv2.LUT(rgb, curve))
