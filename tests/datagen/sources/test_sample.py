"""The embedded sample: what is planned, what moves, and that the truth is what a detector sees."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from datagen.media import video
from datagen.sources.rendering.astronaut import base
from datagen.sources.rendering.eyes import iris_offset
from datagen.sources.rendering.motion import HEAD_LIMITS, KINDS, Motion, motion
from datagen.sources.rendering.people import PEOPLE, donor, look_of, person, portrait
from datagen.sources.rendering.talking_head import TalkingHead, rotation
from datagen.sources.sample import Render, SampleSource
from datagen.vision.geometry import angles, eye_openness, mouth_openness
from datagen.vision.landmarks import FaceMesh

# a recogniser takes none of these people for another of them
APART = (8, 9, 11, 12, 15, 17, 18, 25, 27, 29, 30, 31, 34, 37, 38, 39, 44, 47, 48, 52)
CURVES = [field.name for field in dataclasses.fields(Motion) if field.name != "fps"]


def poses(**changes: list[float]) -> Motion:
    """A motion that is still but for the given curves."""
    count = len(next(iter(changes.values())))
    return Motion(
        25.0, **{name: np.array(changes.get(name, [0.0] * count), float) for name in CURVES}
    )


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead(person(0))


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh()


def seen(mesh: FaceMesh, head: TalkingHead, moves: Motion) -> np.ndarray:
    """The points [T, 478, 3] found in each frame on its own."""
    found = []
    for frame in head.frames(moves):
        mesh.reset()
        points = mesh(frame)
        assert points is not None
        found.append(points.astype(float))
    return np.stack(found)


def test_plan_covers_people_and_motions():
    clips = list(SampleSource(clips=12, people=6, seconds=(3.0, 3.6)).plan())
    keys = [clip.key for clip in clips]
    assert keys == sorted(set(keys)) and len(keys) == 12
    assert min(Counter(clip.source["motion"] for clip in clips).values()) >= 2
    kinds = defaultdict(set)
    for clip in clips:
        kinds[clip.identity].add(clip.source["motion"])
    assert len(kinds) == 6 and min(map(len, kinds.values())) >= 2
    assert sum(len(motion(**_arguments(clip.source))) for clip in clips) <= 1000


def test_plan_depends_on_its_seed_alone():
    first, again, other = (
        list(SampleSource(4, 2, (1.0, 2.0), seed=seed).plan()) for seed in (0, 0, 1)
    )
    assert first == again
    assert all(a.source["seed"] != b.source["seed"] for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_motion_is_a_function_of_time(kind):
    slow, normal, fast = (motion(kind, 3.2, fps, seed=7) for fps in (12.5, 25, 50))
    for name in CURVES:
        assert np.allclose(getattr(fast, name)[::2], getattr(normal, name), atol=1e-12)
        assert np.allclose(getattr(normal, name)[::2], getattr(slow, name), atol=1e-12)
    assert not np.array_equal(normal.blink, motion(kind, 3.2, 25, seed=8).blink)


@pytest.mark.parametrize("kind", KINDS)
def test_motion_stays_in_reach_and_blinks(kind):
    for seed in range(20):
        moves = motion(kind, 3.0, 25, seed)
        for name, limit in zip(("head_yaw", "head_pitch", "head_roll"), HEAD_LIMITS, strict=True):
            assert np.abs(getattr(moves, name)).max() <= limit
        assert np.abs(moves.gaze_yaw).max() <= 22 and np.abs(moves.gaze_pitch).max() <= 15
        assert moves.mouth.min() >= 0 and moves.mouth.max() <= 1
        assert moves.blink.min() == 0 and moves.blink.max() > 0.9


def test_motions_do_what_they_are_called():
    stare, sweep, updown = (motion(kind, 4.0, 25, seed=3) for kind in ("stare", "sweep", "updown"))
    assert not stare.gaze_yaw.any() and not stare.gaze_pitch.any() and np.ptp(stare.head_yaw) > 5
    assert sweep.gaze_yaw.min() < -17 and sweep.gaze_yaw.max() > 17
    assert updown.gaze_pitch.min() < -11 and updown.gaze_pitch.max() > 11


@pytest.mark.parametrize("pose", [(0, 0, 0), (14, -9, 8), (-10, 5, -3)])
def test_rotation_has_the_angles_of_geometry(pose):
    turn = rotation(*pose)
    assert np.allclose(np.rad2deg(angles(turn)), pose)
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) > 0


def test_iris_moves_against_the_corners_of_a_turned_head():
    assert np.allclose(iris_offset(0, 0, np.eye(3)), [0, 0, -5])
    assert iris_offset(20, 0, np.eye(3))[0] == pytest.approx(
        -10 * np.sin(np.deg2rad(20))
    )  # left in the picture
    assert iris_offset(0, 0, rotation(10, 0, 0))[0] == pytest.approx(-5 * np.sin(np.deg2rad(10)))


def test_people_differ():
    assert len(PEOPLE) >= 8 and len({person(i).name for i in range(20)}) == 20
    assert person(11) == person(11)
    small = [portrait(person(i))[::8, ::8].astype(float) for i in range(8)]
    for i in range(8):
        for j in range(i):
            assert np.abs(small[i] - small[j]).mean() > 10
            apart = look_of(person(i)).points - look_of(person(j)).points
            assert np.abs(apart[:, :2]).max() > 5


def test_drawn_people_have_little_in_common():
    """Each differs clearly from each in many proportions."""
    shapes = np.array([dataclasses.astuple(person(i).shape) for i in range(8, 56)])
    apart = np.abs(shapes[:, None] - shapes[None]) / np.ptp(shapes, axis=0)
    many = (apart > 0.3).sum(-1)[np.triu_indices(len(shapes), 1)]
    assert many.min() >= 3 and many.mean() > 9


def test_nobody_plays_twice():
    everybody = [make(i) for make in (person, donor) for i in range(200)]
    assert len({who.name for who in everybody}) == 400
    assert len({dataclasses.replace(who, name="") for who in everybody}) == 400


def test_a_recogniser_tells_people_apart():
    """Pairs of one person are below 0.6 for dlib; all of these are above."""
    dlib = pytest.importorskip("dlib")
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.origin is None:
        pytest.skip("face_recognition_models holds the recogniser's weights")
    models = Path(found.origin).parent / "models"
    faces = dlib.get_frontal_face_detector()
    corners = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    weights = models / "dlib_face_recognition_resnet_model_v1.dat"
    recogniser = dlib.face_recognition_model_v1(str(weights))

    def described(who) -> np.ndarray:
        picture = portrait(who)
        (box, *_) = faces(picture)
        return np.array(recogniser.compute_face_descriptor(picture, corners(picture, box)))

    for group in ([person(i) for i in APART], [donor(i) for i in range(12)]):
        told = np.stack([described(who) for who in group])
        away = np.linalg.norm(told[:, None] - told[None], axis=-1)
        assert away[np.triu_indices(len(told), 1)].min() > 0.6


@pytest.mark.parametrize("index", range(12))
def test_donors_are_at_rest(index, mesh):
    mesh.reset()
    points = mesh(portrait(donor(index)))
    assert points is not None and mouth_openness(points) < 0.05
    corners, middle = points[[61, 291], 1].mean(), points[[13, 14], 1].mean()
    width = points[291, 0] - points[61, 0]
    assert abs(corners - middle) < 0.1 * width  # neither a smile nor a pout


@pytest.mark.parametrize("index", [*range(8), 9])
def test_portrait_is_frontal_and_placed(index, mesh):
    mesh.reset()
    points = mesh(portrait(person(index)))
    assert points is not None
    left, right = points[:, 0].min(), points[:, 0].max()
    assert 165 <= right - left <= 235 and abs((left + right) / 2 - 256) < 15
    assert points[:, 1].mean() < 260
    assert abs(points[263, 1] - points[33, 1]) < 4  # eyes level


def test_render_repeats_to_the_byte(head):
    moves = motion("look", 2.0, 25, seed=5)
    base.cache_clear()
    look_of.cache_clear()
    again = TalkingHead(person(0))
    frame = head.render(moves, 30)
    assert frame.shape == (512, 512, 3) and frame.dtype == np.uint8
    assert np.array_equal(frame, head.render(moves, 30))
    assert np.array_equal(frame, again.render(moves, 30))


def test_blink_changes_the_eyes_only(head):
    still, closed = head.frames(poses(blink=[0.0, 1.0]))
    changed = np.argwhere(np.abs(still.astype(int) - closed).max(-1) > 3)
    eyes = base().points[[33, 133, 263, 362], :2]
    assert len(changed) > 500
    assert (
        changed[:, 0].min() > eyes[:, 1].min() - 40 and changed[:, 0].max() < eyes[:, 1].max() + 25
    )
    assert (
        changed[:, 1].min() > eyes[:, 0].min() - 20 and changed[:, 1].max() < eyes[:, 0].max() + 20
    )


def test_shoulders_and_wall_stay_still(head):
    ahead, turned = head.frames(poses(head_yaw=[-14.0, 14.0], head_roll=[0.0, 8.0]))
    assert np.array_equal(ahead[480:], turned[480:])
    assert np.array_equal(ahead[:, :10], turned[:, :10])


@pytest.mark.parametrize("index", [0, 3])
def test_truth_is_what_a_detector_sees(index, mesh):
    head = TalkingHead(person(index))
    blink = eye_openness(seen(mesh, head, poses(blink=[0.0, 0.5, 1.0]))).mean(-1)
    assert blink[0] > 0.27 and blink[2] < 0.15 and blink[0] > blink[1] > blink[2]
    mouth = mouth_openness(seen(mesh, head, poses(mouth=[0.0, 0.3, 0.6, 1.0])))
    assert mouth[0] < 0.1 and (np.diff(mouth) > 0.03).all()
    for axis in ("gaze_yaw", "gaze_pitch"):
        points = seen(mesh, head, poses(**{axis: [-14.0, 0.0, 14.0]}))
        iris = points[:, [468, 473], :2].mean(1) - points[:, [33, 133, 263, 362], :2].mean(1)
        moved = np.diff(iris[:, 0 if axis == "gaze_yaw" else 1])
        assert moved.max() < 0 and moved.sum() < -1  # left and up


def test_render_stage_leaves_video_and_truth(tmp_path):
    clip = next(SampleSource(clips=1, people=1, seconds=(0.4, 0.4)).plan())
    artifact = Render()(clip, tmp_path)
    frames = list(video.frames(artifact.path))
    truth = artifact.metrics["truth"]
    assert len(frames) == 10 and frames[0].shape == (512, 512, 3)
    assert truth["fps"] == 25 and all(len(truth[name]) == 10 for name in CURVES)
    assert Render().of_clip(clip).items() > dict(clip.source).items()


def _arguments(source) -> dict:
    return {"kind": source["motion"], **{name: source[name] for name in ("seconds", "fps", "seed")}}
