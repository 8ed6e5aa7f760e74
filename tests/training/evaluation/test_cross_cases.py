"""Cross cases know their truth, and the judge sees what an output does with it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from datagen.core.errors import UserError
from datagen.shards import writer as pack
from datagen.shards.index import read_index
from datagen.shards.reader import members
from tests.faults import SAMPLE, call
from tests.training import numbered
from training.evaluation import cross_cases as cross
from training.evaluation.cross_cases import CaseFrames, CrossCase, cross_cases, difference
from training.evaluation.evaluator import EvaluationSettings, Evaluator, evaluate_cases
from training.metrics.pixels import area

FRAMES = 24


@pytest.fixture(scope="module")
def shards(tmp_path_factory, store) -> Path:
    """Of two people, one in each split."""
    return divided(tmp_path_factory.mktemp("divided"), store)


@pytest.fixture(scope="module")
def case(shards) -> CrossCase:
    return cross_cases(shards, count=1, frames=FRAMES)[0]


@pytest.fixture(scope="module")
def evaluator(case, store) -> Evaluator:
    return Evaluator([case], EvaluationSettings(folder=store.parent / "readout"))


def divided(output: Path, store: Path) -> Path:
    """The small sample with its first person in val."""
    splits = ("select.val_share=0.5", "select.salt=g")
    made = call(
        "datagen.shards",
        *SAMPLE,
        *splits,
        "--runner",
        "local",
        "--store",
        store,
        "--output",
        output,
    )
    assert made.code == 0, made.err
    return output


def held_out(shards: Path) -> set[int]:
    return {source["person"] for source in cross._held_out(shards)[0]}


def test_people_are_held_out_and_differ(case, shards):
    assert case.numbers[0] in held_out(shards)
    assert case.numbers[1] not in {
        json.loads(data)["source"]["person"]
        for entry in read_index(shards)["shards"]
        if entry["split"] == "train"
        for _, field, data in members(shards / entry["file"])
        if field == "json"
    }
    assert difference(*case.numbers) > cross.CLEARLY


def test_shapes_and_framing(case):
    assert case.reference.shape == (512, 512, 3)
    assert case.driving.shape == case.truth.shape == (FRAMES, 512, 512, 3)
    assert all(len(curve) == FRAMES for curve in case.curves.values())
    middle = (case.boxes[:, :2] + case.boxes[:, 2:]).mean(0) / 2
    assert np.abs(middle - 256).max() < 40
    assert 0.2 < case.background.mean() < 0.8


def test_faces_are_as_large_as_in_clips(case, shards):
    """Of the picture's side; a model has seen no other size."""
    heights = [
        float(np.nanmedian(np.diff(np.load(io.BytesIO(data))["boxes"][:, 1::2]))) / 512
        for entry in read_index(shards)["shards"]
        for _, field, data in members(shards / entry["file"])
        if field == "faces.npz"
    ]
    found = np.median(np.diff(case.boxes[:, 1::2])) / 512
    assert 0.8 * min(heights) < found < 1.2 * max(heights)


def test_cases_are_framed_as_the_shards_say(tmp_path):
    source = {"name": "sample", "person": 3, "motion": "talk", "seconds": 1.0, "fps": 25, "seed": 5}
    parts = {}
    for margin in (1.2, 1.5):  # under either the square lies inside the picture
        stages = {"clips": {"parameters": {"size": 512, "fps": 25, "margin": margin}}}
        clip = numbered.sample(tmp_path, "val-0", 8, "val", source=source, stages=stages)
        folder = tmp_path / str(margin)
        folder.mkdir()
        pack.pack([clip], folder, {"stages": stages})
        parts[margin] = cross_cases(folder, count=1, frames=4)[0].part
    assert parts[1.5].side / parts[1.2].side == pytest.approx(1.5 / 1.2, rel=0.01)


def test_the_same_case_each_time(case, shards):
    again = cross_cases(shards, count=1, frames=2)[0]
    assert (again.reference_points.shape, again.key) == (case.reference_points.shape, case.key)
    other = cross_cases(shards, count=1, frames=2, seed=1)[0]
    assert (other.reference != again.reference).any()


