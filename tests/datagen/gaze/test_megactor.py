"""The paper's statistic of gaze is what it was measured to be: it keeps stares at the lens and
loses wide sweeps.
"""

from __future__ import annotations

import numpy as np
import pytest

from datagen.gaze import megactor
from datagen.gaze.iris import IrisGaze
from datagen.vision.faces import Faces
from datagen.vision.gaze_signal import amplitude

TRIALS, SAMPLES = 1000, 32


def trials(
    yaw: float, pitch: float, yaw_swing: float = 0, pitch_swing: float = 0, noise: float = 1.0
) -> np.ndarray:
    """Gaze radians [TRIALS, SAMPLES, 2]: so many degrees, three swings about them in SAMPLES, noise
    on each sample.
    """
    random = np.random.default_rng(0)
    phase = random.uniform(0, 2 * np.pi, (TRIALS, 1))
    swing = np.sin(6 * np.pi * np.arange(SAMPLES) / SAMPLES + phase)
    gaze = np.stack([yaw + yaw_swing * swing, pitch + pitch_swing * swing], axis=-1)
    return np.deg2rad(gaze + noise * random.standard_normal(gaze.shape))


BEHAVIOURS = {  # gaze, median variance in degrees squared, share that is kept
    "a stare at the lens": (trials(0, 0), 296, 0.81),
    "a stare at the lens, more noise": (trials(0, 0, noise=3.0), None, 0.78),
    "a stare past the lens": (trials(15, 0), 815, 0.96),
    "a stare down": (trials(0, -10), 4, 0.0),
    "a sweep": (trials(0, -10, yaw_swing=20), 483, 1.0),
    "a sweep further down": (trials(0, -25, yaw_swing=20), 135, 0.0),
    "a sweep up and down": (trials(0, -20, pitch_swing=15), 4, 0.0),
    "a sweep on one side": (trials(20, -12, yaw_swing=15), None, 0.0),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_the_statistic_is_as_measured(name):
    gaze, median, kept = BEHAVIOURS[name]
    found = megactor.variance(gaze)
    assert (found > megactor.BOUND).mean() == pytest.approx(kept, abs=0.02)
    if median is not None:
        assert np.median(found) == pytest.approx(median, rel=0.1)


def test_stares_are_kept_and_sweeps_rejected_where_the_amplitude_says_the_opposite():
    """All that the paper's rule keeps of the stares moves less than all that it rejects of the
    sweeps.
    """
    times = np.arange(SAMPLES) / 10
    stares = [BEHAVIOURS[name][0] for name in ("a stare at the lens", "a stare past the lens")]
    sweeps = [
        BEHAVIOURS[name][0]
        for name in ("a sweep further down", "a sweep up and down", "a sweep on one side")
    ]
    kept = [g for gaze in stares for g in gaze[:50] if megactor.variance(g) > megactor.BOUND]
    lost = [g for gaze in sweeps for g in gaze[:50] if megactor.variance(g) <= megactor.BOUND]
    assert len(kept) >= 80 and len(lost) == 150
    assert (
        max(amplitude(times, gaze) for gaze in kept)
        < min(amplitude(times, gaze) for gaze in lost) / 2
    )


def test_the_formula_is_the_official_one():
    gaze = np.deg2rad([(10.0, 5.0), (-20.0, 8.0), (3.0, -4.0)])
    theta = [np.degrees(np.arctan(np.sin(h) * np.cos(v) / np.sin(v))) / 2 for h, v in gaze]
    highest = [max(theta[0], theta[0], theta[1]), max(theta), max(theta[1], theta[2], theta[2])]
    assert megactor.theta(gaze) == pytest.approx(theta)
    assert float(megactor.variance(gaze)) == pytest.approx(np.var(highest))


def test_every_tenth_frame_counts_up_to_32_and_one_without_a_face_drops_the_clip():
    gaze = np.full((400, 2), np.nan)
    gaze[:320:10] = np.deg2rad([1.0, -1.0])
    gaze[5:320:10] = 9
    assert megactor.statistic(gaze) == {"megactor_variance": 0.0, "megactor_keeps": 0}
    gaze[:320:20, 1] *= -1  # from below the lens to above it
    assert (
        megactor.statistic(gaze)["megactor_keeps"] == 0
    )  # the running maximum hides a change at every sample
    gaze[:160:10, 1] = np.deg2rad(-1.0)
    gaze[160:320:10, 1] = np.deg2rad(1.0)
    told = megactor.statistic(gaze)
    assert told["megactor_keeps"] == 1 and told["megactor_variance"] > 400
    gaze[50] = np.nan
    assert megactor.statistic(gaze) == {"megactor_variance": None, "megactor_keeps": 0}
    assert megactor.statistic(np.empty((0, 2))) == {"megactor_variance": None, "megactor_keeps": 0}


def test_the_rule_adds_its_metrics_and_changes_no_other_result():
    points = np.random.default_rng(0).uniform(0, 99, (30, 478, 3)).astype(np.float32)
    faces, times = Faces.of(points), np.arange(30) / 25
    told = {}
    for rule in (None, "megactor"):
        stage = IrisGaze(rule=rule)
        camera = np.tile([0.0, 0.0, -1.0], (30, 1))
        told[rule] = stage.metrics(faces, times, camera, stage.fields(faces, times, camera)["gaze"])
    extra = {name: told["megactor"].pop(name) for name in ("megactor_variance", "megactor_keeps")}
    assert told["megactor"] == told[None] and extra["megactor_keeps"] == 0
    assert (
        "rule" not in IrisGaze().parameters()
        and IrisGaze(rule="megactor").parameters()["rule"] == "megactor"
    )
