"""Where the eyes look and how far they move: against rendered truth, at every frame rate, head
removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from datagen.gaze.iris import IrisGaze
from datagen.media import video
from datagen.sources.rendering.motion import KINDS, Motion, motion
from datagen.sources.rendering.talking_head import rotation
from datagen.sources.sample import SampleSource
from datagen.vision import geometry
from datagen.vision.faces import Faces, track
from datagen.vision.gaze_signal import amplitude
from datagen.vision.iris import eye_in_head
from datagen.vision.landmarks import FaceMesh
from tests.faults import head

RATES = (12.5, 25, 50)
PLAN = {
    clip.key: clip.source for clip in SampleSource(clips=12, people=6, seconds=(3.0, 3.6)).plan()
}
# One clip of each of the wide motions, of three people; the whole plan is for -m slow.
FEW = ["sample-0001-person01-sweep", "sample-0002-person02-updown", "sample-0004-person04-look"]


@dataclass(frozen=True)
class Seen:
    """A clip's motion and what was measured of its pictures; angles (yaw, pitch) in degrees [T,
    2].
    """

    motion: Motion
    gaze: np.ndarray
    amplitude: float

    @property
    def truth(self) -> np.ndarray:
        return np.stack([self.motion.gaze_yaw, self.motion.gaze_pitch], axis=-1)

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.gaze).any(-1)


@cache
def mesh() -> FaceMesh:
    return FaceMesh()


@cache
def planned(key: str) -> Seen:
    """A clip of the sample's default plan."""
    spec = PLAN[key]
    return seen(spec["person"], motion(spec["motion"], spec["seconds"], spec["fps"], spec["seed"]))


def seen(who: int, moves: Motion) -> Seen:
    return Seen(moves, *measured(list(head(who).frames(moves))))