def test_pairs_use_everyone_and_both_ways(monkeypatch):
    apart = {frozenset((a, b)): 4 + a + b for a in range(4) for b in range(a)}
    monkeypatch.setattr(cross, "difference", lambda a, b: apart[frozenset((a, b))])
    pairs = cross._pairs([0, 1, 2, 3], [0, 1, 2, 3], 8)
    assert len(set(pairs)) == 8
    assert sorted(a for a, _ in pairs) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {(2, 3), (3, 2)} <= set(pairs[:4])


def test_no_case_comes_twice(shards, monkeypatch):
    """Where one person and one motion are held out, and where there are two motions for one
    pair.
    """
    drawn = []
    monkeypatch.setattr(
        cross, "_case", lambda pair, source, *_: drawn.append((*pair, source["seed"])) or len(drawn)
    )
    assert cross_cases(shards, count=5) == [1]
    (source, *_), margin = cross._held_out(shards)
    monkeypatch.setattr(
        cross, "_held_out", lambda _: ([source, source | {"seed": source["seed"] + 1}], margin)
    )
    assert len(cross_cases(shards, count=5)) == 2 and len({*drawn}) == 2


def test_driving_frames_are_the_face_alone_grey_on_black(case):
    read = CaseFrames(case, 64, is_grey=True).read(range(2, 5))
    assert read.shape == (3, 3, 64, 64)
    assert (read[0] == read[1]).all() and (read[0] == read[2]).all()
    assert (read[..., :2] == 0).all() and (read[..., -2:] == 0).all()
    assert float(read[:, :, 20:40, 24:40].mean()) > 0.05
    coloured = CaseFrames(case, 64, is_grey=False).read(range(2, 5))
    assert (coloured[0] - coloured[2]).abs().max() > 0.02


def test_the_truth_is_perfect(evaluator):
    row = evaluator(lambda case: area(case.truth, 64))[0]
    assert (
        row["psnr"] == 100 and row["ssim"] == 1 and row["leakage"] == 0 and row["face_found"] == 1
    )
    assert row["landmarks"] == 0 and row["read_mouth_r"] == row["read_of_truth_mouth_r"]


def test_the_readout_reads_true_frames(evaluator):
    """Frames of a motion that it was not fitted on."""
    row = evaluator(lambda case: area(case.truth, 64))[0]
    for name in ("mouth", "head_yaw", "head_roll"):
        value = row[f"read_of_truth_{name}_r"]
        assert value is None or value > 0.94, name
    assert row["read_of_truth_mouth_r"] is not None


def test_the_driver_leaks_and_moves(evaluator):
    row = evaluator(lambda case: area(case.driving, 64))[0]
    assert row["leakage"] == pytest.approx(1) and row["leakage_shape"] == pytest.approx(1)
    assert row["psnr_gain"] < 0 and row["shape_and_colour"] < 0.7
    assert row["leakage_identity"] in (None, pytest.approx(1, abs=0.15))
    assert row["read_mouth_r"] > 0.85


def test_a_copied_reference_neither_leaks_nor_moves(evaluator):
    row = evaluator(lambda case: np.repeat(area(case.reference[None], 64), FRAMES, axis=0))[0]
    assert row["psnr_gain"] == 0 and row["flicker"] == 0 and row["read_mouth_r"] == 0
    assert abs(row["leakage"]) < 0.2


def test_the_motion_half_a_syllable_late_is_not_the_motion(evaluator):
    row = evaluator(lambda case: np.roll(area(case.truth, 64), 4, axis=0))[0]
    assert row["read_mouth_r"] < 0.5 < row["read_of_truth_mouth_r"]


def test_an_output_without_a_face_has_no_face_scores(case):
    settings = EvaluationSettings(readout=False)
    row = evaluate_cases(lambda case: np.zeros((FRAMES, 64, 64, 3), np.uint8), [case], settings)[0]
    assert row["face_found"] == 0 and "landmarks" not in row and "shape_and_colour" not in row


def test_another_number_of_frames_is_refused(evaluator):
    with pytest.raises(ValueError, match="is expected"):
        evaluator(lambda case: area(case.truth, 64)[:-1])


def test_other_sources_have_no_truth(shards, monkeypatch):
    monkeypatch.setattr(cross, "_documents", lambda *_: [b'{"source": {"name": "folder"}}'])
    with pytest.raises(UserError, match="holds no clip of the sample source"):
        cross_cases(shards)
