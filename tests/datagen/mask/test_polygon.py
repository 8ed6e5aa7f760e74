"""Person and face of every frame: the levels survive the encoder, the masks lie on the person that
was drawn.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.engine.clip import Artifact, Clip
from datagen.mask.polygon import PolygonMask
from datagen.media import video
from datagen.sources.rendering.people import look_of, person, portrait
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import split


@pytest.fixture(scope="module")
def faces_of():
    mesh = FaceMesh()

    def find(frames: list[np.ndarray]) -> Faces:
        mesh.reset()
        return Faces.of(mesh(rgb) for rgb in frames)

    return find


def masked(
    folder: Path, frames: list[np.ndarray], faces: Faces, **options: float
) -> tuple[np.ndarray, dict]:
    """Grey levels [T, H, W] of the mask's video and its metrics, of a clip of these frames."""
    with video.Writer(folder / "clip.mp4", 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    faces.save(folder / "faces.npz")
    artifacts = {"clips": Artifact(folder / "clip.mp4"), "faces": Artifact(folder / "faces.npz")}
    made = PolygonMask(**options)(Clip("a", {}, artifacts=artifacts), folder)
    return np.stack([rgb[..., 0] for rgb in video.frames(made.path)]), made.metrics


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_levels_survive_the_encoder(monkeypatch, tmp_path):
    """A person and a face that move, as sharp as they come, through the stage."""
    monkeypatch.setattr(PolygonMask, "person", lambda self, rgb: rgb[..., 0] > 128)
    frames, points = [], np.zeros((12, geometry.POINTS, 3), np.float32)
    for n in range(12):
        person = cv2.ellipse(
            np.zeros((512, 512), np.uint8), (250 + 4 * n, 300), (180, 220), 0, 0, 360, 255, -1
        )
        frames.append(cv2.merge([person] * 3))
        angles = np.linspace(0, 2 * np.pi, len(geometry.OVAL), endpoint=False)
        points[n, geometry.OVAL, 0] = 250 + 5 * n + 70 * np.cos(angles)
        points[n, geometry.OVAL, 1] = 240 - 2 * n + 95 * np.sin(angles)
    grey, _ = masked(tmp_path, frames, Faces.of(points))
    people, face = split(grey)
    drawn_people = np.stack(frames)[..., 0] > 128
    drawn_face = np.stack([face_polygon((512, 512), p) for p in points])
    for before, after in ((drawn_people, people), (drawn_face, face)):
        assert (before == after).mean() >= 0.995
        assert overlap(before, after) >= 0.99
    levels = [np.median(grey[where]) for where in (~people, people & ~face, face)]
    assert levels == pytest.approx([0, 128, 255], abs=2)


@pytest.mark.parametrize("who", [0, 3, 5])
def test_masks_lie_on_the_person_that_was_drawn(who, faces_of, tmp_path):
    frames = [portrait(person(who))] * 3
    faces = faces_of(frames)
    grey, metrics = masked(tmp_path, frames, faces)
    people, face = split(grey)
    assert overlap(people[-1], look_of(person(who)).alpha > 0.5) > 0.9
    assert overlap(face[-1], face_polygon(face[-1].shape, faces.landmarks[-1])) > 0.98
    assert not (face & ~people).any()
    assert metrics["person_share"] == pytest.approx(people.mean(), abs=0.01)
    assert metrics["face_share"] == pytest.approx(face.mean(), abs=0.01)


def test_the_face_belongs_to_the_person_even_where_the_segmentation_misses_it(faces_of, tmp_path):
    frames = [portrait(person(0))] * 2
    grey, metrics = masked(
        tmp_path, frames, faces_of(frames), person_threshold=2.0
    )  # nothing is as certain as that
    people, face = split(grey)
    assert face.any()
    assert metrics["person_share"] == metrics["face_share"] > 0
    assert (
        overlap(people, face) > 0.97
    )  # nothing else was found; their edges are apart by a step of the encoder


def test_a_frame_without_a_face_has_an_empty_face_mask(faces_of, tmp_path):
    wall = np.full((512, 512, 3), 150, np.uint8)
    frames = [portrait(person(0)), wall]
    faces = faces_of(frames)
    assert faces.found.tolist() == [True, False]
    grey, _ = masked(tmp_path, frames, faces)
    people, face = split(grey)
    assert face[0].any() and not face[1].any()
    assert people[0].any()


def test_points_that_are_not_known_have_no_polygon():
    assert not face_polygon((64, 64), np.full((478, 3), np.nan)).any()
