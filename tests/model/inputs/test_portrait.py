"""The still picture: every way in which a portrait may be stored gives the same face, and what is
none is refused.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from datagen.core import limits
from datagen.core.errors import UserError
from datagen.sources.rendering.people import PEOPLE, portrait
from datagen.vision import geometry
from model.inputs.portrait import Portrait, read


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """Head and shoulders, higher than wide, so that it does not stand the wrong way up unseen."""
    return np.pad(portrait(PEOPLE[2]), ((40, 0), (0, 0), (0, 0)), mode="edge")


@pytest.fixture(scope="module")
def plain(rgb, tmp_path_factory) -> Portrait:
    path = tmp_path_factory.mktemp("plain") / "a.png"
    Image.fromarray(rgb).save(path)
    return read(path)


def far(found: Portrait, plain: Portrait) -> float:
    """px by which the faces lie apart."""
    return float(np.abs(geometry.box(found.points) - geometry.box(plain.points)).max())


def test_the_face_stands_in_the_middle_of_the_largest_square(plain, rgb):
    assert np.array_equal(plain.rgb, rgb) and plain.faces == 1
    framed = plain.framed(128)
    assert framed.picture.shape == (128, 128, 3) and framed.picture.dtype == np.uint8
    assert framed.outline[:2].min() > 0.2 and framed.outline[2:].max() < 0.8
    assert abs(framed.outline[[0, 2]].mean() - 0.5) < 0.02
    close = plain.framed(128, margin=1.5)
    assert np.ptp(close.outline[[0, 2]]) > 1.3 * np.ptp(framed.outline[[0, 2]])


def test_the_background_is_what_is_neither_person_nor_face(plain):
    framed = plain.framed(64)
    assert framed.background.shape == (64, 64) and framed.background.dtype == bool
    left, top, right, bottom = (framed.outline * 64).astype(int)
    assert not framed.background[top + 2 : bottom - 2, left + 4 : right - 4].any()
    assert framed.background[:8, :8].all() and framed.background[:8, -8:].all()
    large = plain.framed(512).background
    assert (
        cv2.resize(large.astype(np.uint8), (64, 64), interpolation=cv2.INTER_AREA)
        == framed.background
    ).mean() > 0.97


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_picture_on_its_side_is_turned_upright(orientation, rgb, plain, tmp_path):
    stored = {2: rgb[:, ::-1], 3: rgb[::-1, ::-1], 6: np.rot90(rgb), 8: np.rot90(rgb, -1)}[
        orientation
    ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", quality=95, exif=exif)
    found = read(tmp_path / "a.jpg")
    assert found.rgb.shape == rgb.shape and far(found, plain) < 3


def test_transparency_lies_on_white(rgb, plain, tmp_path):
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:30] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert (
        found.rgb[:30].min() == 255
        and np.array_equal(found.rgb[30:], rgb[30:])
        and far(found, plain) < 3
    )


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colours", [1, 3])
def test_depths_and_grey(bits, colours, rgb, plain, tmp_path):
    picture = rgb if colours == 3 else cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    stored = picture.astype(np.uint16) * 257 if bits == 16 else picture
    cv2.imwrite(str(tmp_path / "a.png"), stored[..., ::-1] if colours == 3 else stored)
    found = read(tmp_path / "a.png")
    expected = picture if colours == 3 else cv2.merge([picture] * 3)
    assert np.abs(found.rgb.astype(int) - expected).max() <= 1 and far(found, plain) < 6


def test_a_name_may_lie_about_the_format(rgb, plain, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "a.jpg", "PNG")
    assert np.array_equal(read(tmp_path / "a.jpg").rgb, rgb)


def test_fifty_megapixels_are_scaled(rgb, tmp_path):
    Image.fromarray(cv2.resize(rgb, (6816, 7348))).save(tmp_path / "a.jpg", quality=80)
    found = read(tmp_path / "a.jpg")
    assert max(found.rgb.shape) == 1280 and found.framed(512).picture.shape == (512, 512, 3)


def refused(path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in str(error.value) and str(error.value).endswith(".")
    return str(error.value)


def test_no_face_or_a_tiny_one_is_refused(rgb, tmp_path):
    Image.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    assert "shows no face" in refused(tmp_path / "wall.png")
    Image.fromarray(cv2.resize(rgb, (100, 108), interpolation=cv2.INTER_AREA)).save(
        tmp_path / "tiny.png"
    )
    assert "px between the eyes: at least 24 are expected" in refused(tmp_path / "tiny.png")
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "dot.png")
    assert "shows no face" in refused(tmp_path / "dot.png")


def test_two_faces_are_refused_unless_one_is_clearly_larger(rgb, tmp_path):
    other = np.pad(portrait(PEOPLE[0]), ((40, 0), (0, 0), (0, 0)), mode="edge")
    Image.fromarray(np.concatenate([rgb, other], axis=1)).save(tmp_path / "two.png")
    assert "shows 2 faces of about the same size" in refused(tmp_path / "two.png")
    small = np.zeros_like(other)
    small[:276, :256] = cv2.resize(other, (256, 276), interpolation=cv2.INTER_AREA)
    Image.fromarray(np.concatenate([small, rgb], axis=1)).save(tmp_path / "larger.png")
    found = read(tmp_path / "larger.png")
    assert found.faces == 2 and found.points[:, 0].min() > 512


def test_what_is_no_picture_is_refused(rgb, tmp_path):
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)
    for name, data in {"a.heic": heic, "text.png": b"no picture", "empty.png": b""}.items():
        (tmp_path / name).write_bytes(data)
        assert "no picture that can be read" in refused(tmp_path / name)
    Image.fromarray(rgb).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:20000])
    assert "no picture that can be read" in refused(tmp_path / "half.png")
    assert "there is no portrait" in refused(tmp_path / "absent.png")
    assert "no picture that can be read" in refused(tmp_path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(limits, "MAX_STILL", 39_999)
    assert "more than 39999 pixels" in refused(tmp_path / "a.png")


def test_real_portraits(media):
    faces = {
        "p01_astronaut_512.png": 1,
        "p05_painting_mona_lisa_720x1280.jpg": 1,
        "p07_anime_rgba_868.png": 1,
    }
    for name, count in faces.items():
        assert read(media / "portraits" / name).faces == count
    assert "3 faces" in refused(media / "portraits" / "p09_group_four_1280x853.jpg")
    assert "no face" in refused(media / "portraits" / "p13_cat_png_named_jpg_256.jpg")
