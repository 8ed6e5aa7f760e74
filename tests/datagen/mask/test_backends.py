"""Masks by SegFormer and DensePose, through real loading code on tiny weights: colours, batches,
refusals.
"""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datagen.core.errors import UserError
from datagen.mask.densepose import DensePoseMask, regions_of
from datagen.mask.matting import MattingMask
from datagen.mask.stage import MaskStage
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import split
from datagen.weights.registry import licence_of
from tests.fakes.masks import face_points, filmed, mistake, overlap, painted, same_bytes


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return face_points()


# --- a segmentation model of transformers


@pytest.fixture(scope="module")
def segformer(tmp_path_factory) -> Path:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import (
        SegformerImageProcessorPil,
    )

    folder = tmp_path_factory.mktemp("segformer")
    torch.manual_seed(1)
    names = {0: "wall", 1: "person", 2: "tree"}
    sizes: dict[str, Any] = {
        "depths": [1] * 4,
        "hidden_sizes": [8, 8, 16, 16],
        "num_attention_heads": [1, 1, 2, 2],
    }
    config = SegformerConfig(
        **sizes, decoder_hidden_size=16, id2label=names, label2id={v: k for k, v in names.items()}
    )
    network = SegformerForSemanticSegmentation(config)
    with torch.no_grad():
        network.decode_head.classifier.weight.mul_(40)
    network.save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 512, "width": 512}).save_pretrained(folder)
    return folder


def test_a_segmentation_model_is_asked_as_transformers_would(segformer):
    """The same labels as its own loading and image processor give; other ones where the colours are
    exchanged.
    """
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    stage = MattingMask(model=str(segformer))
    stage.check()
    rgb = portrait(person(3))
    processor = AutoImageProcessor.from_pretrained(segformer, local_files_only=True)
    theirs = AutoModelForSemanticSegmentation.from_pretrained(
        segformer, local_files_only=True
    ).eval()

    def expected(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            told = theirs(**processor(picture, return_tensors="pt"))
        return processor.post_process_semantic_segmentation(told, target_sizes=[(512, 512)])[
            0
        ].numpy()

    (found,) = stage.parsed(rgb[None])
    assert len(np.unique(found)) > 1
    assert (found == expected(rgb)).mean() > 0.999
    assert (found == expected(np.ascontiguousarray(rgb[..., ::-1]))).mean() < 0.95


def test_neither_batch_nor_history_changes_what_a_segmentation_says(segformer, points, tmp_path):
    clip = filmed(
        tmp_path,
        [portrait(person(0)), painted(points), portrait(person(0))],
        [points, points, None],
    )
    stages: list[MaskStage] = [MattingMask(model=str(segformer), batch=n) for n in (1, 2)]
    assert same_bytes(stages, clip, tmp_path)
    made = stages[0](clip, tmp_path)
    people, face = split(np.stack([frame[..., 0] for frame in video.frames(made.path)]))
    assert overlap(face[0], face_polygon((512, 512), points)) > 0.98 and not face[2].any()
    assert made.metrics["person_share"] == pytest.approx(people.mean(), abs=0.02)
    assert stages[0].parameters() == {"labels": ["person"]}
    stage, frames = (
        MattingMask(model=str(segformer)),
        np.stack([portrait(person(4)), painted(points)]),
    )
    assert np.array_equal(
        stage.parsed(frames), np.concatenate([stage.parsed(frame[None]) for frame in frames])
    )


def test_the_registrys_licence_is_that_of_its_own_model_alone(segformer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "weights").mkdir(parents=True)
    (tmp_path / "data" / "weights" / "segformer").symlink_to(segformer)
    (tmp_path / "segformer").symlink_to(segformer)
    (named,) = MattingMask(model="segformer").weights()
    assert [*MattingMask().weights()] == ["segformer"] and licence_of("segformer").startswith(
        "NVIDIA"
    )
    assert named == "matting segformer" and licence_of(named) == "unknown"


def test_every_person_label_counts(segformer, points):
    rgb = portrait(person(3))[None]
    parts = [
        MattingMask(model=str(segformer), labels=[name]).regions(rgb, points[None])[0]
        for name in ("wall", "tree")
    ]
    both, _ = MattingMask(model=str(segformer), labels=["wall", "tree"]).regions(rgb, points[None])
    assert np.array_equal(both, parts[0] | parts[1])


# --- DensePose


def test_parts_become_person_and_face():
    """A hand before the face is person; the back of a head is no face; what reaches over the edge
    is cut.
    """
    polygon = np.zeros((20, 20), bool)
    polygon[2:8, 2:8] = True
    body, arm = np.full((10, 6), 2), np.full((3, 3), 4)
    heads = np.concatenate([np.full((6, 5), 23), np.full((6, 5), 24)], axis=1)
    person_, face = regions_of([(body, (2, 14)), (heads, (-1, 1)), (arm, (4, 4))], polygon)
    drawn = np.zeros((20, 20), bool)
    drawn[14:20, 2:8] = drawn[1:7, 0:9] = True
    assert np.array_equal(person_, drawn)
    expected = polygon & drawn
    expected[4:7, 4:7] = False
    expected[7:] = False
    assert np.array_equal(face, expected)
    empty, none = regions_of([], polygon)
    assert not empty.any() and not none.any()


def test_densepose_is_given_bgr(monkeypatch):
    """With a stand-in for detectron2, of which only the interface is known here."""
    given = []

    class Found(list):
        def to(self, where: str) -> Found:
            return self

    def predictor(bgr: np.ndarray) -> dict[str, Any]:
        given.append(bgr)
        return {"instances": Found()}

    extractor = types.ModuleType("densepose.vis.extractor")
    result = types.SimpleNamespace(labels=torch.full((4, 4), 23))
    extractor.DensePoseResultExtractor = lambda: (
        lambda told: ([result], torch.tensor([[2.0, 3, 4, 4]]))
    )  # type: ignore[attr-defined]
    for name in ("densepose", "densepose.vis"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "densepose.vis.extractor", extractor)
    stage = DensePoseMask(config="a.yaml", model="a.pkl")
    stage.__dict__["_predictor"] = predictor
    rgb = np.zeros((1, 16, 16, 3), np.uint8)
    rgb[..., 0] = 200
    people, face = stage.regions(rgb, np.full((1, 478, 3), np.nan))
    assert given[0][0, 0].tolist() == [0, 0, 200]
    assert people[0, 3:7, 2:6].all() and people.sum() == 16 and not face.any()


def test_a_pickle_of_arrays_is_read_and_one_that_would_run_code_is_not(tmp_path):
    from datagen.weights.tensors import read

    told = {
        "model": {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "__author__": "someone",
    }
    for protocol in (2, 4):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(told, protocol))
        assert torch.equal(read(tmp_path / "a.pkl")["a.weight"], torch.arange(6.0).reshape(2, 3))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"model": told["model"], "code": eval}))
    with pytest.raises(UserError, match="could run any code"):
        read(tmp_path / "b.pkl")
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(told)[:-40])
    with pytest.raises(UserError, match="damaged or cut short"):
        read(tmp_path / "c.pkl")


