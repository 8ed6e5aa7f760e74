"""Boxes and the 478 landmarks of the one face in every frame of a clip.

python -m datagen.faces --input raw/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from datagen.core.errors import Reject
from datagen.engine.clip import Artifact, Clip
from datagen.faces.stage import measure, seen_in
from datagen.media import video
from datagen.recognising_stage import RecognisingStage
from datagen.vision.faces import track
from datagen.vision.landmarks import FaceMesh


@dataclass
class MeshFaces(RecognisingStage):
    """MediaPipe FaceMesh: points with irises, tracked; needs no download."""

    name = "faces"
    version = 2
    inputs = ("clips",)

    min_confidence: float = 0.5

    @cached_property
    def mesh(self) -> FaceMesh:
        return FaceMesh(self.min_confidence)

    def weights(self) -> dict[str, str]:
        return {"mediapipe": version("mediapipe"), **super().weights()}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        path = clip.path("clips")
        faces = track(self.mesh, video.frames(path))
        if not faces.found.any():
            raise Reject("no_face", "no frame of the cut clip shows a face that can be measured")
        faces.save(workdir / "faces.npz")
        return Artifact(
            workdir / "faces.npz", {**measure(faces), **seen_in(path, faces, self.tells_apart)}
        )
