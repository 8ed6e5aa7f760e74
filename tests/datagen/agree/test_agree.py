"""Does a twin still match its target: every way to fail shows in the metric that is there to see
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from datagen.agree.mesh import Agreement
from datagen.engine.clip import Artifact, Clip
from datagen.faces.mesh import MeshFaces
from datagen.media import video
from datagen.shards.selection import Rule, Selection
from datagen.sources.rendering.motion import Motion
from datagen.vision import geometry
from datagen.vision.similarity import compare
from tests.conftest import REPOSITORY
from tests.faults import head, poses

COUNT, WHO = 26, 0
TIME = np.arange(COUNT) / 25
BLINK = np.exp(-(((TIME - 0.5) / 0.06) ** 2))


def moves(gaze: float = 1.0) -> Motion:
    """Speech, one blink, a turning head, eyes that sweep to and fro by `gaze` times 16 degrees."""
    turn = np.sin(2 * np.pi * 1.1 * TIME)
    mouth = 0.35 - 0.35 * np.cos(2 * np.pi * 3.3 * TIME)
    sweep = 16 * gaze * np.cos(2 * np.pi * 0.9 * TIME)
    return poses(
        COUNT, mouth=mouth, blink=BLINK, head_yaw=9 * turn, shift_x=4 * turn, gaze_yaw=sweep
    )


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(head(WHO).frames(moves()))


@pytest.fixture(scope="module")
def target(frames, tmp_path_factory) -> Clip:
    """The clip with its measured face."""
    folder = tmp_path_factory.mktemp("target")
    clip = Clip("a", {}, artifacts={"clips": Artifact(written(folder / "clip.mp4", frames))})
    return clip.with_artifact("faces", MeshFaces()(clip, folder))


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    return Agreement(twins=("swap",))


@pytest.fixture
def measured(target, agreement, tmp_path):
    """Metrics of a twin with the given frames; the clip's own video by default."""

    def measure(twin: list[np.ndarray] | None = None) -> dict[str, Any]:
        path = target.path("clips") if twin is None else written(tmp_path / "twin.mp4", twin)
        return agreement(target.with_artifact("swap", Artifact(path)), tmp_path).metrics["swap"]

    return measure


