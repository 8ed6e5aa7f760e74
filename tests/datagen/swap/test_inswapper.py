"""insightface's swap, by its own loading code on tiny ONNX files: the right face, the right
colours, every frame.
"""

from __future__ import annotations

import pickle
import shutil
import sys
from dataclasses import replace

import cv2
import numpy as np
import onnxruntime
import pytest

from datagen.core.errors import Reject, UserError
from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.swap.inswapper import InSwapper
from datagen.swap.twin import LEAST_CHANGE
from datagen.vision import faces
from datagen.vision.insight import Insight, Seen, five_points, nearest
from datagen.vision.landmarks import FaceMesh
from datagen.weights.place import place, refuse_missing
from tests import faults
from tests.fakes import tiny_insight

FRAMES = 6
# of 255: the talking head's pictures are redder than blue by this, so BGR pictures show no face
WARMTH = 5.0


@pytest.fixture(autouse=True)
def tiny_files(monkeypatch):
    tiny_insight.unchecked(monkeypatch)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A few frames of a talking head that moves."""
    folder = tmp_path_factory.mktemp("clip")
    step = np.arange(FRAMES)
    faults.film(folder / "clip.mp4", 4, faults.poses(FRAMES, shift_x=3.0 * step, mouth=0.1 * step))
    found = faces.track(FaceMesh(), video.frames(folder / "clip.mp4"))
    assert found.found.all()
    found.save(folder / "faces.npz")
    return Clip(
        "a-clip",
        {},
        artifacts={"clips": Artifact(folder / "clip.mp4"), "faces": Artifact(folder / "faces.npz")},
    )


@pytest.fixture(scope="module")
def points(clip):
    return faces.Faces.load(clip.path("faces")).landmarks


@pytest.fixture(scope="module")
def models(tmp_path_factory, points):
    """Tiny stand-ins; the detector finds the talking head where it is."""
    folder = tmp_path_factory.mktemp("models")
    box = faces.Faces.of(points[2:3]).boxes[0] / 512
    tiny_insight.buffalo(
        folder / "buffalo_l", tuple(box.tolist()), five_points(points[2]) / 512, WARMTH
    )
    tiny_insight.swapper(folder / "inswapper_128.onnx")
    return folder


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """One donor, red all over."""
    folder = tmp_path_factory.mktemp("portraits")
    rgb = portrait(person(7))
    tinted = (
        (rgb * np.array([1.0, 0.45, 0.35]) + np.array([60, 0, 0])).clip(0, 255).astype(np.uint8)
    )
    cv2.imwrite(str(folder / "red.png"), tinted[..., ::-1])
    return folder


def stage_of(models, portraits, **options):
    return InSwapper(
        **{
            "model": str(models / "inswapper_128.onnx"),
            "faces": str(models / "buffalo_l"),
            "donors": str(portraits),
            **options,
        }
    )


def cheeks(frames, points):
    """Mean colour [T, 3] of both cheeks."""
    where = np.round(points[:, [50, 280], :2]).astype(int)
    return np.stack(
        [rgb[at[:, 1], at[:, 0]].mean(0) for rgb, at in zip(frames, where, strict=True)]
    )


def test_every_frame_gets_the_donors_colour_and_red_stays_red(
    clip, points, models, portraits, tmp_path
):
    stage = stage_of(models, portraits)
    made = stage(clip, tmp_path)
    assert made.metrics["donor"] == "red.png"
    assert made.metrics["kept"] == 0 and made.metrics["undetected"] == 0, (
        "BGR pictures are too cold for the detector"
    )
    before, after = (np.stack(list(video.frames(path))) for path in (clip.path("clips"), made.path))
    assert after.shape == before.shape
    mean = stage._identities[stage._pool[0].sha256].normed_embedding[:3]
    colour = (
        mean / np.linalg.norm(stage._identities[stage._pool[0].sha256].normed_embedding) + 1
    ) / 2
    assert colour[0] > colour[2] + 0.1, "the donor is red to the recogniser too"
    expected = 0.5 * cheeks(before, points) + 255 * (0.5 * colour + [tiny_insight.RED, 0, 0])
    assert np.abs(cheeks(after, points) - expected).max() < 12
    assert np.abs(after[:, :40].astype(int) - before[:, :40]).mean() < 3, (
        "far from the face nothing changes"
    )


def test_a_face_that_the_detector_misses_is_swapped_by_our_own_points(
    clip, points, models, portraits, tmp_path
):
    blind = tiny_insight.buffalo(tmp_path / "blind", (0.0, 0.0, 0.1, 0.1), np.zeros((5, 2)), WARMTH)
    made = stage_of(models, portraits, faces=str(blind))(clip, tmp_path)
    assert made.metrics["undetected"] == FRAMES and made.metrics["kept"] == 0
    frames = [list(video.frames(path)) for path in (clip.path("clips"), made.path)]
    change = np.abs(cheeks(frames[1], points) - cheeks(frames[0], points)).max(-1)
    assert change.min() > 20, "no frame is left as it was"


def test_frames_whose_face_nobody_knows_stay_and_are_counted(clip, models, portraits, tmp_path):
    some = faces.Faces.load(clip.path("faces"))
    hidden = some.landmarks.copy()
    hidden[1:3] = np.nan
    faces.Faces.of(None if np.isnan(p).any() else p for p in hidden).save(tmp_path / "faces.npz")
    blind = tiny_insight.buffalo(tmp_path / "blind", (0.0, 0.0, 0.1, 0.1), np.zeros((5, 2)), WARMTH)
    clip = clip.with_artifact("faces", Artifact(tmp_path / "faces.npz"))
    seen = stage_of(models, portraits)(clip, tmp_path)
    assert seen.metrics["kept"] == 0, "the detector knows where the points do not"
    made = stage_of(models, portraits, faces=str(blind), most_kept=0.5)(clip, tmp_path)
    assert made.metrics["kept"] == round(2 / FRAMES, 4)
    before, after = (
        np.stack(list(video.frames(path))).astype(int) for path in (clip.path("clips"), made.path)
    )
    change = np.abs(after - before).mean((1, 2, 3))
    assert change[1:3].max() < 2 and change[[0, 3, 4, 5]].min() > 8
    with pytest.raises(
        Reject, match=r"no_face: the swap finds no face in 2 of 6 frames, at most 10%"
    ):
        stage_of(models, portraits, faces=str(blind))(clip, tmp_path)


def test_a_swap_that_gives_its_input_back_is_rejected(clip, models, portraits, tmp_path):
    idle = tiny_insight.swapper(tmp_path / "inswapper_128.onnx", share=0.0, red=0.0)
    with pytest.raises(Reject, match="unchanged") as reject:
        stage_of(models, portraits, model=str(idle))(clip, tmp_path)
    assert float(reject.value.detail.split(" by ")[1].split()[0]) < LEAST_CHANGE


def test_the_same_bytes_from_any_worker_in_any_order(clip, models, tmp_path):
    other = replace(clip, key="another-clip")
    first = stage_of(models, "sample", donors="sample")
    second = pickle.loads(pickle.dumps(first))
    made = {}
    for stage, order in ((first, (clip, other)), (second, (other, clip))):
        made[stage is first] = {each.key: stage(each, tmp_path).path.read_bytes() for each in order}
    assert made[True] == made[False]
    assert made[True][clip.key] != made[True][other.key], "another donor"
    assert "gpus" not in first.parameters() and first.weights() == second.weights()


def test_the_target_is_the_clips_own_face_among_several(points):
    own = faces.Faces.of(points[:1]).boxes[0]
    five = five_points(points[0])
    others = [Seen(own + 150, five + 150, 0.99), Seen(own + 8, five, 0.6)]
    assert nearest(others, own) is others[1]
    assert nearest(others[:1], own) is None and nearest([], own) is None


def test_five_points_are_in_arcfaces_order(points):
    right_eye, left_eye, nose, right_mouth, left_mouth = five_points(points[0])
    assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < nose[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_nothing_is_printed_by_insightface(models, portraits, capfd):
    stage = stage_of(models, portraits)
    assert stage._swapper and stage._insight
    assert "inswapper-shape" not in capfd.readouterr().out


def test_weights_name_the_files_by_content(models, portraits, tmp_path):
    first = stage_of(models, portraits).weights()
    assert set(first) == {"inswapper", "buffalo_l", "dlib_resnet"}
    shutil.copytree(models / "buffalo_l", tmp_path / "copy")
    (tmp_path / "copy" / "1k3d68.onnx").write_bytes(b"not used")
    assert stage_of(models, portraits, faces=str(tmp_path / "copy")).weights() == first
    tiny_insight.detector(tmp_path / "copy" / "det_10g.onnx", (0, 0, 1, 1), np.zeros((5, 2)), 0.0)
    assert stage_of(models, portraits, faces=str(tmp_path / "copy")).weights() != first


def _mistakes(models, tmp_path):
    """Option -> what is said."""
    empty, antelope, mixed, broken = (
        tmp_path / name for name in ("empty", "antelope", "mixed", "broken")
    )
    empty.mkdir()
    antelope.mkdir()
    shutil.copy(models / "buffalo_l" / "w600k_r50.onnx", antelope / "glintr100.onnx")
    shutil.copy(models / "buffalo_l" / "det_10g.onnx", antelope / "det_10g.onnx")
    shutil.copytree(models / "buffalo_l", mixed)
    shutil.copy(models / "buffalo_l" / "w600k_r50.onnx", mixed / "glintr100.onnx")
    shutil.copytree(models / "buffalo_l", broken)
    (broken / "w600k_r50.onnx").write_bytes(b"\x08\x07 half a file")
    (tmp_path / "text.onnx").write_text("no model")
    swapper = f"swap.model={models / 'inswapper_128.onnx'}"
    return [
        (
            (),
            "needs swap.model=PATH of inswapper_128.onnx (about 0.55 GB, licence: "
            "non-commercial research only",
        ),
        (
            (f"swap.model={tmp_path / 'nowhere.onnx'}",),
            "nowhere.onnx does not exist, insightface's face swapper",
        ),
        ((f"swap.model={tmp_path / 'text.onnx'}",), "text.onnx ("),
        (
            (f"swap.model={models / 'buffalo_l' / 'w600k_r50.onnx'}",),
            "is ArcFaceONNX with a last table of",
        ),
        ((swapper,), "buffalo_l (insightface's face detector and recogniser"),
        (
            (swapper, f"swap.faces={empty}"),
            "holds no .onnx file and not det_10g.onnx and w600k_r50.onnx",
        ),
        (
            (swapper, f"swap.faces={antelope}"),
            "holds det_10g.onnx, glintr100.onnx and not w600k_r50.onnx: only buffalo_l",
        ),
        (
            (swapper, f"swap.faces={mixed}"),
            "insightface takes glintr100.onnx for recognition, w600k_r50.onnx is expected",
        ),
        ((swapper, f"swap.faces={broken}"), "insightface cannot load"),
        (
            (swapper, f"swap.faces={models / 'buffalo_l'}", "swap.gpus=1"),
            "`pip install onnxruntime-gpu`; or gpus=0",
        ),
        ((swapper, "swap.most_kept=2"), "swap.most_kept is 2: a number from 0 to 1 is expected"),
        ((swapper, f"swap.opt_out={tmp_path / 'nobody.txt'}"), "nobody.txt cannot be read"),
    ]


def test_what_is_missing_is_said_in_one_sentence_before_any_work(
    models, raw, store, tmp_path, monkeypatch
):
    assert "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), (
        "this table is for a machine without"
    )
    monkeypatch.chdir(tmp_path)
    common = (
        "--input",
        raw,
        "--store",
        store,
        "--runner",
        "local",
        "--output",
        tmp_path / "out",
        "swap=inswapper",
    )
    for words, sentence in _mistakes(models, tmp_path):
        ended = faults.call("datagen.swap", *common, *words)
        assert ended.code == 2 and sentence in ended.sentence, (words, ended.sentence)
    assert not (tmp_path / "out").exists()


def test_a_file_with_another_checksum_is_refused(models, portraits, tmp_path, monkeypatch):
    monkeypatch.undo()
    shutil.copytree(models / "buffalo_l", tmp_path / "data" / "weights" / "buffalo_l")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"det_10g.onnx is not the file that it should be \(sha256 .* 5838f7fe0536"
    ):
        refuse_missing("buffalo_l", place("buffalo_l"), "swap.faces")
    with pytest.raises(
        UserError, match=r"det_10g.onnx is not the file .*: name another, or get it from"
    ):
        refuse_missing("buffalo_l", models / "buffalo_l", "swap.faces")
    with pytest.raises(UserError, match=r"inswapper_128.onnx is not the file .* e4a3f08c753c"):
        stage_of(models, portraits).check()


def test_a_missing_package_is_named(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(
        UserError, match="package insightface.app cannot be imported .*pip install insightface"
    ):
        Insight(models / "buffalo_l")


def test_the_command_swaps_and_says_the_licence(raw, store, models, tmp_path):
    words = [f"swap.model={models / 'inswapper_128.onnx'}", f"swap.faces={models / 'buffalo_l'}"]
    common = (
        "--input",
        raw,
        "--store",
        store,
        "--runner",
        "local",
        "--output",
        tmp_path / "out",
        "swap=inswapper",
    )
    ended = faults.call("datagen.swap", *common, *words)
    assert ended.code == 0, ended.err
    assert ended.out.count("non-commercial research only") == 2, (
        "once for each of inswapper and buffalo_l"
    )
    assert "planned 3 = kept 2 + filtered 0 + invalid 1 + failed 0" in ended.out
    assert (tmp_path / "out" / "one-000.mp4").exists()
