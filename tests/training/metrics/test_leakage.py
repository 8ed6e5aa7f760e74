"""Leakage is 0 for the reference's person, 1 for the driving one, linear between, and blind to
other errors.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.media import video
from datagen.vision.drift import watched
from datagen.vision.identity import DlibDescriptor
from datagen.vision.landmarks import FaceMesh
from tests.faults import head, poses
from training.metrics import leakage
from training.metrics.faces import colours
from training.metrics.pixels import area

SIDE = 64
COUNT = 6
ZERO, ONE = 1, 4  # people of the sample who differ clearly


@pytest.fixture(scope="module")
def moves():
    step = np.linspace(-1, 1, COUNT)
    return poses(COUNT, head_yaw=8 * step, mouth=0.3 + 0.3 * step, head_roll=4 * step)


@pytest.fixture(scope="module")
def large(moves) -> tuple[np.ndarray, np.ndarray]:
    return np.stack(list(head(ZERO).frames(moves))), np.stack(list(head(ONE).frames(moves)))


@pytest.fixture(scope="module")
def points(large) -> tuple[np.ndarray, np.ndarray]:
    mesh = FaceMesh()
    return watched(mesh, large[0]), watched(mesh, large[1])


@pytest.fixture(scope="module")
def leak(large, points):
    """Of an output of SIDE px."""
    zero, one = (area(frames, SIDE) for frames in large)
    region = leakage.regions(*(p * SIDE / 512 for p in points), SIDE)
    return lambda output: leakage.of_pictures(output, zero, one, region)


def changed(name: str, frames: np.ndarray, folder) -> np.ndarray:
    rng = np.random.default_rng(0)
    if name == "noise":
        return np.clip(frames + rng.normal(0, 12, frames.shape), 0, 255).astype(np.uint8)
    if name == "blur":
        return np.stack([cv2.GaussianBlur(rgb, (0, 0), 1.0) for rgb in frames])
    with video.Writer(folder / "a.mp4", 25, crf=30) as writer:
        for rgb in frames:
            writer.write(rgb)
    return np.stack(list(video.frames(folder / "a.mp4")))


def test_ends_and_middle(large, leak):
    zero, one = (area(frames, SIDE) for frames in large)
    half = ((zero.astype(int) + one) // 2).astype(np.uint8)
    for name in ("leakage", "leakage_pattern", "leakage_colour"):
        assert leak(zero)[name] == pytest.approx(0)
        assert leak(one)[name] == pytest.approx(1)
        assert leak(half)[name] == pytest.approx(0.5, abs=0.04 if name.endswith("colour") else 0.01)


@pytest.mark.parametrize("name", ["noise", "blur", "h264"])
def test_errors_that_are_not_the_driver_do_not_leak(name, large, leak, tmp_path):
    output = changed(name, area(large[0], SIDE), tmp_path)
    assert leak(output)["leakage"] == pytest.approx(0, abs=0.04)


def test_a_still_copy_of_the_reference_does_not_leak(large, leak):
    still = np.repeat(area(large[0], SIDE)[:1], COUNT, axis=0)
    assert leak(still)["leakage"] == pytest.approx(0, abs=0.1)


def test_the_background_does_not_count(large, leak):
    zero, one = (area(frames, SIDE) for frames in large)
    other = zero.copy()
    other[:, :8] = one[:, :8]
    assert leak(other) == leak(zero)


def test_grey_of_the_driver_leaks_though_the_colours_are_the_references(large, leak):
    zero, one = (area(frames, SIDE) for frames in large)
    labs = [[cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB) for rgb in frames] for frames in (zero, one)]
    both = [np.dstack([b[..., :1], a[..., 1:]]) for a, b in zip(*labs, strict=True)]
    assert leak(np.stack([cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) for lab in both]))["leakage"] > 0.6


def test_shape_of_points(points):
    zero, one = points
    assert leakage.of_points(zero, zero, one) == pytest.approx(0)
    assert leakage.of_points(one, zero, one) == pytest.approx(1)
    missing = one.copy()
    missing[2] = np.nan
    assert leakage.of_points(missing, zero, one) == pytest.approx(1)
    assert leakage.of_points(np.full_like(one, np.nan), zero, one) is None


def test_estimate_without_truth(large, points):
    zero, one = (leakage.looks(p, colours(f, p)) for f, p in zip(large, points, strict=True))
    still = leakage.looks(points[0][:1], colours(large[0][:1], points[0][:1]))
    assert leakage.of_looks(one, still, one)["leakage_estimate"] == pytest.approx(1)
    assert leakage.of_looks(zero, still, one)["leakage_estimate"] == pytest.approx(
        0, abs=0.25
    )  # of another pose


def test_no_face_no_number(large):
    zero, one = (area(frames, SIDE) for frames in large)
    assert leakage.of_pictures(zero, zero, one, np.zeros(zero.shape[:3], bool)) == {}


def test_the_recogniser_reads_true_frames_as_they_are(large, points):
    """Its reading of whole pictures: the reference's person is 0, the driving one 1, half between
    in the middle; where it cannot tell the two apart it says nothing.
    """
    zero, one = (
        {i: DlibDescriptor().describe(frames[i], each[i]) for i in range(COUNT)}
        for frames, each in zip(large, points, strict=True)
    )
    found = leakage.of_descriptors(zero, zero, one)
    assert found["identity_told_apart"] == 1 and found["leakage_identity"] == 0
    assert leakage.of_descriptors(one, zero, one)["leakage_identity"] == pytest.approx(1)
    half = {i: (zero[i] + one[i]) / 2 for i in zero}
    assert leakage.of_descriptors(half, zero, one)["leakage_identity"] == pytest.approx(0.5)
    assert leakage.of_descriptors(zero, zero, zero)["leakage_identity"] is None
