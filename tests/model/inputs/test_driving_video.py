"""A driving video: its frames counted at a constant rate, its face found in all of them, its
pictures read in order.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datagen.core.errors import UserError
from datagen.media import video
from datagen.vision.landmarks import FaceMesh
from model.inputs.driving import grey
from model.inputs.driving_video import (
    DrivingFrames,
    analyze_driving_video,
    frame_rate,
    main_face,
    shown,
)
from tests.faults import film, poses

COUNT, HIDDEN = 24, range(8, 13)  # frames; a wall stands before the face


def hiding(rgb: np.ndarray, index: int) -> np.ndarray:
    return np.full_like(rgb, 90) if index in HIDDEN else rgb


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    step = np.linspace(-1, 1, COUNT)
    film(path, 2, poses(COUNT, shift_x=30 * step, mouth=0.5 + 0.4 * np.sin(9 * step)))
    return path


@pytest.fixture(scope="module")
def driving_video(talk):
    return analyze_driving_video(talk)


def test_every_picture_is_a_frame_and_has_its_face(driving_video):
    assert (driving_video.size, driving_video.rate, driving_video.is_steady) == (
        (512, 512),
        25,
        True,
    )
    assert driving_video.shown.tolist() == list(range(COUNT)) and driving_video.found.all()
    middles = driving_video.boxes[:, [0, 2]].mean(axis=1)
    assert (
        middles[-1] - middles[0] == pytest.approx(60, abs=6) and (np.diff(middles) > 0).mean() > 0.9
    )
    assert (driving_video.outline[:2] >= driving_video.boxes[0, :2] - 1).all()
    assert (driving_video.low <= driving_video.high).all() and np.ptp(
        [driving_video.low[:, 0], driving_video.high[:, 0]], axis=0
    ).min() > 45


def test_where_the_face_is_hidden_its_place_lies_between(tmp_path):
    step = np.linspace(-1, 1, COUNT)
    film(tmp_path / "a.mp4", 2, poses(COUNT, shift_x=40 * step), hiding)
    found = analyze_driving_video(tmp_path / "a.mp4")
    assert np.flatnonzero(~found.found).tolist() == list(HIDDEN) and len(found.shown) == COUNT
    middles = found.boxes[:, [0, 2]].mean(axis=1)
    assert (
        middles[10] == pytest.approx(middles[[7, 13]].mean(), abs=1)
        and middles[13] - middles[7] > 15
    )
    frames = DrivingFrames(found, 64).read(range(COUNT))
    assert all(frames[:, n].max() > 0.1 for n in range(COUNT))


def test_the_face_alone_grey_on_black(driving_video):
    frames = DrivingFrames(driving_video, 64).read(range(COUNT))
    assert frames.shape == (3, COUNT, 64, 64) and frames.min() == 0 and 0.5 < frames.max() <= 1
    assert torch.equal(frames[0], frames[1]) and torch.equal(frames[0], frames[2])
    lit = (frames[0] > 0).float()
    assert 0.1 < lit.mean() < 0.6
    columns = torch.arange(64.0)
    middle = [(lit[n].sum(0) * columns).sum() / lit[n].sum() for n in range(COUNT)]
    assert middle[-1] - middle[0] > 4  # it goes where the face goes


def test_windows_read_what_the_whole_reads(driving_video, talk):
    whole = DrivingFrames(driving_video, 48).read(range(COUNT))
    source = DrivingFrames(driving_video, 48)
    parts = [source.read(range(begin, min(begin + 7, COUNT))) for begin in range(0, COUNT, 7)]
    source.close()
    assert torch.equal(torch.cat(parts, dim=1), whole) and len(source) == COUNT
    number, part = 17, source.square
    rgb = list(video.frames(talk))[number][
        part.top : part.top + part.side, part.left : part.left + part.side
    ]
    small = (
        torch.from_numpy(cv2.resize(rgb, (48, 48), interpolation=cv2.INTER_AREA)).permute(2, 0, 1)[
            None
        ]
        / 255
    )
    lit = whole[:, number] > 0
    assert (whole[:, number] - grey(small)[0])[lit].abs().mean() < 0.02


def test_contours_come_to_lie_on_the_portraits(driving_video):
    """Moved to a face of another size elsewhere, eyes and mouth are where they would be in that
    face.
    """
    side = 256
    here = DrivingFrames(driving_video, side)
    own = here.square.crop_points(driving_video.outline, side)
    still, there = own.copy(), np.array([30.0, 60, 120, 170])
    unmoved = DrivingFrames(driving_video, side, still).read(range(1))[0, 0]
    moved = DrivingFrames(driving_video, side, there).read(range(1))[0, 0]
    plain = here.read(range(1))[0, 0]
    both = (unmoved > 1e-3) & (plain > 0)
    assert 0.02 < (unmoved > 0).float().mean() < 0.9 and (unmoved - plain)[both].abs().max() < 1e-3
    scale = (there[2:] - there[:2]) / (own[2:] - own[:2])
    matrix = np.array([[scale[0], 0, 0], [0, scale[1], 0]])
    matrix[:, 2] = (
        there[:2] - scale * own[:2] + (scale - 1) / 2
    )  # OpenCV counts from the middles of the px
    expected = cv2.warpAffine(unmoved.numpy(), matrix, (side, side))
    assert np.abs(moved.numpy() - expected).max() < 0.03


def test_a_second_face_drives_only_where_the_first_is_not():
    times = [n / 12.5 for n in range(100)]
    first, second, tiny = (
        np.array([[x, 10.0, x + s, 10 + s]]) for x, s in ((10, 50), (200, 45), (300, 9))
    )
    nothing = np.empty((0, 4))
    faces = [first] * 50 + [nothing] * 10 + [second] * 30 + [tiny] * 10
    track = main_face(times, faces)
    assert track.times.tolist() == times[:50] + times[60:90]
    assert track.boxes[-1, 0] == 200 and (np.diff(track.times) > 0).all()
    both = main_face(times, [np.concatenate([first, second])] * 100)
    assert (both.boxes[:, 0] == 10).all()
    assert main_face(times, [nothing] * 100) is None


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25), Fraction(60), Fraction(5)]
)
@pytest.mark.parametrize("digits", [3, 6])
def test_constant_rates_are_kept_and_no_picture_is_lost(rate, digits):
    """Also where a container rounds times to milliseconds, and where its header says nothing."""
    times = np.array([round(float(n / rate), digits) for n in range(500)])
    assert frame_rate(times, float(rate)) == (rate, True)
    assert shown(times, rate).tolist() == list(range(500))
    measured, is_steady = frame_rate(times, 0.0)
    assert is_steady and float(measured) == pytest.approx(float(rate), rel=1e-3)


def test_a_varying_rate_becomes_its_mean():
    times = np.cumsum([0.0] + [0.02, 0.2, 0.05, 0.04] * 12)
    rate, is_steady = frame_rate(times, 25.0)
    assert not is_steady and float(rate) == pytest.approx(len(times[1:]) / times[-1], rel=1e-3)
    pictures = shown(times, rate)
    assert pictures[0] == 0 and pictures[-1] == len(times) - 1 and (np.diff(pictures) >= 0).all()
    assert len(pictures) == pytest.approx(len(times), abs=1)
    late = np.arange(len(pictures)) / float(rate) - times[pictures]
    assert late.max() < 0.21 and late[:-1].min() > -0.41 / float(rate)


def test_a_dropped_picture_is_held_not_a_varying_rate():
    times = np.delete(np.arange(100) / 25, [40, 41, 80])
    assert frame_rate(times, 24.5) == (25, True)
    assert len(shown(times, Fraction(25))) == 100


def test_one_picture_is_a_video_too(tmp_path):
    film(tmp_path / "a.mp4", 2, poses(1))
    found = analyze_driving_video(tmp_path / "a.mp4")
    assert (len(found.shown), found.rate) == (1, 25) and DrivingFrames(found, 32).read(
        range(1)
    ).shape == (3, 1, 32, 32)
    assert frame_rate(np.zeros(1), 0.0) == (25, True)


def test_a_small_face_in_a_large_picture(tmp_path):
    """FaceMesh alone does not see it."""
    count, small = 4, 300

    def far_off(rgb: np.ndarray, index: int) -> np.ndarray:
        wide = np.full((720, 1280, 3), 120, np.uint8)
        wide[300 : 300 + small, 800 : 800 + small] = cv2.resize(rgb, (small, small))
        return wide

    film(tmp_path / "a.mp4", 2, poses(count), far_off)
    assert FaceMesh()(next(video.frames(tmp_path / "a.mp4"))) is None
    found = analyze_driving_video(tmp_path / "a.mp4")
    assert found.found.all() and found.size == (1280, 720)
    assert (found.boxes[:, :2] > [800, 300]).all() and (found.boxes[:, 2:] < [1100, 600]).all()


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        analyze_driving_video(path)
    assert str(path) in str(error.value) and str(error.value).endswith(".")
    return str(error.value)


def test_what_cannot_drive_is_refused(tmp_path):
    film(tmp_path / "wall.mp4", 2, poses(6), lambda rgb, index: np.full_like(rgb, 90))
    assert "shows no face in 6 frames" in refused(tmp_path / "wall.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    assert "cannot drive: text.mp4 is no video file" in refused(tmp_path / "text.mp4")
    assert "there is no driving video" in refused(tmp_path / "absent.mp4")
    assert "cannot drive" in refused(tmp_path)


def test_real_files(media):
    hand = analyze_driving_video(media / "clips" / "c17_hand_before_face_1280x720.mp4")
    assert len(hand.shown) == 150 and 130 < hand.found.sum() < 148
    varying = analyze_driving_video(media / "bad" / "variable_frame_rate.mp4")
    assert (varying.rate, varying.is_steady, len(varying.shown)) == (Fraction(2500, 193), False, 50)
    squats = analyze_driving_video(media / "clips" / "c15_squats_5fps_720x1280.mp4")
    assert (squats.rate, len(squats.shown)) == (5, 65) and squats.found.mean() > 0.95
    assert "shows no face" in refused(media / "bad" / "noface_landscape.mp4")
    for name, word in {
        "truncated_faststart": "stopped with an error",
        "audio_only": "no video stream",
    }.items():
        assert word in refused(media / "bad" / f"{name}.mp4")
