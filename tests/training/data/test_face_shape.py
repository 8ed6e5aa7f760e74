"""Driving frames take another person's face shape and keep their motion."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from datagen.vision import geometry
from datagen.vision.landmarks import FaceMesh
from tests.training import numbered
from tests.training.data.test_dataset import RESOLUTION, batches, dataset
from training.data import face_shape as donor
from training.data.dataset import Resolution
from training.data.decode import Unreadable
from training.data.record import faces_of

FIELDS = (
    "frames",
    "reference_frames",
    "target",
    "reference",
    "driving",
    "background",
    "mask",
    "landmarks",
)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """RGB uint8 [256, 256, 3] of a real face."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[:256, 100:356])


@pytest.fixture(scope="module")
def frontal(picture) -> np.ndarray:
    """Its points float64 [478, 3] px, turned to the camera, the mouth shut."""
    found = FaceMesh()(picture)
    assert found is not None
    points = found.astype(np.float64)
    middle = points.mean(0)
    straight = (points - middle) @ geometry.head_rotation(points) + middle
    straight[donor.LOWER_LIP] = straight[donor.UPPER_LIP] + [0, 1, 0]
    return straight


def clip(
    frontal: np.ndarray,
    stretch: tuple[float, float] = (1.0, 1.0),
    scale: float = 1.0,
    seed: int = 0,
):
    """Points px [30, 478, 2] and heads [30, 3] of a face that turns, tilts, moves about and opens
    its mouth.
    """
    rng = np.random.default_rng(seed)
    turns = rotations(
        rng.uniform([-0.5, -0.3, -0.4], [0.5, 0.3, 0.4], (30, 3)) * ([1, 1, 1], [0, 0, 1])[seed % 2]
    )
    faces = np.stack([frontal] * 30)
    faces[:, donor.LOWER_LIP, 1] += np.where(np.arange(30) % 5, np.linspace(0, 8, 30), 0)
    turns[::5] = np.eye(3)
    return seen(faces * [*stretch, 1] * scale, turns) + rng.uniform(
        -20, 20, (30, 1, 2)
    ), geometry.angles(turns)


def rotations(turns: np.ndarray) -> np.ndarray:
    """[n, 3, 3] of heads turned by yaw and pitch, then by roll [n, 3] rad."""
    forward = -geometry.direction(turns[:, :2])
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    axes = np.stack([right, np.cross(forward, right), forward], axis=-1)
    axes[:, :2] = donor._turn(turns[:, 2]) @ axes[:, :2]
    return axes


