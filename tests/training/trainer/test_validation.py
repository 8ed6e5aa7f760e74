"""Validation shows the mean of the weights, and training does not notice it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.folder import load
from model.pipeline import MegActorPipeline, SamplingSettings
from tests import faults
from tests.training import fits
from training.data.dataset import Resolution
from training.data.module import ClipDataModule
from training.evaluation.animate_case import animate_case
from training.trainer.validation import _scores, cases

EMA = "optim.ema=0.9"
CASES = {f"{kind}-val-{number}" for kind in ("self", "cross") for number in (0, 1)}


@pytest.fixture(scope="module")
def shown(small, tmp_path_factory) -> Path:
    """6 steps, validated after the third and the last."""
    output = tmp_path_factory.mktemp("shown") / "run"
    fits.fit(
        small,
        output,
        EMA,
        "max_steps=6",
        "validate_every=3",
        "validation_cases=2",
        "validation_steps=2",
    )
    return output


def test_training_is_the_same_as_without(small, shown, tmp_path):
    fits.fit(small, tmp_path / "run", EMA, "max_steps=6")
    found, expected = fits.logged(shown), fits.logged(tmp_path / "run")
    for tag in ("loss/train", "gradients/norm"):
        assert found[tag] == expected[tag]
    states = [fits.state(output) for output in (shown, tmp_path / "run")]
    for part in ("state_dict", "optimizer_states", "callbacks"):
        assert not list(fits.differences(states[0][part], states[1][part], fits.bits_differ)), part


def test_every_case_is_a_video_and_a_moving_picture_in_the_log(shown):
    for step in (3, 6):
        assert {
            path.stem for path in (shown / "validation" / f"step-{step:08d}").iterdir()
        } == CASES
    assert fits.images(shown) == {f"validation/{case}" for case in CASES}


def test_scores_are_logged_at_their_steps(shown):
    scores = fits.logged(shown)
    for name in ("l1", "psnr", "ssim"):
        assert [step for step, _ in scores[f"validation/{name}"]] == [3, 6]
    assert scores["validation/l1"][1] != scores["validation/l1"][0]


def test_what_is_scored_is_what_the_mean_of_the_weights_makes(small, shown):
    """The saved model has it, and the checkpoint the last weights, too."""
    pipeline, score = load(shown / "model"), fits.logged(shown)["validation/l1"][-1][1]
    assert _score(pipeline, small) == pytest.approx(score, rel=1e-5)
    own = fits.state(shown)["state_dict"]
    pipeline.animator.load_state_dict(
        {name.removeprefix("animator."): value for name, value in own.items()}
    )
    assert _score(pipeline, small) != pytest.approx(score, rel=1e-4)


def _score(pipeline: MegActorPipeline, small: Path) -> float:
    resolution = Resolution(pipeline.side, pipeline.driving_side, pipeline.side // pipeline.factor)
    clips = ClipDataModule(str(small), resolution, pipeline.feature_extractor, frames=2).dataset(
        "val"
    )
    pipeline.animator.eval()
    shown = [
        (case, animate_case(pipeline, case, SamplingSettings(2, 1.0, 0)))
        for case in cases(clips, 2, 24)
    ]
    return float(np.mean([_scores(case, made)["l1"] for case, made in shown if case.has_truth]))


def test_with_a_cache_clips_held_back_are_shown_without_it(small, tmp_path):
    """It has tokens of some frames alone, and the portrait of a case may be any."""
    kept = faults.call(
        "training.cache",
        "--input",
        small,
        "--output",
        tmp_path / "cache",
        "model=tiny",
        "workers=0",
    )
    assert kept.code == 0, kept.err
    more = (
        f"cache={tmp_path / 'cache'}",
        "validate_every=2",
        "validation_cases=2",
        "validation_steps=1",
    )
    fits.fit(small, tmp_path / "run", *more, "max_steps=2")
    assert {
        path.stem for path in (tmp_path / "run" / "validation" / "step-00000002").iterdir()
    } == CASES


def test_cases_beyond_the_time_are_left_out_and_it_is_said(small, tmp_path, capfd):
    late = ("validate_every=2", "validation_cases=2", "validation_steps=1", "validation_minutes=0")
    fits.fit(small, tmp_path / "run", *late, "max_steps=2")
    assert (
        "validation: 3 of 4 cases left out, after 0 minutes (validation_minutes)."
        in capfd.readouterr().err
    )
    assert [
        path.stem for path in (tmp_path / "run" / "validation" / "step-00000002").iterdir()
    ] == ["self-val-0"]