def written(path: Path, frames: list[np.ndarray]) -> Path:
    with video.Writer(path, 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    return path


def says_no(metrics: dict[str, Any], name: str, **bounds: Any) -> bool:
    """Whether a rule on one metric of the twin rejects a clip with these metrics, giving its
    reason.
    """
    selection = Selection([Rule(f"bad_{name}", f"agree.swap.{name}", **bounds)])
    clip = Clip("a", {}, artifacts={"agree": Artifact(Path(), {"swap": metrics})})
    verdict = selection.verdict("agree", clip)
    assert verdict is None or verdict.reason == f"bad_{name}"
    return verdict is not None


def test_a_clip_agrees_with_itself(measured):
    metrics = measured()
    assert (metrics["flicker"], metrics["colour"], metrics["coverage"]) == (1, 0, 1)
    assert metrics["shape_and_colour"] == pytest.approx(1, abs=0.003)
    for name in ("landmarks", "mouth", "eyes", "motion", "mouth_motion", "eyes_motion", "shape"):
        assert metrics[name] == pytest.approx(0, abs=3e-4), name
    for name in ("pose_deg", "gaze_deg", "gaze_offset_deg"):
        assert metrics[name] == pytest.approx(0, abs=0.1), name
    for name in ("mouth_r", "blink_r"):
        assert metrics[name] == pytest.approx(1, abs=1e-3), name
    assert max(metrics["identity"], metrics["identity_driving"]) < 0.01
    assert metrics["identity_share"] == pytest.approx(0, abs=0.01)


def late(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frames[0]] * 4 + frames[:-4]


def mirrored(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [rgb[:, ::-1] for rgb in frames]


def other_person(frames: list[np.ndarray]) -> list[np.ndarray]:
    return list(head(3).frames(moves()))


def eyes_elsewhere(frames: list[np.ndarray]) -> list[np.ndarray]:
    return list(head(WHO).frames(moves(gaze=-1.0)))


def frozen(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frames[0]] * len(frames)


def flickering(frames: list[np.ndarray]) -> list[np.ndarray]:
    signs = [5 if n % 2 else -5 for n in range(len(frames))]
    return [
        np.clip(rgb.astype(int) + sign, 0, 255).astype(np.uint8)
        for rgb, sign in zip(frames, signs, strict=True)
    ]


def faceless(frames: list[np.ndarray]) -> list[np.ndarray]:
    return frames[: COUNT // 2] + [np.full_like(frames[0], 128)] * (COUNT - COUNT // 2)


@pytest.mark.parametrize(
    ("spoil", "gates"),
    [
        (late, {"mouth_r": {"least": 0.8}, "blink_r": {"least": 0.7}, "motion": {"most": 0.015}}),
        (mirrored, {"pose_deg": {"most": 8}, "gaze_deg": {"most": 8}}),
        (other_person, {"shape_and_colour": {"least": 0.6}, "identity": {"most": 0.35}}),
        (eyes_elsewhere, {"gaze_deg": {"most": 8}}),
        (
            frozen,
            {"flicker": {"least": 0.5}, "landmarks": {"most": 0.02}, "mouth_r": {"least": 0.8}},
        ),
        (flickering, {"flicker": {"most": 1.5}}),
        (faceless, {"coverage": {"least": 0.97}}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_twin_is_seen_and_kept_out(spoil, gates, measured, frames):
    good, spoilt = measured(), measured(spoil(frames))
    for name, bounds in gates.items():
        assert not says_no(good, name, **bounds), name
        assert says_no(spoilt, name, **bounds), name


def test_another_person_with_the_same_motion_moves_alike(measured, frames):
    """What a good swap does: only who it is may change."""
    metrics = measured(other_person(frames))
    assert metrics["mouth_r"] > 0.9 and metrics["blink_r"] > 0.9
    assert metrics["pose_deg"] < 6
    assert metrics["gaze_deg"] < 8
    assert metrics["flicker"] == pytest.approx(1, abs=0.35)
    assert metrics["motion"] < 0.03 < metrics["landmarks"], "the build of a face is no motion"
    assert metrics["identity"] > 0.4 and metrics["identity_driving"] > 0.35
    assert metrics["identity_share"] > 0.3


def test_a_twin_of_the_same_person_is_filtered_by_the_default_rules(measured, frames):
    """Made on purpose: a recoloured target, which moves as it should and is nobody else."""
    recoloured = [np.clip(rgb * [1.1, 0.95, 0.8], 0, 255).astype(np.uint8) for rgb in frames]
    metrics = measured(recoloured)
    assert metrics["colour"] > 5 and metrics["identity"] < 0.35 and metrics["identity_share"] < 0.3
    rules = OmegaConf.load(REPOSITORY / "conf" / "select" / "default.yaml").rules
    about_swap = [dict(rule) for rule in rules if rule.metric.startswith("agree.swap.")]
    clip = Clip("a", {}, artifacts={"agree": Artifact(Path(), {"swap": metrics})})
    verdict = Selection(about_swap).verdict("agree", clip)
    assert verdict is not None and verdict.reason == "swap_same_person"


def test_a_mouth_that_never_moves_does_not_pass_for_one_that_cannot_be_compared(target):
    with np.load(target.path("faces"), allow_pickle=False) as file:
        points = file["landmarks"].astype(np.float64)
    still = np.repeat(points[:1], len(points), axis=0)
    assert compare(points, points, TIME)["mouth_r"] == 1
    assert says_no(compare(points, still, TIME), "mouth_r", least=0.8)
    assert compare(still, points, TIME)["mouth_r"] is None


def brows(raised: np.ndarray, together: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [478, 3] px over time with brows raised and drawn together by these px [T]."""
    moved = np.repeat(points[None].astype(np.float64), len(raised), axis=0)
    for ring, side in ((geometry.RIGHT_BROW, 1), (geometry.LEFT_BROW, -1)):
        moved[:, ring, 1] -= raised[:, None]
        moved[:, ring, 0] += side * together[:, None]
    return moved


def test_brows_are_followed_and_painted_ones_are_seen(target):
    with np.load(target.path("faces"), allow_pickle=False) as file:
        points = file["landmarks"][0]
    up, frown = 4 * np.sin(7 * TIME), 3 * np.cos(11 * TIME)
    moving, none = brows(up, frown, points), np.zeros_like(TIME)
    higher = brows(up + 9, frown - 5, points)  # always: another face, the same motion
    followed = compare(moving, higher, TIME)
    assert followed["brow_r"] == followed["frown_r"] == pytest.approx(1, abs=1e-6)
    assert followed["motion"] < 1e-6 < 0.004 < followed["landmarks"]
    painted = compare(moving, brows(none, none, points), TIME)
    assert painted["brow_r"] == painted["frown_r"] == 0 and painted["motion"] > 0.001
    assert compare(brows(up, none, points), moving, TIME)["frown_r"] is None