def measured(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Gaze in degrees and its amplitude, of RGB frames at 25 fps."""
    faces = track(mesh(), frames)
    times = np.arange(len(frames)) / 25
    gaze = IrisGaze().measure(faces, times)["gaze"]
    return np.rad2deg(gaze), amplitude(times, gaze)


def curve(kind: str, fps: float, seed: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(times, gaze in radians) of a motion of 3.2 s, with noise of `noise` degrees on both angles
    of each frame.
    """
    moves = motion(kind, 3.2, fps, seed)
    gaze = np.stack([moves.gaze_yaw, moves.gaze_pitch], axis=-1)
    gaze += noise * np.random.default_rng(seed).standard_normal(gaze.shape)
    return np.arange(len(moves)) / fps, np.deg2rad(gaze)


# --- amplitude


def test_a_noisy_stare_moves_less_than_every_sweep():
    stares = [
        amplitude(*curve("stare", fps, seed, noise=2.5)) for fps in RATES for seed in range(20)
    ]
    sweeps = [
        amplitude(*curve(kind, fps, seed))
        for kind in ("sweep", "updown")
        for fps in RATES
        for seed in range(20)
    ]
    assert max(stares) < min(sweeps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_amplitude_does_not_depend_on_the_frame_rate(kind, seed):
    slow, normal, fast = (amplitude(*curve(kind, fps, seed)) for fps in RATES)
    assert slow == pytest.approx(normal, rel=0.1)
    assert fast == pytest.approx(normal, rel=0.1)


def test_amplitude_leaves_unknown_frames_out():
    times, gaze = curve("sweep", 25, seed=0)
    gaze[20:24] = np.nan
    assert amplitude(times, gaze) == pytest.approx(amplitude(*curve("sweep", 25, seed=0)), rel=0.1)
    assert amplitude(times, np.full_like(gaze, np.nan)) == 0


@pytest.mark.parametrize(("kind", "rates"), [("sweep", RATES), ("updown", RATES[:2])])
def test_a_video_of_any_frame_rate_has_the_same_amplitude(kind, rates):
    """As the journey sees it: at 25 fps, some frames twice or left out."""
    fastest = list(head(1).frames(motion(kind, 3.2, rates[-1], seed=7)))
    found = []
    for fps in rates:
        shown = [
            video.Frame(n / fps, rgb) for n, rgb in enumerate(fastest[:: round(rates[-1] / fps)])
        ]
        found.append(measured([frame.rgb for frame in video.resample(shown, 25)])[1])
    assert found == pytest.approx([found[1]] * len(rates), rel=0.1)


# --- against the truth


def correlations(clips: list[Seen]) -> list[float]:
    """Of measured and true yaw, pitch over all clips, each with its medians removed."""
    known = [(clip.gaze[clip.known], clip.truth[clip.known]) for clip in clips]
    found, true = (
        np.concatenate([part - np.median(part, 0) for part in parts])
        for parts in zip(*known, strict=True)
    )
    return [float(np.corrcoef(found[:, axis], true[:, axis])[0, 1]) for axis in (0, 1)]


def check_follows(keys: list[str]) -> None:
    clips = [planned(key) for key in keys]
    sideways, updown = correlations(clips)
    assert sideways >= 0.95
    assert updown >= 0.75
    for clip in clips:
        found, true = clip.gaze[clip.known], clip.truth[clip.known]
        for axis, least in ((0, 0.9), (1, 0.6)):
            if true[:, axis].std() > 4:
                assert np.corrcoef(found[:, axis], true[:, axis])[0, 1] >= least


def test_gaze_follows_the_truth():
    check_follows(FEW)


@pytest.mark.slow
def test_gaze_follows_the_truth_in_the_whole_sample():
    check_follows(list(PLAN))
    amplitudes = {
        kind: [planned(key).amplitude for key in PLAN if key.endswith(kind)] for kind in KINDS
    }
    assert max(amplitudes["stare"]) < min(amplitudes["sweep"] + amplitudes["updown"])


def test_a_still_stare_moves_less_than_sweeps():
    stare = planned("sample-0003-person03-stare").amplitude
    assert stare < min(planned(key).amplitude for key in FEW) / 1.5


@pytest.mark.parametrize("key", FEW)
def test_blinks_are_unknown(key):
    clip = planned(key)
    assert not clip.known[clip.motion.blink > 0.6].any()
    assert clip.known[clip.motion.blink < 0.05].mean() > 0.9


def test_a_mirrored_clip_has_mirrored_gaze():
    frames = list(head(4).frames(motion("look", 2.4, 25, seed=3)))
    gaze, mirrored = (
        measured(pictures)[0] for pictures in (frames, [rgb[:, ::-1].copy() for rgb in frames])
    )
    both = ~np.isnan(gaze).any(-1) & ~np.isnan(mirrored).any(-1)
    assert both.mean() > 0.8
    gaze, mirrored = gaze[both], mirrored[both]
    assert np.corrcoef(mirrored[:, 0], gaze[:, 0])[0, 1] < -0.95
    assert np.corrcoef(mirrored[:, 1], gaze[:, 1])[0, 1] > 0.8
    assert np.abs(mirrored * [-1, 1] - gaze).mean(0).max() < 6


# --- geometry


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """The points float64 [478, 3] px of a real face."""
    from skimage.data import astronaut

    found = FaceMesh()(np.ascontiguousarray(astronaut()[:256, 100:356]))
    assert found is not None
    return found.astype(np.float64)


def turned(points: np.ndarray, turn: np.ndarray) -> np.ndarray:
    middle = points.mean(0)
    return (points - middle) @ turn.T + middle


TURNS = [(yaw, pitch, roll) for yaw in (-15, 0, 15) for pitch in (-15, 0, 15) for roll in (-15, 15)]


@pytest.mark.parametrize("angles", TURNS)
def test_the_rotation_of_a_real_face_is_recovered(points, angles):
    """A frontal face turned by known angles has them, where the turn starts from its own zero."""
    frontal = turned(points, geometry.head_rotation(points).T)
    found = geometry.angles(geometry.head_rotation(turned(frontal, rotation(*angles))))
    assert np.rad2deg(found) == pytest.approx(angles, abs=1e-6)


def test_a_turn_of_the_head_is_not_taken_for_gaze(points):
    turns = np.stack([turned(points, rotation(*angles)) for angles in TURNS])
    gaze = np.rad2deg(eye_in_head(turns))
    still = np.rad2deg(eye_in_head(points[None]))[0]
    assert np.abs(gaze - still)[:, 0].max() < 5
    assert np.abs(gaze - still)[:, 1].max() < 10


def test_directions_and_angles_are_inverse():
    angles = np.deg2rad(
        [(yaw, pitch) for yaw in range(-80, 81, 20) for pitch in range(-80, 81, 20)]
    )
    assert geometry.direction_angles(geometry.direction(angles)) == pytest.approx(angles)
    assert geometry.direction(np.deg2rad([90.0, 0.0])) == pytest.approx(
        [-1, 0, 0]
    )  # to the left of the picture
    assert geometry.direction(np.deg2rad([0.0, 90.0])) == pytest.approx([0, -1, 0])  # up


def test_a_frame_without_a_face_has_no_gaze(points):
    faces = Faces.of([points.astype(np.float32), None])
    found = IrisGaze().measure(faces, np.array([0.0, 0.04]))
    assert (
        np.isnan(found["gaze"][1]).all()
        and np.isnan(found["head"][1]).all()
        and np.isnan(found["eyes"][1])
    )
    assert np.isfinite(found["gaze"][0]).all() and np.isfinite(found["head"][0]).all()
