"""Descriptors of faces: dlib's own numbers, near for one person and far for two."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.core.errors import UserError
from datagen.sources.rendering.people import person, portrait
from datagen.vision import dlib_resnet, identity
from datagen.vision.identity import DlibDescriptor, aligned, decoded, distance, encoded, recogniser
from datagen.vision.landmarks import find_face


@pytest.fixture(scope="module")
def faces():
    """Two people: (picture, points) each."""
    pictures = [portrait(person(index)) for index in (0, 3)]
    return [(rgb, find_face(rgb)) for rgb in pictures]


def test_the_network_gives_dlibs_own_numbers(faces):
    dlib = pytest.importorskip("dlib")
    theirs = dlib.face_recognition_model_v1(str(identity.weights_path()))
    for rgb, points in faces:
        expected = np.array(theirs.compute_face_descriptor(aligned(rgb, points)))
        assert np.abs(DlibDescriptor().describe(rgb, points) - expected).max() < 1e-5


def test_a_face_is_like_itself_in_another_size_and_light_and_unlike_another(faces):
    (rgb, points), other = faces
    describe = DlibDescriptor().describe
    own = describe(rgb, points)
    smaller = cv2.resize(rgb, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    assert distance(own, describe(smaller, points[:, :2] * 0.4 - 0.3)) < 0.2
    assert distance(own, describe((rgb * 0.7).astype(np.uint8), points)) < 0.2
    assert distance(own, describe(*other)) > 0.35


def test_a_code_is_short_and_as_good_as_the_descriptor(faces):
    own = DlibDescriptor().describe(*faces[0])
    assert len(encoded(own)) == 172 and distance(decoded(encoded(own)), own) < 0.02
    assert np.abs(decoded(encoded(np.float32([-9, 9, 0.25])))).max() < 0.5


def test_what_is_wrong_is_said_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="'arcface', dlib or insightface is expected"):
        recogniser("arcface")
    with pytest.raises(UserError, match="none does not exist"):
        dataclasses.replace(recogniser("insightface"), folder=tmp_path / "none").check()
    (tmp_path / "models").mkdir()
    (tmp_path / identity.WEIGHTS).write_bytes(b"\x01\x02 no network")
    with pytest.raises(UserError, match="does not hold the weights"):
        dlib_resnet.model(tmp_path / identity.WEIGHTS)
    monkeypatch.setattr(identity, "weights_path", lambda: Path(tmp_path / identity.WEIGHTS))
    with pytest.raises(UserError, match="not the file that it should be"):
        DlibDescriptor().check()


def test_the_installed_file_is_the_registered_one():
    DlibDescriptor().check()
