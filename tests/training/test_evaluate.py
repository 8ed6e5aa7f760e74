"""The command: a model, anybody's videos, two runs, and what users get wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.media import video
from datagen.sources.rendering.people import PEOPLE, portrait
from model.resolve import choose
from tests.faults import call, film, poses
from tests.training.evaluation.test_cross_cases import divided
from training.evaluation.table import differences, interval, summary
from training.evaluation.videos import paired

MODULE, COUNT = "training.evaluate", 16
QUICK = (
    "--cases",
    "1",
    "--frames",
    "4",
    "--steps",
    "1",
    "--guidance",
    "1",
    "--window",
    "4",
    "--overlap",
    "0",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, store) -> Path:
    return divided(tmp_path_factory.mktemp("divided"), store)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    choose("tiny", None, "cpu").load().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def read_pair(tmp_path_factory) -> Path:
    """truth.mp4 is person 1, driving.mp4 person 4 with the same motion, short.mp4 the truth's
    beginning, no.mp4 grey
    """
    folder, step = tmp_path_factory.mktemp("films"), np.linspace(-1, 1, COUNT)
    moves = poses(COUNT, head_yaw=9 * step, mouth=0.3 + 0.3 * np.sin(9 * step))
    film(folder / "truth.mp4", 1, moves)
    film(folder / "driving.mp4", 4, moves)
    with video.Writer(folder / "short.mp4", 25) as short, video.Writer(folder / "no.mp4", 25) as no:
        for index, rgb in enumerate(video.frames(folder / "truth.mp4")):
            no.write(np.full_like(rgb, 90))
            if index < 10:
                short.write(rgb)
    Image.fromarray(portrait(PEOPLE[1])).save(folder / "portrait.png")
    return folder


def scores(output: Path, key: str) -> dict:
    return json.loads((output / f"{key}.json").read_text())["scores"]


@pytest.mark.parametrize("mode", ["self", "cross"])
def test_a_model_is_evaluated(mode, model, shards, store, tmp_path):
    """One case, though three are asked for across: of one person and one motion there is no
    second.
    """
    asked = (*QUICK, "--cases", {"self": 1, "cross": 3}[mode])
    place = ("--input", shards, "--output", tmp_path, "--readout", store.parent / "readout")
    made = call(MODULE, "--checkpoint", model, f"mode={mode}", *place, *asked)
    assert made.code == 0, made.err
    told = json.loads((tmp_path / "summary.json").read_text())
    (row,) = told["clips"]
    assert 5 < row["psnr"] < 60 and ("leakage" in row) == (mode == "cross")
    assert len(told["weights"]["sha256"]) == 64 and told["settings"]["steps"] == 1
    assert json.loads((tmp_path / f"{row['key']}.json").read_text())["scores"] == row
    grid = video.probe(tmp_path / f"{row['key']}.mp4")
    assert (grid.width, grid.height) == (4 * 192, 192 + 24)
    assert "psnr_gain" in made.out
    again = call(MODULE, "--checkpoint", model, f"mode={mode}", *place, *asked)
    assert again.code == 2 and "--overwrite" in again.sentence


def test_an_evaluation_that_replaces_another_leaves_nothing_of_it(read_pair, tmp_path):
    (tmp_path / "mine.json").touch()
    for name in ("truth", "short"):
        ended = call(
            MODULE,
            "--videos",
            read_pair / f"{name}.mp4",
            read_pair / "truth.mp4",
            "--output",
            tmp_path,
            "--overwrite",
        )
        assert ended.code == 0, ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"mine.json", "short.json", "summary.json"}


def test_two_suffixes_make_two_clips(read_pair, tmp_path):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for suffix in (".mp4", ".mov"):
            (tmp_path / side / f"one{suffix}").write_bytes((read_pair / "truth.mp4").read_bytes())
    assert [key for key, *_ in paired(tmp_path / "a", tmp_path / "b")] == ["one.mov", "one.mp4"]


def test_a_video_against_itself_is_perfect(read_pair, tmp_path):
    made = call(
        MODULE, "--videos", read_pair / "truth.mp4", read_pair / "truth.mp4", "--output", tmp_path
    )
    assert made.code == 0, made.err
    row = scores(tmp_path, "truth")
    assert (row["psnr"], row["ssim"], row["landmarks"], row["face_found"]) == (100, 1, 0, 1)
    assert row["yaw_r"] == 1 and row["mouth_r"] == 1 and row["shape_and_colour_to_truth"] == 1
    assert "lpips: not measured" in made.out or "lpips" in row


def test_against_the_driver_the_leakage_is_estimated(read_pair, tmp_path):
    leaks = {}
    for name in ("truth", "driving"):
        more = (
            "against=driving",
            "--reference",
            read_pair / "portrait.png",
            "--output",
            tmp_path / name,
        )
        assert (
            call(
                MODULE, "--videos", read_pair / f"{name}.mp4", read_pair / "driving.mp4", *more
            ).code
            == 0
        )
        leaks[name] = scores(tmp_path / name, name)
    assert leaks["truth"]["leakage_estimate"] == pytest.approx(0, abs=0.3)
    assert leaks["driving"]["leakage_estimate"] == pytest.approx(1, abs=1e-6)
    assert "psnr" not in leaks["truth"] and "landmarks" not in leaks["truth"]


def test_lengths_that_differ_are_told(read_pair, tmp_path):
    made = call(
        MODULE, "--videos", read_pair / "short.mp4", read_pair / "truth.mp4", "--output", tmp_path
    )
    assert "10 and 16 frames; the first 10 are compared" in made.out
    assert scores(tmp_path, "short")["frames"] == 10


def test_a_video_without_a_face_has_pixels_only(read_pair, tmp_path):
    made = call(
        MODULE, "--videos", read_pair / "no.mp4", read_pair / "truth.mp4", "--output", tmp_path
    )
    row = scores(tmp_path, "no")
    assert made.code == 0 and row["face_found"] == 0 and "landmarks" not in row and row["psnr"] < 20


def test_folders_are_paired_and_runs_compared(read_pair, tmp_path):
    for run, name in (("one", "truth"), ("two", "driving")):
        folder = tmp_path / run
        folder.mkdir()
        (folder / "a.mp4").write_bytes((read_pair / f"{name}.mp4").read_bytes())
        assert (
            call(
                MODULE, "--videos", folder, tmp_path / "one", "--output", tmp_path / f"of_{run}"
            ).code
            == 0
        )
    made = call(MODULE, "--compare", tmp_path / "of_one", tmp_path / "of_two")
    assert made.code == 0 and "psnr" in made.out
    assert call(MODULE, "--compare", tmp_path / "of_one", tmp_path).code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing is given"),
        (("--checkpoint", "a", "--videos", "b", "c"), "checkpoint and videos is given"),
        (("--checkpoint", "nowhere"), "there is no model in nowhere"),
        (("--checkpoint", "nowhere", "mode=other"), "cross or self is expected"),
        (("--checkpoint", "nowhere", "--frames", "2"), "--frames is 2, a whole number from 3"),
        (("--videos", "a.mp4", "b.mp4"), "there is no video a.mp4"),
        (("--videos", "a.mp4", "tests"), "are a folder and a file"),
        (("--videos", "README.md", "README.md"), "a whole video is expected"),
        (("--videos", "a.mp4", "b.mp4", "--features", "README.md"), "is no TorchScript file"),
        (("--compare", "tests", "tests"), "holds no summary.json"),
    ],
)
def test_mistakes_are_one_sentence(words, said, tmp_path, monkeypatch):
    made = call(MODULE, *words, "--output", tmp_path / "out")
    assert made.code == 2 and said in made.sentence
    assert not (tmp_path / "out").exists()


def test_intervals_hold_the_mean_and_narrow_with_clips():
    values = np.random.default_rng(0).normal(3, 1, 400)
    few, many = interval("a", values[:10]), interval("a", values)
    assert many == interval("a", values)
    assert many["low"] < many["mean"] < many["high"]
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert few["high"] - few["low"] > 3 * (many["high"] - many["low"])


def test_differences_are_paired():
    hard = [10.0, 20.0, 30.0]
    before = [{"key": str(i), "psnr": value, "blink_r": None} for i, value in enumerate(hard)]
    after = [{"key": str(i), "psnr": value + 1, "blink_r": 0.5} for i, value in enumerate(hard)]
    told = differences(before, after)
    assert told == {"psnr": {"mean": 1, "low": 1, "high": 1, "clips": 3}}
    assert summary(after)["psnr"]["clips"] == 3 and "blink_r" not in summary(before)
