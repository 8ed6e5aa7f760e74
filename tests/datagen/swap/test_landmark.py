"""The default swap: somebody else, the same motion."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.agree import mesh as agree
from datagen.core.errors import Reject
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.sources.rendering import people
from datagen.sources.sample import Render, SampleSource
from datagen.swap import donors, swapper
from datagen.swap.donors import Donor
from datagen.swap.landmark import LandmarkSwap
from datagen.swap.search import somebody_else
from datagen.swap.skull import Skull
from datagen.swap.swapper import Swapper
from datagen.swap.trial import Trial, lost, telling
from datagen.vision import faces, mesh
from datagen.vision import geometry as g
from datagen.vision.drift import drift, first_below, watched
from datagen.vision.identity import DlibDescriptor, decoded, distance, encoded
from datagen.vision.landmarks import FaceMesh
from datagen.vision.similarity import compare, stray

SIZE = 512


@pytest.fixture(scope="module")
def pool():
    return [lazy.drawn for lazy in donors.builtin_donors()[:4]]


@pytest.fixture(scope="module")
def face(pool):
    """A frame and its points."""
    return pool[0].rgb, pool[0].points


def clip_of(tmp_path, rgbs, points, **known):
    path = tmp_path / "clip.mp4"
    with video.Writer(path, 25) as writer:
        for rgb in rgbs:
            writer.write(rgb)
    np.savez(tmp_path / "faces.npz", landmarks=points)
    made = {"clips": Artifact(path), "faces": Artifact(tmp_path / "faces.npz")}
    return Clip("a-clip", {}, artifacts=made, **known)


def sample_clip(tmp_path, index):
    """A few frames of one of the sample's clips, and its points as they are tracked."""
    clip = list(SampleSource(clips=12, people=6, seconds=(2.0, 2.0), fps=6).plan())[index]
    rendered = Render()(clip, tmp_path)
    found = faces.track(FaceMesh(), video.frames(rendered.path))
    assert found.found.all()
    found.save(tmp_path / "faces.npz")
    return replace(
        clip, artifacts={"clips": rendered, "faces": Artifact(tmp_path / "faces.npz")}
    ), found.landmarks


def colour_of(frames, points):
    """Mean CIELAB of the face."""
    look = agree.VideoStatistics()
    assert list(look.watch(frames, points))
    return look.colour


def test_triangles_are_a_face_with_three_holes_wound_alike(face):
    faces = mesh.triangles()
    assert faces.shape == (852, 3) and mesh.filled().shape == (898, 3)
    directed = {
        (int(a), int(b)) for t in mesh.filled() for a, b in zip(t, np.roll(t, -1), strict=True)
    }
    assert len(directed) == 3 * 898, "an edge is run along twice in the same direction"
    assert np.median(mesh.facing(face[1], faces)) > 0.5
    assert mesh.depth()[g.OVAL].max() == 0 and mesh.depth()[4] > 5


def test_mirror_pairs_right_with_left():
    assert [mesh.mirror()[i] for i in (33, 61, 4, 46)] == [263, 291, 4, 276]


def test_rasterise_is_linear_and_the_near_face_hides_the_far():
    points = np.array([[0, 0, 5], [8, 0, 5], [0, 8, 5], [0, 0, 1], [4, 0, 1], [0, 4, 1]], float)
    values = np.column_stack([points[:, 0], [1, 1, 1, 2, 2, 2]])
    drawn = mesh.rasterise(points, np.array([[3, 4, 5], [0, 1, 2]]), values, (9, 9))
    y, x = np.mgrid[:9, :9]
    inside = x + y <= 8
    assert np.allclose(drawn[..., 0][inside], x[inside], atol=1e-5)
    assert (drawn[..., 1] == np.where(x + y <= 4, 2, np.where(inside, 1, 0))).all()