def seen(faces: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Points [n, 478, 3] that look at the camera -> px [n, 478, 2] about the middle of the eyes,
    turned [n, 3, 3].
    """
    centred = faces - faces[:, donor.CORNERS].mean(1, keepdims=True)
    return (centred @ turns.transpose(0, 2, 1))[..., :2]


def test_a_shape_is_the_same_wherever_and_however_large_a_face_is_seen(frontal):
    one, other = (
        donor.shape_of(*clip(frontal, scale=scale, seed=seed))
        for scale, seed in ((1.0, 0), (1.7, 5))
    )
    assert np.abs(one.points - other.points).max() < 0.02
    wide = donor.shape_of(*clip(frontal, stretch=(1.2, 1.0)))
    assert np.ptp(wide.points[geometry.OVAL, 0]) == pytest.approx(
        1.2 * np.ptp(one.points[geometry.OVAL, 0]), rel=0.02
    )


def test_what_is_lent_is_the_donors_shape_and_the_motion_stays(frontal):
    points, head = clip(frontal)
    own, wide = (
        donor.shape_of(points, head),
        donor.shape_of(*clip(frontal, (1.25, 0.95), scale=2.0, seed=3)),
    )
    lent = own.lent(points, head, wide)
    assert np.abs(donor.shape_of(lent, head).points - wide.points).max() < 0.02
    before, after = (
        np.linalg.norm(p[:, donor.UPPER_LIP] - p[:, donor.LOWER_LIP], axis=-1)
        for p in (points, lent)
    )
    assert np.corrcoef(before, after)[0, 1] > 0.99
    assert np.ptp(after) == pytest.approx(np.ptp(before), rel=0.05)
    middles = [p[:, donor.CORNERS].mean(1) for p in (points, lent)]
    assert np.abs(middles[0] - middles[1]).max() < 1.0


@pytest.mark.parametrize(("turn", "share"), [((0, 0, 0.3), 0.02), ((0.5, 0, 0), 0.35), ((0, 0.4, 0), 0.35), ((0.4, -0.3, 0.3), 0.5)])  # fmt: skip  # noqa: E501
def test_a_turned_head_gets_the_shape_as_it_is_seen_from_there(frontal, turn, share):
    """Up to the depth that points of a picture do not have: a share of what another shape changes
    at all.
    """
    own, wide = (donor.shape_of(*clip(frontal, stretch)) for stretch in ((1.0, 1.0), (1.25, 0.9)))
    turned = rotations(np.array([turn], dtype=float))
    for size in (0.5, 1.0, 2.0):  # of the face, which may lean forward within a clip
        plain, expected = (
            seen(size * frontal[None] * [*stretch, 1], turned) for stretch in ((1, 1), (1.25, 0.9))
        )
        lent = own.lent(plain, geometry.angles(turned), wide)
        lent, expected = (
            points / geometry.interocular(points)[:, None, None] for points in (lent, expected)
        )
        error, change = (
            np.linalg.norm(p - expected, axis=-1).mean()
            for p in (lent, plain / geometry.interocular(plain))
        )
        assert error < share * change, size


@pytest.mark.parametrize("turn", [(0.4, 0, 0), (0, 0.4, 0), (0, -0.4, 0)])
def test_a_face_that_never_looks_straight_on_has_no_shape(frontal, turn):
    turned = rotations(np.array([turn] * 9, dtype=float))
    assert donor.shape_of(seen(np.stack([frontal] * 9), turned), geometry.angles(turned)) is None


def test_a_mouth_that_never_shuts_has_no_shape(frontal):
    faces = np.stack([frontal] * 9)
    faces[:, donor.LOWER_LIP, 1] += 20
    assert donor.shape_of(faces[..., :2], np.zeros((9, 3))) is None


def test_a_detector_finds_the_face_where_it_was_moved_to(picture, frontal):
    found = FaceMesh()(picture)
    points = found[None, :, :2].astype(np.float64)
    head = geometry.angles(geometry.head_rotation(found.astype(np.float64)))[None]
    own, wide = (donor.shape_of(*clip(frontal, stretch=(across, 1.0))) for across in (1.0, 1.2))
    lent = own.lent(points, head, wide)
    pictures = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    bent = donor.moved(pictures, points, lent)
    shown = np.ascontiguousarray((255 * bent[0].permute(1, 2, 0)).byte().numpy())
    again = FaceMesh()(shown)[:, :2]
    across = np.linalg.norm(again[263] - again[33])
    assert np.linalg.norm(lent[0, 263] - lent[0, 33]) > 1.1 * np.linalg.norm(
        points[0, 263] - points[0, 33]
    )
    assert np.linalg.norm(again - lent[0], axis=-1).mean() < 0.05 * across
    assert torch.allclose(donor.moved(pictures, points, points), pictures, atol=1e-4)


def test_a_face_of_no_size_has_no_shape():
    with pytest.raises(Unreadable, match="no size"):
        donor.shape_of(np.ones((5, geometry.POINTS, 2)), np.zeros((5, 3)))


def test_only_the_driving_frames_change(sample):
    options = {"frames": 4, "stride": 1, "twin_probability": 1.0}
    plain, other = (dataset(sample, **options, **more)[1] for more in ({}, {"donor_shape": 1.0}))
    assert {
        name for name in FIELDS if not torch.equal(getattr(plain, name), getattr(other, name))
    } == {"driving"}
    assert other.driving.dtype == torch.uint8


def test_a_sample_is_the_same_in_any_order_and_from_memory(sample):
    options = {
        "frames": 3,
        "stride": 1,
        "twin_probability": 0.5,
        "donor_shape": 0.7,
        "resolution": Resolution(64, 64, 16),
    }
    one, other = dataset(sample, **options), dataset(sample, **options, memory_mb=500)
    there, back = [one[i].driving for i in range(8)], [other[i].driving for i in reversed(range(8))]
    assert all(torch.equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_the_box_that_is_kept_follows_the_shape(sample):
    options = {"frames": 2, "stride": 1, "twin_probability": 1.0, "resolution": RESOLUTION}
    plain, other = (dataset(sample, **options, **more) for more in ({}, {"donor_shape": 1.0}))
    widths = [
        [int((clips[i].driving[0, 0, 0].amax(0) > 0).sum()) for i in range(12)]
        for clips in (plain, other)
    ]
    assert widths[0] != widths[1]


def test_one_person_alone_has_nobody_to_lend_a_shape(tmp_path):
    shards = numbered.shards(tmp_path, [30, 30], identity="one")
    plain, other = (
        batches(shards, 3, twin_probability=1.0, donor_shape=share) for share in (0.0, 1.0)
    )
    assert all(torch.equal(a.driving, b.driving) for a, b in zip(plain, other, strict=True))


def test_few_lend_their_shape_and_damaged_ones_are_passed_over(tmp_path, monkeypatch, frontal):
    monkeypatch.setattr(donor, "LENDERS", 3)
    clips = dataset(numbered.shards(tmp_path, [30] * 8))
    lenders = clips.donors.lenders.tolist()
    assert len(lenders) == 3 and lenders[0] == 0 and lenders[-1] >= 5
    points, head = clip(frontal)
    file = io.BytesIO()
    np.savez(
        file,
        boxes=np.tile(numbered.FACE, (30, 1)),
        landmarks=points,
        head=head,
        confidence=np.ones(30),
    )
    told = {"faces.npz": file.getvalue()}
    monkeypatch.setattr(
        type(clips.shards), "read", lambda _, place, fields: told if place else {"faces.npz": b""}
    )
    faces = faces_of(file.getvalue(), 30)
    for share in (0.0, 0.4, 0.99):
        assert clips.donors(1, faces, share) is not None
    assert sorted(clips.donors.shapes) == lenders and clips.donors.shapes[0] is None
    assert clips.donors(1, faces, None) is None
    with pytest.raises(Unreadable, match="no size"):
        clips.donors(1, replace(faces, landmarks=np.ones_like(faces.landmarks)), 0.0)