# --- refusals


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["mask=farl"],
            "put face_parsing.farl.celebm.main_ema_181500_jit.pt of "
            "https://github.com/FacePerceiver/facer/",
        ),
        (["mask=farl", "mask.labels=lapa"], "or run `python -m datagen.weights fetch farl_lapa`"),
        (["mask=farl", "mask.labels=any"], "mask.labels is 'any': lapa or celebm is expected"),
        (
            ["mask=matting"],
            "licence: NVIDIA Source Code License for SegFormer (non-commercial)) is not in",
        ),
        (["mask=matting", "mask.model=/nowhere"], "mask.model: /nowhere does not exist, SegFormer"),
        (
            ["mask=densepose"],
            "needs detectron2 and densepose, not installed here: `pip install "
            "--no-build-isolation git+",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in mistake(tmp_path, *words)


def test_a_folder_that_is_no_segmentation_model_is_refused(tmp_path, segformer):
    import json
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(segformer, broken)
    (broken / "model.safetensors").write_bytes((segformer / "model.safetensors").read_bytes()[:-9])
    assert "is damaged or cut short" in mistake(tmp_path, "mask=matting", f"mask.model={broken}")
    config = json.loads((segformer / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "its.Own"}}))
    assert "brings code of its own" in mistake(tmp_path, "mask=matting", f"mask.model={broken}")
    told = mistake(tmp_path, "mask=matting", f"mask.model={segformer}", "mask.labels=[human]")
    assert "['human'] are no labels of" in told and "wall, person, tree" in told