def test_swap_moves_shape_and_colour_but_not_eyes_and_mouth(face, pool):
    rgb, points = face
    donor = pool[3]
    swapped = Swapper(donor)(rgb, points)
    assert swapped.shape == rgb.shape and swapped.dtype == np.uint8
    found = FaceMesh()(swapped)
    apart = np.linalg.norm((found - points)[:, :2], axis=1) / g.interocular(points)
    assert apart.mean() < 0.04
    assert (
        apart[g.OUTER_LIPS + g.INNER_LIPS].mean() < 0.03
        and apart[g.RIGHT_EYE + g.LEFT_EYE].mean() < 0.04
    )
    before, after, wanted = (mesh.shape_ratios(p) for p in (points, found, donor.points))
    assert (after - before) @ (wanted - before) > 0
    cheeks = np.round(points[[50, 280], :2]).astype(int)
    lab = [cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(float) for image in (rgb, swapped)]
    assert np.abs(lab[1] - lab[0])[cheeks[:, 1], cheeks[:, 0]].max() > 10
    assert np.abs(swapped[:40].astype(int) - rgb[:40]).mean() < 6, (
        "far from the face little may change"
    )


def test_no_shape_no_colour_leaves_points_and_surroundings(face, pool):
    rgb, points = face
    swapper = Swapper(pool[1], shape=0, colour=0)
    assert not swapper.moves(points).any()
    outside = np.ones(rgb.shape[:2], bool)
    x0, y0, x1, y1 = (g.box(points) + [-8, -8, 8, 8]).astype(int)
    outside[y0:y1, x0:x1] = False
    assert np.abs(swapper(rgb, points).astype(int) - rgb)[outside].max() <= 6, (
        "only the rounding of LAB"
    )


def test_moves_turn_with_the_head(face, pool):
    swapper = Swapper(pool[3], neutral=face[1])
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)  # a quarter, in the picture
    moves, turned = swapper.moves(face[1]), swapper.moves(face[1] @ turn.T)
    assert np.allclose(turned, moves @ turn[:2, :2].T, atol=0.05)
    assert np.linalg.norm(moves, axis=1)[g.OVAL].mean() > 0.02 * g.interocular(face[1])
    assert np.abs(moves[mesh.FEATURES]).max() < 1e-6


def test_face_half_outside_the_frame(face, pool):
    rgb, points = face
    cut = np.ascontiguousarray(rgb[:, 256:])
    assert Swapper(pool[1])(cut, points - np.array([256, 0, 0], np.float32)).shape == cut.shape


def test_steady_bridges_short_gaps_only(face):
    points = np.stack([face[1] + np.float32(i) for i in range(30)])
    points[5:8] = np.nan
    points[12:24] = np.nan
    steady = mesh.steady(points, 25)
    known = ~np.isnan(steady).any((1, 2))
    assert known[:12].all() and not known[12:24].any() and known[24:].all()
    assert np.allclose(steady[6], face[1] + 6, atol=1e-3)


def test_stage_writes_as_many_frames_and_says_who(tmp_path, face):
    points = np.stack([face[1]] * 12)
    points[6:] = np.nan
    rgb = face[0]
    clip = clip_of(tmp_path, [rgb] * 12, points, identity="person00")
    stage = LandmarkSwap()
    artifact = stage(clip, tmp_path)
    written = list(video.frames(artifact.path))
    assert len(written) == 12 and video.probe(artifact.path).fps == Fraction(25)
    source = list(video.frames(clip.path("clips")))
    change = [cv2.absdiff(a, b).mean() for a, b in zip(source, written, strict=True)]
    assert min(change[:6]) > 2 * max(change[6:])
    assert artifact.metrics["donor"] == stage.of_clip(clip)["donor"] != "person00"
    assert artifact.metrics["shape_change"] > 0.01 and artifact.metrics["colour_change"] > 1
    first = artifact.path.read_bytes()
    assert LandmarkSwap()(clip, tmp_path).path.read_bytes() == first


