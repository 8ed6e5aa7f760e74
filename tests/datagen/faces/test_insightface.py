"""faces=insightface: the detector says who, the recogniser says who again, FaceMesh says where each
point is.
"""

from __future__ import annotations

import numpy as np
import pytest

from datagen.core.errors import Reject
from datagen.engine.clip import Artifact, Clip
from datagen.faces.insightface import InsightFaces, Stretch, TrackedPerson
from datagen.faces.mesh import MeshFaces
from datagen.media import video
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.vision.insight import five_points
from tests import faults
from tests.fakes import tiny_insight

SIZE = 512


@pytest.fixture(autouse=True)
def tiny_files(monkeypatch):
    tiny_insight.unchecked(monkeypatch)


@pytest.fixture(scope="module")
def couple(tmp_path_factory):
    """Two talking heads beside each other, 8 frames: the right one moves its mouth."""
    path = tmp_path_factory.mktemp("couple") / "clip.mp4"
    still, talking = (faults.head(who).frames(faults.poses(8, **curves)) for who, curves in PEOPLE)
    with video.Writer(path, 25) as writer:
        for left, right in zip(still, talking, strict=True):
            writer.write(np.hstack([left[:, 128:384], right[:, 128:384]]))
    return Clip("couple", {}, artifacts={"clips": Artifact(path)})


PEOPLE = ((2, {}), (5, {"mouth": 0.1 * np.arange(8)}))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One talking head, 30 frames; those from the 11th to the 20th are black."""
    path = tmp_path_factory.mktemp("alone") / "clip.mp4"
    motion = faults.poses(30, shift_x=np.linspace(-10, 10, 30))
    faults.film(path, 4, motion, lambda rgb, index: rgb * np.uint8(not 10 <= index < 20))
    return Clip("alone", {}, artifacts={"clips": Artifact(path)})


def seeing(folder, box, warmth=-300.0):
    """A stage whose detector finds a face at `box` xyxy px in pictures warmer than `warmth`; black
    ones are not.
    """
    corners = np.array(box, float) / SIZE
    middle = (corners[:2] + corners[2:]) / 2
    five = middle + np.array([[-0.06, -0.06], [0.06, -0.06], [0, 0], [-0.05, 0.07], [0.05, 0.07]])
    return InsightFaces(
        model=str(tiny_insight.buffalo(folder, tuple(corners.tolist()), five, warmth))
    )


@pytest.mark.parametrize(
    ("side", "box"), [("left", (60, 140, 200, 360)), ("right", (315, 140, 455, 360))]
)
def test_the_points_are_those_of_the_face_that_the_detector_names(side, box, couple, tmp_path):
    made = seeing(tmp_path / "models", box)(couple, tmp_path)
    found = Faces.load(made.path)
    assert found.found.all() and found.landmarks.shape == (8, 478, 3)
    middle = found.landmarks[..., 0].mean(1)
    assert (middle < 256).all() if side == "left" else (middle > 256).all()
    opens = geometry.mouth_openness(found.landmarks)
    assert (np.ptp(opens) > 0.1) == (side == "right")
    assert np.allclose(found.boxes, geometry.box(found.landmarks), atol=0.05), (
        "boxes are of the points, as ever"
    )
    assert np.allclose(found.confidence, 0.9)


def test_on_one_face_the_points_are_those_of_the_default(alone, tmp_path):
    (tmp_path / "default").mkdir()
    default = MeshFaces()(alone, tmp_path / "default")
    own = Faces.load(default.path)
    made = seeing(tmp_path / "models", own.boxes[own.found].mean(0), 5.0)(alone, tmp_path)
    found = Faces.load(made.path)
    assert (found.found == own.found).all() and not found.found[10:20].any()
    apart = np.linalg.norm((found.landmarks - own.landmarks)[own.found][..., :2], axis=-1).mean()
    assert apart < 0.02 * geometry.interocular(own.landmarks[0])
    assert set(default.metrics) < set(made.metrics), "every rule that can be asked of the default"
    assert made.metrics["likeness"] > 0.99 and made.metrics["other_people"] == 0
    with np.load(made.path, allow_pickle=False) as file:
        assert file["identity"].shape == (512,) and np.isclose(
            np.linalg.norm(file["identity"]), 1, atol=1e-5
        )


def test_pictures_in_bgr_would_show_no_face(alone, tmp_path):
    bgr = tmp_path / "bgr.mp4"
    with video.Writer(bgr, 25) as writer:
        for rgb in video.frames(alone.path("clips")):
            writer.write(rgb[..., ::-1])
    stage = seeing(tmp_path / "models", (160, 140, 345, 350), 5.0)
    assert stage(alone, tmp_path).metrics["coverage"] > 0.6
    with pytest.raises(Reject, match="no_face"):
        stage(alone.with_artifact("clips", Artifact(bgr)), tmp_path)


def test_the_same_person_is_known_again_and_nobody_else():
    def stretch(first, count, towards, x):
        boxes = np.tile(np.array([x, 0, x + 50, 60], np.float32), (count, 1))
        look = np.eye(512, dtype=np.float32)[towards] + 0.1 * np.eye(512, dtype=np.float32)[9]
        return Stretch(first, boxes, np.tile(look / np.linalg.norm(look), (3, 1)))

    main, again = stretch(0, 10, 0, 100), stretch(20, 5, 0, 120)
    beside, later = stretch(4, 8, 0, 300), stretch(14, 4, 1, 200)
    person = TrackedPerson.of([main, again, beside, later], 0.35, 30)
    known = np.isfinite(person.boxes[:, 0])
    assert np.flatnonzero(known).tolist() == [*range(10), *range(20, 25)]
    assert person.boxes[22, 0] == 120 and person.likeness > 0.99


def test_the_key_knows_models_and_thresholds_but_no_place(couple, tmp_path):
    first, second = (seeing(tmp_path / name, (60, 140, 200, 360)) for name in ("a", "b"))
    assert first.weights() == second.weights() and first.parameters() == second.parameters()
    assert "model" not in first.parameters()
    assert set(first.weights()) == {"buffalo_l", "dlib_resnet", "mediapipe"}
    five = five_points(np.zeros((478, 3)))
    tiny_insight.detector(tmp_path / "b" / "det_10g.onnx", (0, 0, 1, 1), five, 0.0)
    assert first.weights() != second.weights()


def test_the_command_tells_what_is_missing_and_makes_what_others_read(
    raw, store, tmp_path, monkeypatch
):
    common = (
        "--input",
        raw,
        "--store",
        store,
        "--runner",
        "local",
        "--output",
        tmp_path / "out",
        "faces=insightface",
    )
    monkeypatch.chdir(tmp_path)
    refused = faults.call("datagen.faces", *common)
    assert (
        refused.code == 2
        and "put det_10g.onnx, w600k_r50.onnx of https://github.com/deepinsight" in refused.sentence
    )
    stage = seeing(tmp_path / "models", (150, 140, 360, 360))
    ended = faults.call("datagen.faces", *common, f"faces.model={stage.model}")
    assert (
        ended.code == 0 and "licence: faces buffalo_l: non-commercial research only" in ended.out
    ), ended.err
    assert "planned 3 = kept 2 + filtered 0 + invalid 1 + failed 0" in ended.out
