"""Drawings of a synthetic face whose gaze, mouth and noise are known: expression stays readable,
noise does not.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.style import filter as style
from datagen.style.drawing import flow, lines, soft_levels
from datagen.style.filter import FilterStyle
from datagen.style.light import SKIN as SKIN_TONE
from datagen.style.light import exposure
from datagen.style.looks import LOOKS
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh

cv2.setNumThreads(1)
SKIN, DARK, LIP, EYE = (205, 160, 140), (45, 35, 30), (160, 70, 75), (225, 225, 225)


def face(gaze: int = 0, mouth: int = 4, noise: int = 0, size: int = 256) -> np.ndarray:
    """RGB uint8 [size, size, 3]: irises `gaze` px right of the middle, mouth `mouth` px open,
    camera noise.
    """
    rgb = np.full((size, size, 3), (120, 140, 150), np.uint8)
    cv2.ellipse(rgb, (128, 132), (84, 108), 0, 0, 360, SKIN, -1, cv2.LINE_AA)
    for x in (92, 164):
        cv2.ellipse(rgb, (x, 110), (20, 10), 0, 0, 360, EYE, -1, cv2.LINE_AA)
        cv2.ellipse(rgb, (x, 110), (20, 10), 0, 0, 360, DARK, 2, cv2.LINE_AA)
        cv2.circle(rgb, (x + gaze, 110), 8, DARK, -1, cv2.LINE_AA)
        cv2.line(rgb, (x - 20, 88), (x + 20, 86), DARK, 5, cv2.LINE_AA)
    cv2.ellipse(rgb, (128, 190), (30, 8 + mouth), 0, 0, 360, LIP, -1, cv2.LINE_AA)
    cv2.ellipse(rgb, (128, 190), (24, mouth), 0, 0, 360, DARK, -1, cv2.LINE_AA)
    if not noise:
        return rgb
    grain = np.random.default_rng(noise).normal(0, 5, rgb.shape)
    return np.clip(rgb + grain, 0, 255).astype(np.uint8)


def grey(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64)


def clip_of(path: Path, frames: list[np.ndarray], key: str = "clip") -> Clip:
    with video.Writer(path, 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    found = Faces.of([None] * len(frames))
    found.save(path.with_suffix(".npz"))
    return Clip(
        key, {}, artifacts={"clips": Artifact(path), "faces": Artifact(path.with_suffix(".npz"))}
    )


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_is_a_function_of_the_frame_alone(name):
    first, other = face(), face(gaze=6)
    drawn = LOOKS[name](first)
    LOOKS[name](other)
    assert drawn.shape == first.shape and drawn.dtype == np.uint8
    assert np.array_equal(LOOKS[name](first), drawn)
    assert np.abs(drawn.astype(float) - first).mean() > 10


@pytest.mark.parametrize("name", LOOKS)
def test_skin_noise_does_not_flicker_in_the_drawing(name):
    """Two frames that differ in camera noise alone."""
    before = np.abs(grey(face(noise=1)) - grey(face(noise=2))).mean()
    after = np.abs(grey(LOOKS[name](face(noise=1))) - grey(LOOKS[name](face(noise=2)))).mean()
    assert after < before


@pytest.mark.parametrize("name", LOOKS)
def test_the_iris_is_drawn_where_it_is(name):
    """The dark centre of mass inside the lids moves with the gaze, px by px."""
    found = [iris_x(LOOKS[name](face(gaze))) for gaze in (-8, -4, 0, 4, 8)]
    assert np.corrcoef(found, (-8, -4, 0, 4, 8))[0, 1] > 0.98
    assert found[-1] - found[0] > 8


def iris_x(rgb: np.ndarray) -> float:
    darkness = np.clip(1 - grey(rgb)[105:116, 76:109] / grey(rgb)[105:116, 76:109].max(), 0, 1) ** 2
    return float((darkness.sum(0) * np.arange(darkness.shape[1])).sum() / darkness.sum())


@pytest.mark.parametrize("name", LOOKS)
def test_an_open_mouth_is_dark(name):
    open_, shut = (grey(LOOKS[name](face(mouth=mouth)))[180:201, 120:137] for mouth in (12, 0))
    assert open_.mean() < shut.mean() - 15


def test_looks_are_clearly_different():
    drawn = [LOOKS[name](face()).astype(float) for name in LOOKS]
    apart = [np.abs(a - b).mean() for i, a in enumerate(drawn) for b in drawn[:i]]
    assert len(LOOKS) >= 5 and min(apart) > 8


def test_a_styled_clip_keeps_count_size_and_rate_and_is_the_same_twice(tmp_path):
    clip = clip_of(tmp_path / "clip.mp4", [face(gaze=g) for g in range(-6, 6)])
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = (FilterStyle()(clip, tmp_path / name) for name in "ab")
    assert first.path.name == "styled.mp4" and first.metrics["look"] in LOOKS
    assert first.path.read_bytes() == second.path.read_bytes()
    header = video.probe(first.path)
    assert (header.width, header.height, header.fps) == (256, 256, 25)
    assert len(list(video.frames(first.path))) == 12


def test_a_clip_of_one_frame_is_drawn(tmp_path):
    artifact = FilterStyle()(clip_of(tmp_path / "clip.mp4", [face()]), tmp_path)
    assert len(list(video.frames(artifact.path))) == 1


def test_the_order_of_looks_follows_key_and_seed_and_all_looks_are_used():
    clips = [Clip(f"clip-{i}", {}) for i in range(200)]
    orders = [FilterStyle().of_clip(clip)["looks"] for clip in clips]
    assert {order[0] for order in orders} == set(LOOKS) and all(
        set(order) == set(LOOKS) for order in orders
    )
    assert orders == [FilterStyle().of_clip(clip)["looks"] for clip in clips]
    assert orders != [FilterStyle(seed=1).of_clip(clip)["looks"] for clip in clips]
    assert FilterStyle(looks=("ink",)).of_clip(clips[0])["looks"] == ["ink"]
    fewer = [FilterStyle(looks=tuple(LOOKS)[1:]).of_clip(clip)["looks"] for clip in clips]
    assert all(
        [look for look in order if look in less] == less
        for order, less in zip(orders, fewer, strict=True)
    )


def test_a_look_that_moves_the_face_is_passed_over(tmp_path, monkeypatch):
    rgb = portrait(person(0))
    clip = clip_of(tmp_path / "clip.mp4", [rgb] * 3)
    np.savez(
        clip.path("faces"),
        **{**np.load(clip.path("faces")), "landmarks": np.stack([FaceMesh()(rgb)] * 3)},
    )
    first, second, *_ = FilterStyle().of_clip(clip)["looks"]
    shifts = itertools.cycle((0, 24))
    drawings = {
        **LOOKS,
        first: lambda rgb: np.roll(rgb, next(shifts), axis=0),
        second: lambda rgb: rgb,
    }
    monkeypatch.setattr(style, "LOOKS", drawings)
    metrics = FilterStyle(identity=0.2, least=0.0)(clip, tmp_path).metrics
    assert metrics["look"] == second and metrics["drift"] < 0.02
    monkeypatch.setattr(
        style, "LOOKS", {name: np.zeros_like for name in LOOKS} | {second: drawings[first]}
    )
    assert FilterStyle(identity=0.2, least=0.0)(clip, tmp_path).metrics["look"] == second, (
        "the best, where none is good"
    )
    assert FilterStyle(drift=1.0, identity=0.2, least=0.0)(clip, tmp_path).metrics["drift"] > 0.05


@pytest.mark.parametrize("looks", [("ink", "oil"), ()])
def test_unknown_or_no_looks_are_refused_with_the_choice(looks):
    with pytest.raises(ValueError, match="choose from ink"):
        FilterStyle(looks=looks)


def test_dark_and_bright_clips_are_drawn_alike():
    dark, bright = ((face() * gain).astype(np.uint8)[None] for gain in (0.4, 1.0))
    drawn = [
        LOOKS["comic"](cv2.LUT(frames[0], exposure(frames))).astype(float)
        for frames in (dark, bright)
    ]
    undone = [LOOKS["comic"](frames[0]).astype(float) for frames in (dark, bright)]
    assert np.abs(drawn[0] - drawn[1]).mean() < 0.4 * np.abs(undone[0] - undone[1]).mean()


@pytest.mark.parametrize("gamma", [0.7, 1.0, 1.6])
def test_exposure_brings_skin_to_one_brightness(gamma):
    frame = (255 * (face() / 255) ** gamma).astype(np.uint8)
    skin = cv2.LUT(frame, exposure(frame[None]))[150, 128]
    assert np.isclose(grey(skin[None, None])[0, 0] / 255, SKIN_TONE, atol=0.06)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_exposure_of_a_flat_picture_is_finite_and_rising(level):
    curve = exposure(np.full((1, 64, 64, 3), level, np.uint8))
    assert curve.shape == (256,) and (np.diff(curve.astype(int)) >= 0).all()


def test_soft_levels_rise_without_a_jump_and_are_flat_on_the_levels():
    tones = np.linspace(0, 1, 4001, dtype=np.float32)
    levels = soft_levels(tones, 5, 2.0)
    assert (
        levels.dtype == np.float32
        and (np.diff(levels) > -1e-6).all()
        and np.diff(levels).max() < 0.002
    )
    assert np.allclose(
        soft_levels(np.array([0, 0.2, 0.6, 1], np.float32), 5, 2.0), [0, 0.2, 0.6, 1], atol=1e-6
    )


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120, 150])
def test_flow_runs_along_the_stripes(degrees):
    y, x = np.mgrid[:64, :64].astype(np.float32)
    angle = np.deg2rad(degrees)
    stripes = 0.5 + 0.5 * np.sin(0.5 * (np.cos(angle) * x + np.sin(angle) * y)).astype(np.float32)
    dx, dy = (plane[16:48, 16:48] for plane in flow(stripes))
    assert np.abs(np.cos(angle) * dx + np.sin(angle) * dy).max() < 0.1
    assert np.hypot(dx, dy).min() > 0.8


def test_lines_are_ink_at_a_dark_stroke_and_paper_elsewhere():
    plane = np.full((64, 64), 0.7, np.float32)
    plane[:, 30:33] = 0.3
    drawn = lines(plane, sigma=1.0, strength=20, tone=0.3, slope=3)
    assert drawn[32, 31] < 0.2 and drawn[:, :20].min() == 1 and drawn[:, 44:].min() == 1
