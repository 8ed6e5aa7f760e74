"""What of a frame drives."""

from __future__ import annotations

from datagen.sources.rendering.people import person, portrait
from datagen.vision import geometry
from datagen.vision.landmarks import find_face
from datagen.vision.regions import face_alone, kept_boxes


def test_only_the_face_is_left_and_grey():
    rgb = portrait(person(0))
    points = find_face(rgb)
    alone = face_alone(rgb, points)
    left, top, right, bottom = kept_boxes(geometry.box(points)[None], len(rgb))[0]
    kept = alone[top:bottom, left:right]
    assert kept.std(axis=-1).max() == 0 and kept.mean() > 50
    alone[top:bottom, left:right] = 0
    assert alone.max() == 0