@pytest.mark.parametrize("index", [0, 2])
def test_on_sample_clips_somebody_else_moves_like_the_target(tmp_path, index):
    clip, points = sample_clip(tmp_path, index)
    artifact = LandmarkSwap()(clip, tmp_path)
    swapped = list(video.frames(artifact.path))
    found = watched(FaceMesh(), swapped)
    assert stray(points.astype(float), found).mean() < 0.02
    measured = compare(points.astype(float), found, np.arange(len(points)) / 6)
    assert measured["mouth_r"] > 0.9 and (measured["blink_r"] is None or measured["blink_r"] > 0.9)
    describe = DlibDescriptor().describe
    targets = list(video.frames(clip.path("clips")))
    apart = [
        distance(describe(targets[i], points[i]), describe(swapped[i], found[i])) for i in (2, 8)
    ]
    others = distance(describe(targets[2], points[2]), describe(targets[8], points[8]))
    assert min(apart) > 0.4 > others, "farther from its target than the target from itself"
    donor = next(
        each for each in donors.builtin_donors() if each.name == artifact.metrics["donor"]
    ).drawn
    before = colour_of(targets, points)
    wanted = colour_of([donor.rgb], donor.points[None]) - before
    assert (colour_of(swapped, points) - before) @ wanted / np.linalg.norm(wanted) > 2


def test_stage_is_as_strong_as_somebody_else_needs_and_says_no_where_it_is_not_enough(tmp_path):
    clip, _ = sample_clip(tmp_path, 0)
    strong, weak = (
        LandmarkSwap(identity=wanted, least=0.2)(clip, tmp_path).metrics for wanted in (0.5, 0.3)
    )
    assert 0 < weak["build"] < strong["build"] and weak["identity"] < strong["identity"]
    with pytest.raises(Reject, match="swap_moved"):
        LandmarkSwap(identity=0.3, least=0.2, most_drift=1e-4)(clip, tmp_path)
    with pytest.raises(Reject, match="swap_same_person"):
        LandmarkSwap(least=2.0)(clip, tmp_path)


def test_the_same_face_twice_is_the_same_person_and_keeps_its_motion(face):
    rgb, points = face
    trial = Trial(rgb[None], points[None], FaceMesh(), DlibDescriptor())
    swaps = Swapper(Donor("self", "self", rgb, points, ""), neutral=points, shape=0, colour=0)
    swaps.paint = 0
    found = somebody_else(swaps, [Skull(), Skull(lips_full=0.01)], 2, 0.65, 0.02, trial)
    assert found.distance < 0.1 and found.kept.drift < 0.01 and found.kept.lost == 0


def raised(points, up):
    """Frontal points with the brows `up` interocular distances higher."""
    moved = points.astype(np.float64)
    moved[g.RIGHT_BROW + g.LEFT_BROW, 1] -= up * g.interocular(points)
    return moved


def test_brows_that_stay_where_the_targets_rise_are_lost_motion(face):
    ups = np.sin(np.arange(12)) / 10
    target = np.stack([raised(face[1], up) for up in ups])
    still = np.stack([raised(face[1], 0.05)] * 12)
    elsewhere = np.stack([raised(face[1], 0.05 + 0.8 * up) for up in ups])
    assert lost(target, still + np.random.default_rng(0).normal(0, 0.1, still.shape)) > 0.5
    assert lost(target, elsewhere) == 0


def test_telling_frames_are_those_where_the_face_goes_farthest(face):
    points = np.stack([face[1]] * 60).astype(np.float64)
    points[14:20], points[40:46] = raised(face[1], 0.2), raised(face[1], -0.1)
    points[30:33] = np.nan
    chosen = set(telling(points))
    assert chosen & set(range(14, 20)) and chosen & set(range(40, 46))
    assert not chosen & {30, 31, 32} and len(chosen) <= 12


def test_builds_move_features_as_wholes_and_differ_by_seed(face, pool):
    frontal = mesh.frontal(face[1])
    moves = Skull(eye_apart=0.06).moves(frontal)
    right, left = moves[g.RIGHT_EYE], moves[g.LEFT_EYE]
    assert np.allclose(right, [-0.06, 0], atol=1e-3) and np.allclose(left, [0.06, 0], atol=1e-3)
    assert np.abs(moves[g.OUTER_LIPS]).max() < 1e-3
    builds = [Swapper(pool[2], neutral=face[1]).builds(seed, 2) for seed in (1, 1000)]
    assert builds[0] != builds[1] and builds[0][0].eye_apart < 0 < builds[0][1].eye_apart


