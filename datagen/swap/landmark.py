"""The default swap: another build of the head on a landmark mesh, and the donor's skin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datagen.core import npz as arrays
from datagen.core.errors import Reject
from datagen.core.seeds import seed_of
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.media import video
from datagen.swap.search import Found, somebody_else
from datagen.swap.swapper import Swapper
from datagen.swap.trial import Trial
from datagen.swap.twin import Swap
from datagen.vision import mesh
from datagen.vision.landmarks import FaceMesh

BUILDS = 10  # seeded heads that the recogniser is shown
TRIED = 3  # of them, at the strength they need
COVERED, MOST_COVERED = 0.12, 0.3  # of a face, and of the tried frames, that may be hidden


@dataclass
class LandmarkSwap(Swap):
    """Swaps by a landmark mesh: another build of the head, moved feature by feature, and the
    donor's skin.

    `shape` and `colour` say how far the face's outline and the skin's colour go towards the
    donor's; 0 is not at all. The build gets as strong as the recogniser needs to see somebody else:
    `identity` is the distance of its descriptors. Of several builds the first is taken that gets
    there and keeps the motion, the face points moving for themselves by no more than `drift`
    interocular distances; else the best. A clip of which every twin is nearer than `least`, or
    strays farther than `most_drift`, is rejected.
    """

    version: ClassVar[int] = 5

    shape: float = 0.7
    colour: float = 0.85
    identity: float = 0.68
    least: float = 0.3  # select's rules may ask for more; drawn people are hardly told apart
    drift: float = 0.015
    most_drift: float = 0.03

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {**super().of_clip(clip), "build": seed_of(self.seed, clip.key, "build")}

    def weights(self) -> dict[str, str]:
        # find the donor's points and measure motion
        return {"mediapipe": version("mediapipe"), **super().weights()}

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh()

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        donor = self.donor(clip)
        source, path = clip.path("clips"), workdir / "swapped.mp4"
        fps = video.fps_of(source)
        points = mesh.steady(arrays.load(clip.path("faces"))["landmarks"], float(fps))
        known = ~np.isnan(points).any((1, 2))
        if not known.any():
            raise Reject("no_face", "no frame has face points")
        usual = np.median(mesh.frontal(points[known]), axis=0)
        swapper = Swapper(donor, usual, self.shape, self.colour)
        trial = Trial.of(source, points, self._mesh, self.tells_apart)
        metrics = self._settle(swapper, self.of_clip(clip)["build"], trial)
        with video.Writer(path, fps, metadata=mark(self, "another face put in")) as writer:
            for rgb, face, is_known in zip(video.frames(source), points, known, strict=True):
                writer.write(swapper(rgb, face) if is_known else rgb)
        return Artifact(path, {"donor": donor.name, **metrics})

    def _settle(self, swapper: Swapper, seed: int, trial: Trial) -> dict[str, float]:
        """Give the swapper its build; what it does to the tried frames.

        Raises Reject("face_covered" | "swap_same_person" | "swap_moved").
        """
        swapper.learn(trial.pictures, trial.points)
        covered = np.mean([swapper.covered(*frame) > COVERED for frame in trial.frames])
        if covered > MOST_COVERED:
            why = f"something lies before the face in {covered:.0%} of the frames looked at"
            raise Reject("face_covered", why)
        skulls = swapper.builds(seed, BUILDS)
        found = somebody_else(swapper, skulls, TRIED, self.identity, self.drift, trial.half())
        if found.distance < self.least:
            why = f"of {len(skulls)} builds none is {self.least} from the target"
            raise Reject("swap_same_person", why)
        if found.kept.drift > self.most_drift:
            why = f"the face points stray by {found.kept.drift:.3f}, {self.most_drift} is allowed"
            raise Reject("swap_moved", why)
        return self._metrics(swapper, found, trial)

    def _metrics(self, swapper: Swapper, found: Found, trial: Trial) -> dict[str, float]:
        changes = [swapper.change(rgb, swapper(rgb, face), face) for rgb, face in trial.frames[::3]]
        outline, colour = np.mean(changes, axis=0).round(4).tolist()
        return {
            "build": round(found.strength, 3),
            "drift": round(found.kept.drift, 4),
            "lost": round(found.kept.lost, 4),
            "identity": round(found.distance, 4),
            "shape_change": outline,
            "colour_change": colour,
        }
