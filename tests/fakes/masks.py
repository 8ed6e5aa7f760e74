"""What tests of masks share: painted faces, clips of them, and how a command refuses."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from datagen.engine.clip import Artifact, Clip
from datagen.mask.stage import MaskStage
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh
from datagen.vision.regions import face_polygon
from tests.faults import call

COLOURS = {
    "face": (230, 20, 20),
    "hair": (20, 20, 230),
    "background": (20, 20, 20),
    "nose": (20, 230, 20),
}
NOBODY = {"person_threshold": 2.0}  # nothing is as certain as that: MediaPipe's person is left out


@cache
def face_points() -> np.ndarray:
    """float32 [478, 3] px of a face in a picture of 512 px."""
    found = FaceMesh()(portrait(person(0)))
    assert found is not None
    return found


def painted(points: np.ndarray, name: str = "face") -> np.ndarray:
    """RGB uint8 [512, 512, 3]: the face's oval in the colour of `name`, its nose, hair above it,
    background.
    """
    rgb = np.full((512, 512, 3), COLOURS["background"], np.uint8)
    oval = face_polygon(rgb.shape, points)
    low = int(points[10, 1])
    cv2.ellipse(rgb, (int(points[10, 0]), low), (70, 60), 0, 180, 360, COLOURS["hair"], -1)
    rgb[oval] = COLOURS[name]
    return cv2.circle(rgb, (int(points[1, 0]), int(points[1, 1])), 20, COLOURS["nose"], -1)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def filmed(folder: Path, frames: list[np.ndarray], points: list[np.ndarray | None]) -> Clip:
    with video.Writer(folder / "clip.mp4", 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    Faces.of(points).save(folder / "faces.npz")
    return Clip(
        "a",
        {},
        artifacts={"clips": Artifact(folder / "clip.mp4"), "faces": Artifact(folder / "faces.npz")},
    )


def same_bytes(stages: list[MaskStage], clip: Clip, folder: Path) -> bool:
    """Whether all make the same video, those of a worker that saw another clip before, too."""
    found = set()
    for number, stage in enumerate([*stages, *stages, pickle.loads(pickle.dumps(stages[0]))]):
        (folder / str(number)).mkdir()
        found.add(stage(clip, folder / str(number)).path.read_bytes())
    return len(found) == 1


def mistake(folder: Path, *words: object) -> str:
    """What the command says, which ends with code 2 before it has made anything."""
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "a.mp4").touch()
    ended = call(
        "datagen.mask",
        "--input",
        folder / "raw",
        "--store",
        folder / "store",
        "--runner",
        "local",
        *words,
    )
    assert ended.code == 2 and not (folder / "store").exists()
    return ended.sentence
