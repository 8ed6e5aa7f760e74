"""Which pictures become donors, and what is said of the others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from datagen.core.errors import UserError
from datagen.sources.rendering.people import person, portrait
from datagen.style.looks import LOOKS
from datagen.swap.__main__ import main
from datagen.swap.donors import load_donors
from datagen.swap.landmark import LandmarkSwap
from tests.conftest import MEDIA

PORTRAITS = MEDIA / "portraits"
real = pytest.mark.skipif(not PORTRAITS.is_dir(), reason="needs ../shared/media")


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return portrait(person(0))


def saved(path, rgb: np.ndarray):
    Image.fromarray(rgb).save(path)
    return path


def test_folders_and_files_are_read_and_every_other_picture_is_named(tmp_path, rgb):
    saved(tmp_path / "b.jpg", rgb)
    saved(tmp_path / "c.png", np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))
    saved(tmp_path / "grey.webp", cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    saved(tmp_path / "empty.png", np.zeros_like(rgb))
    saved(tmp_path / "two.png", np.hstack([rgb, rgb]))
    saved(tmp_path / "comic.png", LOOKS["comic"](rgb))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("of Anna")
    found = load_donors(tmp_path)
    assert [donor.name for donor in found.donors] == ["b.jpg", "c.png"]
    assert all(donor.points.shape == (478, 3) for donor in found.donors)
    reasons = {
        "grey.webp": "has no colour",
        "empty.png": "shows no face",
        "two.png": "shows 2 faces",
        "comic.png": "is drawn",
        "broken.jpg": "cannot be read",
        "notes.txt": "is no picture",
    }
    assert found.refused.keys() == reasons.keys()
    for name, words in reasons.items():
        assert words in found.refused[name] and f"{name} {words}" in str(found)
    alone = load_donors(tmp_path / "c.png", tmp_path / "two.png")
    assert [donor.name for donor in alone.donors] == ["c.png"] and list(alone.refused) == [
        "two.png"
    ]


def test_a_face_that_fills_little_of_a_huge_picture_is_found(tmp_path, rgb):
    large = np.full((5200, 8000, 3), 140, np.uint8)
    large[1500:3548, 2500:4548] = cv2.resize(rgb, (2048, 2048))
    assert [donor.name for donor in load_donors(saved(tmp_path / "a.jpg", large)).donors]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "does not exist"), (b"", "no picture"), (b"x", "a.png cannot be read")],
)
def test_what_is_wrong_is_said(tmp_path, content, words):
    folder = tmp_path / "donors"
    if content is not None:
        folder.mkdir()
    if content:
        (folder / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load_donors(folder)


def test_the_command_takes_files_and_says_which_are_used(tmp_path, rgb, capsys):
    anna, empty = saved(tmp_path / "anna.png", rgb), saved(tmp_path / "e.png", np.zeros_like(rgb))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").touch()
    with pytest.raises(SystemExit):
        missing = str(tmp_path / "none.png")
        main(["--input", str(tmp_path / "raw"), "--donors", str(anna), missing, "--dry-run"])
    assert "none.png does not exist" in capsys.readouterr().err
    stage = LandmarkSwap(donors=(str(anna), str(empty)))
    stage.check()
    assert "1 of 2 pictures; not used: e.png shows no face" in str(stage.describe_cost(None))
    with pytest.raises(UserError, match="stands alone"):
        LandmarkSwap(donors=("sample", str(anna)))


@real
def test_real_pictures():
    found = load_donors(PORTRAITS)
    names = {donor.name[:3] for donor in found.donors}
    assert {"p01", "p03"} <= names
    refused = {name[:3]: reason for name, reason in found.refused.items()}
    assert "drawn" in refused["p07"] and "faces" in refused["p09"]
    assert "statue" in refused["p11"] and "no face" in refused["p13"]
    assert "no colour" in refused["p15"]