def test_no_build_makes_a_smile_or_pulls_brows_off_the_eyes(face, pool):
    """Donors smile: the corners of the mouth lie between the lips as they did."""
    frontal = mesh.frontal(face[1])
    curve = abs(frontal[[61, 291], 1].mean() - frontal[[13, 14], 1].mean())
    for donor in pool:
        for skull in Swapper(donor, neutral=face[1]).builds(5, 6):
            down = (skull * 1.5).moves(frontal)[:, 1]
            bent = abs(down[[61, 291]].mean() - down[[13, 14]].mean())
            assert bent < abs(skull.lips_full) * 1.5 * curve + 0.01
            assert down[g.RIGHT_EYE].mean() - down[g.RIGHT_BROW].mean() < 0.05


def test_what_lies_before_a_face_is_not_painted_over(face, pool):
    rgb, points = face
    swaps = Swapper(pool[2], neutral=points)
    hidden, (x, y) = rgb.copy(), points[425, :2].astype(int)
    cv2.circle(hidden, (int(x), int(y)), 40, (40, 80, 190), -1)
    painted = swaps(hidden, points)
    swaps.learn(np.stack([rgb] * 3), np.stack([points] * 3))
    spared = swaps(hidden, points)
    assert swaps.covered(rgb, points) < 0.02 < 0.1 < swaps.covered(hidden, points)
    disc = np.s_[y - 15 : y + 15, x - 15 : x + 15]
    change = [np.abs(each[disc].astype(int) - hidden[disc]).mean() for each in (painted, spared)]
    assert change[1] < 0.7 * change[0]


def test_fitted_donor_keeps_its_proportions_on_the_brow_and_mouth_of_another(pool):
    donor, own = (mesh.frontal(portrait.points) for portrait in pool[1:3])
    fitted = np.column_stack([swapper._fitted(donor[:, :2], own[:, :2]), donor[:, 2]])
    assert np.allclose(fitted[[9, 17], 1], own[[9, 17], 1], atol=1e-4)

    def ratios(p):
        length = p[152, 1] - p[9, 1]
        return [
            (p[454, 0] - p[234, 0]) / length,
            (p[397, 0] - p[172, 0]) / length,
            (p[152, 1] - p[17, 1]) / length,
        ]

    assert np.allclose(ratios(fitted), ratios(donor), rtol=1e-3)


def test_drift_is_nothing_for_the_target_itself_and_large_for_another_face(face, pool):
    tracker = FaceMesh()
    pictures = [face[0], np.roll(face[0], 6, axis=1)]
    own = watched(tracker, pictures)
    assert drift(tracker, pictures, own) == 0
    eyes = g.interocular(own).mean()
    assert np.isclose(
        drift(tracker, [np.roll(rgb, 5, axis=0) for rgb in pictures], own), 5 / eyes, rtol=0.3
    )
    assert drift(tracker, [pool[1].rgb] * 2, own) > 0.03
    assert drift(tracker, [face[0], np.zeros_like(face[0])], own) == float("inf")
    assert drift(tracker, pictures, np.full_like(own, np.nan)) == 0


def test_evenly_spreads_over_the_whole_length():
    assert evenly(3, [2, 3, 5, 8, 9]) == [2, 5, 9]
    assert evenly(8, [4, 6]) == [4, 6]


@pytest.mark.parametrize(("limit", "expected"), [(5, "a"), (2, "b"), (0.5, "c")])
def test_first_below_takes_the_first_or_the_best(limit, expected):
    assert first_below(limit, "abc", {"a": 3.0, "b": 2.0, "c": 1.0}.get)[0] == expected


def test_stage_rejects_without_donor_or_face(tmp_path, face, pool):
    cv2.imwrite(str(tmp_path / "me.png"), pool[0].rgb[..., ::-1])
    clip = clip_of(tmp_path, [face[0]], face[1][None], identity="me.png")
    with pytest.raises(Reject, match="no_donor"):
        LandmarkSwap(donors=str(tmp_path))(clip, tmp_path)
    clip = clip_of(tmp_path, [face[0]], np.full((1, 478, 3), np.nan), identity="someone")
    with pytest.raises(Reject, match="no_face"):
        LandmarkSwap(donors=str(tmp_path))(clip, tmp_path)


