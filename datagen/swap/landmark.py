"""The default swap: landmark mesh, colour transfer and blending; needs no download."""

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
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.media import video
from datagen.swap.donors import Donor
from datagen.swap.search import Found, Recogniser, settled, somebody_else, stray
from datagen.swap.skull import Skull
from datagen.swap.swapper import Swapper
from datagen.swap.twin import Swap
from datagen.vision import mesh
from datagen.vision.landmarks import FaceMesh

TRIED_FRAMES = 8  # whose face points are compared
COMPARED = 2  # frames on which the recogniser is asked
BUILDS = 3  # seeded heads that the recogniser is shown
COVERED, MOST_COVERED = (
    0.12,
    0.3,
)  # of a face, and of the frames tried, before which something may lie
PAINTS = (1.0, 0.6, 0.3)  # opacities of the donor's skin that are tried


@dataclass
class LandmarkSwap(Swap):
    """Swaps by a landmark mesh: another build of the head, moved feature by feature, and the
    donor's skin.

    `shape` and `colour` say how far the face's outline and the skin's colour go towards the
    donor's; 0 is not at all.
    The build gets as strong as a recogniser needs to see somebody else: `identity` is the distance
    of dlib's
    descriptors. A clip is rejected where no build gets there, or where the face points would move
    for themselves by
    more than `drift` interocular distances.
    """

    version: ClassVar[int] = 4

    shape: float = 0.7
    colour: float = 0.85
    identity: float = 0.65
    drift: float = 0.02

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
        swapper = Swapper(
            donor, np.median(mesh.frontal(points[known]), axis=0), self.shape, self.colour
        )
        shown = evenly(TRIED_FRAMES, np.flatnonzero(known))
        metrics = self._temper(
            swapper,
            self._builds(swapper, clip),
            donor,
            video.at_indices(source, shown),
            points[shown],
        )
        with video.Writer(path, fps, metadata=mark(self, "another face put in")) as writer:
            for rgb, face, is_known in zip(video.frames(source), points, known, strict=True):
                writer.write(swapper(rgb, face) if is_known else rgb)
        return Artifact(path, {"donor": donor.name, **metrics})

    def _builds(self, swapper: Swapper, clip: Clip) -> list[Skull]:
        return swapper.builds(self.of_clip(clip)["build"], BUILDS)

    def _temper(
        self,
        swapper: Swapper,
        skulls: list[Skull],
        donor: Donor,
        pictures: np.ndarray,
        points: np.ndarray,
    ) -> dict[str, float]:
        """Make the swapper somebody else, no more than it takes, with the target's motion.

        What it does to these frames. Raises Reject("face_covered" | "swap_same_person" |
        "swap_moved").
        """
        own = settled(self._mesh, pictures)
        swapper.learn(pictures, points)
        covered = np.mean(
            [swapper.covered(*frame) > COVERED for frame in zip(pictures, points, strict=True)]
        )
        if covered > MOST_COVERED:
            raise Reject(
                "face_covered",
                f"something lies before the face in {covered:.0%} of the frames looked at",
            )
        shown = evenly(COMPARED + 2, np.arange(len(pictures)))[1:-1] or [0]
        apart = Recogniser(self.tells_apart, pictures[shown], points[shown])
        theirs = donor.descriptor(self.tells_apart)
        strays = None
        for found in somebody_else(swapper, skulls, self.identity, apart, theirs):
            for swapper.paint in PAINTS:
                swapped = [swapper(rgb, face) for rgb, face in zip(pictures, points, strict=True)]
                strays = stray(own, settled(self._mesh, swapped))
                if strays <= self.drift:
                    return self._told(swapper, found, strays, pictures, swapped, points)
            swapper.paint = PAINTS[0]
        if strays is None:
            raise Reject(
                "swap_same_person",
                f"of {len(skulls)} builds none is {self.identity} from the target",
            )
        raise Reject(
            "swap_moved", f"the face points stray by {strays:.3f}, at most {self.drift} is allowed"
        )

    def _told(
        self,
        swapper: Swapper,
        found: Found,
        strays: float,
        pictures: np.ndarray,
        swapped: list[np.ndarray],
        points: np.ndarray,
    ) -> dict[str, float]:
        changes = [swapper.change(*frame) for frame in zip(pictures, swapped, points, strict=True)]
        outline, colour = np.mean(changes, axis=0).round(4).tolist()
        taken = {
            "build": round(found.strength, 3),
            "paint": swapper.paint,
            "drift": round(strays, 4),
        }
        return {
            **taken,
            "identity": round(found.distance, 4),
            "shape_change": outline,
            "colour_change": colour,
        }