def test_choice_is_stable_and_never_the_clips_own_person():
    def donor(name):
        return Donor(
            name, name, np.zeros((1, 1, 3), np.uint8), np.zeros((478, 3), np.float32), name
        )

    some = [donor(f"d{i}") for i in range(9)]
    clips = [Clip(f"clip{i}", {}, identity=f"d{i % 9}") for i in range(200)]
    first = [donors.choose(some, clip, 0, DlibDescriptor()).name for clip in clips]
    assert all(name != clip.identity for name, clip in zip(first, clips, strict=True))
    assert len(set(first)) == 9
    more = [donors.choose([*some, donor("new")], clip, 0, DlibDescriptor()).name for clip in clips]
    changed = [b for a, b in zip(first, more, strict=True) if a != b]
    assert set(changed) == {"new"} and len(changed) < 50
    assert (
        donors.choose(some[:1], replace(clips[0], identity="", group="d0"), 0, DlibDescriptor())
        is None
    )


def test_builtin_donors_are_named_without_being_drawn():
    people.look_of.cache_clear()
    named = donors.builtin_donors()
    assert (
        len({donor.name for donor in named})
        == len({donor.sha256 for donor in named})
        == len(named)
        > 3
    )
    assert people.look_of.cache_info().misses == 0


def test_donor_has_clearly_another_skin_where_there_is_one():
    away = encoded(np.eye(128)[0] * 0.49)

    def lazy(name, skin):
        return donors.Lazy(name, name, name, skin, lambda: np.zeros((1, 1, 3), np.uint8), away)

    alike = [lazy(f"alike{i}", (70.0 + i, 12.0, 19.0)) for i in range(5)]
    other = lazy("other", (45.0, 14.0, 20.0))
    for number in range(20):
        clip = Clip(f"c{number}", {}).with_artifact(
            "faces",
            Artifact(Path("x"), {"skin": [71.0, 11.0, 20.0], "identity": encoded(-decoded(away))}),
        )
        assert donors.choose([*alike, other], clip, 0, DlibDescriptor()) is other
        assert donors.choose(alike, clip, 0, DlibDescriptor()) in alike


def test_a_donor_with_the_clips_own_face_is_never_taken():
    """Whatever the file is called."""
    pool = donors.builtin_donors()
    for own in pool:
        clip = Clip("c", {}).with_artifact(
            "faces", Artifact(Path("x"), {"skin": own.skin, "identity": own.identity})
        )
        chosen = donors.choose(pool, clip, 0, DlibDescriptor())
        if chosen is not None:
            assert distance(decoded(chosen.identity), decoded(own.identity)) >= 0.6
        assert donors.choose([own], clip, 0, DlibDescriptor()) is None


def test_the_descriptors_of_the_builtin_donors_are_theirs():
    for lazy in donors.builtin_donors()[::4]:
        assert distance(decoded(lazy.identity), lazy.drawn.descriptor(DlibDescriptor())) < 0.05


def test_a_donor_who_opted_out_is_never_taken(tmp_path):
    def lazy(name):
        return donors.Lazy(
            name, name, name, (50.0, 10.0, 10.0), lambda: np.zeros((1, 1, 3), np.uint8)
        )

    pool = [lazy(name) for name in ("ann.png", "bob.jpg", "cy.webp")]
    names = tmp_path / "opt-out.txt"
    names.write_text("# asked on Monday\nann\n\ncy.webp  # and Tuesday\n")
    assert [donor.name for donor in donors.without(pool, names)] == ["bob.jpg"]
    names.write_text("ann\nbob\ncy\n")
    with pytest.raises(ValueError, match="names all 3 donors"):
        donors.without(pool, names)
    out = donors.builtin_donors()[0].name
    names.write_text(out)
    stage = LandmarkSwap(opt_out=str(names))
    clips = [Clip(f"c{number}", {}) for number in range(40)]
    before, after = ([s.of_clip(clip)["donor"] for clip in clips] for s in (LandmarkSwap(), stage))
    assert out in before and out not in after
    assert all(b == a for b, a in zip(before, after, strict=True) if b != out), (
        "nobody else's choice changes"
    )
    assert stage.parameters() == LandmarkSwap().parameters()
