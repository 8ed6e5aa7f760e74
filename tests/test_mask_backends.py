"""Masks by other networks through their real loading code, on tiny weights: labels, warps, colours, refusals."""

from __future__ import annotations

import pickle
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datagen import video
from datagen.clip import Artefact, Clip
from datagen.engine.errors import UserError
from datagen.faces import Faces
from datagen.landmarks import FaceMesh
from datagen.mask import align
from datagen.mask.densepose import DensePoseMask, regions_of
from datagen.mask.farl import LABELS, FarlMask
from datagen.mask.matting import MattingMask
from datagen.mask.stage import MaskStage, split
from datagen.regions import face_polygon
from datagen.sources.people import person, portrait
from tests.faults import call, run

COLOURS = {"face": (230, 20, 20), "hair": (20, 20, 230), "background": (20, 20, 20), "nose": (20, 230, 20)}
NOBODY = {"person_threshold": 2.0}  # nothing is as certain as that: MediaPipe's person is left out


class Parser(nn.Module):
    """What the published files are: RGB within 0 to 1 [n, 3, 448, 448] -> (logits, something else). By colour."""

    def __init__(self, labels: tuple[str, ...]):
        super().__init__()
        self.colours = nn.Conv2d(3, len(labels), 1)
        with torch.no_grad():
            self.colours.weight.zero_()
            self.colours.bias.fill_(-9.0)
            for name, rgb in COLOURS.items():  # nearest colour
                self.colours.weight[labels.index(name), :, 0, 0] = torch.tensor(rgb) / 255 * 2
                self.colours.bias[labels.index(name)] = -float((torch.tensor(rgb) / 255).square().sum())

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        return self.colours(pictures), pictures.mean()


def script(path: Path, labels: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Parser(LABELS[labels])).save(str(path))
    return path


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """float32 [478, 3] px of a face in a picture of 512 px."""
    found = FaceMesh()(portrait(person(0)))
    assert found is not None
    return found


def painted(points: np.ndarray, name: str = "face") -> np.ndarray:
    """RGB uint8 [512, 512, 3]: the face's oval in the colour of `name`, its nose, hair above it, background."""
    rgb = np.full((512, 512, 3), COLOURS["background"], np.uint8)
    oval = face_polygon(rgb.shape, points)
    low = int(points[10, 1])
    cv2.ellipse(rgb, (int(points[10, 0]), low), (70, 60), 0, 180, 360, COLOURS["hair"], -1)
    rgb[oval] = COLOURS[name]
    return cv2.circle(rgb, (int(points[1, 0]), int(points[1, 1])), 20, COLOURS["nose"], -1)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def filmed(folder: Path, frames: list[np.ndarray], points: list[np.ndarray | None]) -> Clip:
    with video.Writer(folder / "clip.mp4", 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    Faces.of(points).save(folder / "faces.npz")
    return Clip("a", {}, artefacts={"clips": Artefact(folder / "clip.mp4"), "faces": Artefact(folder / "faces.npz")})


def same_bytes(stages: list[MaskStage], clip: Clip, folder: Path) -> bool:
    """Whether all make the same video, those of a worker that saw another clip before, too."""
    found = set()
    for number, stage in enumerate([*stages, *stages, pickle.loads(pickle.dumps(stages[0]))]):
        (folder / str(number)).mkdir()
        found.add(stage(clip, folder / str(number)).path.read_bytes())
    return len(found) == 1


# --- FaRL


def test_the_label_sets_are_the_published_ones_and_differ_in_order():
    assert (len(LABELS["lapa"]), len(LABELS["celebm"])) == (11, 19)
    assert LABELS["lapa"].index("face") == 1 and LABELS["celebm"].index("face") == 2
    assert LABELS["lapa"][-1] == "hair" and LABELS["celebm"].index("hair") == 14
    assert {*LABELS["lapa"]} < {*LABELS["celebm"]}


@pytest.mark.parametrize("labels", LABELS)
def test_the_parts_lie_where_they_were_painted(labels, points, tmp_path):
    """Through the warp and back; with colours exchanged the face would be hair, by the other labels' order the nose."""
    stage = FarlMask(labels=labels, checkpoint=str(script(tmp_path / "a.pt", labels)), **NOBODY)
    stage.check()
    rgb = painted(points)
    frames = [rgb, np.ascontiguousarray(rgb[:, ::-1]), np.full_like(rgb, 128)]
    mirrored = points * np.array([-1, 1, 1], np.float32) + np.array([512, 0, 0], np.float32)
    made = stage(filmed(tmp_path, frames, [points, swapped(mirrored), None]), tmp_path)
    grey = np.stack([frame[..., 0] for frame in video.frames(made.path)])
    people, face = split(grey)
    oval = face_polygon(rgb.shape, points)
    assert overlap(face[0], oval) > 0.97
    assert overlap(people[0], oval | (rgb == COLOURS["hair"]).all(-1)) > 0.96
    assert overlap(face[1], oval[:, ::-1]) > 0.97
    assert not people[2].any()  # no face is found: FaRL is not asked


def swapped(points: np.ndarray) -> np.ndarray:
    """Points of a mirrored face by the names that they have then, as far as FaRL's frames look at them."""
    turned = points.copy()
    for a, b in (
        (33, 263),
        (133, 362),
        (61, 291),
    ):
        turned[[a, b]] = points[[b, a]]
    return turned


def test_colours_are_rgb(points, tmp_path):
    """A red face is skin and a blue one hair: with blue and red exchanged it would be the reverse."""
    stage = FarlMask(labels="lapa", checkpoint=str(script(tmp_path / "a.pt", "lapa")), **NOBODY)
    for name in ("face", "hair"):
        (labels,) = stage.parsed(painted(points, name)[None], points[None])
        chin = labels[tuple((points[199, 1::-1]).astype(int))]
        assert LABELS["lapa"][chin] == name


def test_the_frames_are_the_published_ones(points):
    frame = align.lapa(points)
    there = align.five(points) @ frame.matrix[:, :2].T + frame.matrix[:, 2]
    assert there == pytest.approx(align.TEMPLATE / 256 - 1, abs=0.12)  # as near as a real face is to the template
    grid = frame.into(512, 512)
    assert grid.shape == (448, 448, 2) and np.abs(grid).max() > 1  # looks beyond the clip's edges
    face = np.zeros((478, 3))
    face[[33, 133], :2], face[[263, 362], :2], face[61, :2], face[291, :2] = (
        (200, 200),
        (300, 200),
        (215, 300),
        (285, 300),
    )
    into = align.celebm(face).into(512, 512)
    corners = (into[[0, -1], [0, -1]] + 1) * 256
    half = 400 / 448 / 2
    assert corners == pytest.approx(np.array([[50 + half, 10 + half], [450 - half, 410 - half]]), abs=1e-3)


@pytest.mark.parametrize("labels", LABELS)
def test_into_the_frame_and_back_is_where_one_was(labels, points):
    frame = {"lapa": align.lapa, "celebm": align.celebm}[labels](points)
    back = frame.back(512, 512)
    middle = back[200:300, 200:300].reshape(-1, 2)
    rows = (middle + 1) * 224 - 0.5
    seen = cv2.remap(frame.into(512, 512), *rows.astype(np.float32).T, cv2.INTER_LINEAR).reshape(-1, 2)
    expected = (np.stack(np.meshgrid(*[np.arange(200, 300) + 0.5] * 2), -1) / 256 - 1).reshape(-1, 2)
    assert seen == pytest.approx(expected, abs=2e-3)


def test_neither_batch_nor_history_changes_what_farl_says(points, tmp_path):
    path = str(script(tmp_path / "a.pt", "celebm"))
    clip = filmed(tmp_path, [painted(points), portrait(person(0)), painted(points, "hair")], [points] * 3)
    assert same_bytes([FarlMask(checkpoint=path), FarlMask(checkpoint=path, batch=2)], clip, tmp_path)
    stage = FarlMask(checkpoint=path)
    frames = np.stack([painted(points), painted(points, "hair")])
    alone = np.concatenate([stage.parsed(frame[None], points[None]) for frame in frames])
    assert np.array_equal(stage.parsed(frames, np.stack([points] * 2)), alone)
    assert "batch" not in stage.parameters() and {*stage.weights()} == {"mediapipe", "farl_celebm"}


def test_a_network_of_the_other_label_set_is_refused(points, tmp_path):
    stage = FarlMask(labels="celebm", checkpoint=str(script(tmp_path / "a.pt", "lapa")))
    with pytest.raises(UserError, match="19 labels are expected of farl/celebm/448: choose mask.labels to fit"):
        stage.parsed(painted(points)[None], points[None])


# --- a segmentation model of transformers


@pytest.fixture(scope="module")
def segformer(tmp_path_factory) -> Path:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    folder = tmp_path_factory.mktemp("segformer")
    torch.manual_seed(1)
    names = {0: "wall", 1: "person", 2: "tree"}
    sizes: dict[str, Any] = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    config = SegformerConfig(**sizes, decoder_hidden_size=16, id2label=names, label2id={v: k for k, v in names.items()})
    network = SegformerForSemanticSegmentation(config)
    with torch.no_grad():
        network.decode_head.classifier.weight.mul_(40)
    network.save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 512, "width": 512}).save_pretrained(folder)
    return folder


def test_a_segmentation_model_is_asked_as_transformers_would(segformer):
    """The same labels as its own loading and image processor give; other ones where the colours are exchanged."""
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    stage = MattingMask(checkpoint=str(segformer))
    stage.check()
    rgb = portrait(person(3))
    processor = AutoImageProcessor.from_pretrained(segformer, local_files_only=True)
    theirs = AutoModelForSemanticSegmentation.from_pretrained(segformer, local_files_only=True).eval()

    def expected(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            told = theirs(**processor(picture, return_tensors="pt"))
        return processor.post_process_semantic_segmentation(told, target_sizes=[(512, 512)])[0].numpy()

    (found,) = stage.parsed(rgb[None])
    assert len(np.unique(found)) > 1
    assert (found == expected(rgb)).mean() > 0.999
    assert (found == expected(np.ascontiguousarray(rgb[..., ::-1]))).mean() < 0.95


def test_neither_batch_nor_history_changes_what_a_segmentation_says(segformer, points, tmp_path):
    clip = filmed(tmp_path, [portrait(person(0)), painted(points), portrait(person(0))], [points, points, None])
    stages: list[MaskStage] = [MattingMask(checkpoint=str(segformer), batch=n) for n in (1, 2)]
    assert same_bytes(stages, clip, tmp_path)
    made = stages[0](clip, tmp_path)
    people, face = split(np.stack([frame[..., 0] for frame in video.frames(made.path)]))
    assert overlap(face[0], face_polygon((512, 512), points)) > 0.98 and not face[2].any()
    assert made.metrics["person_share"] == pytest.approx(people.mean(), abs=0.02)
    assert stages[0].parameters() == {"labels": ["person"]}
    stage, frames = MattingMask(checkpoint=str(segformer)), np.stack([portrait(person(0)), painted(points)])
    assert np.array_equal(stage.parsed(frames), np.concatenate([stage.parsed(frame[None]) for frame in frames]))


def test_every_person_label_counts(segformer, points):
    rgb = portrait(person(3))[None]
    parts = [
        MattingMask(checkpoint=str(segformer), labels=[name]).regions(rgb, points[None])[0] for name in ("wall", "tree")
    ]
    both, _ = MattingMask(checkpoint=str(segformer), labels=["wall", "tree"]).regions(rgb, points[None])
    assert np.array_equal(both, parts[0] | parts[1])


# --- DensePose


def test_parts_become_person_and_face():
    """A hand before the face is person; the back of a head is no face; what reaches over the edge is cut."""
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
    extractor.DensePoseResultExtractor = lambda: lambda told: ([result], torch.tensor([[2.0, 3, 4, 4]]))  # type: ignore[attr-defined]
    for name in ("densepose", "densepose.vis"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "densepose.vis.extractor", extractor)
    stage = DensePoseMask(config="a.yaml", checkpoint="a.pkl")
    stage.__dict__["_predictor"] = predictor
    rgb = np.zeros((1, 16, 16, 3), np.uint8)
    rgb[..., 0] = 200
    people, face = stage.regions(rgb, np.full((1, 478, 3), np.nan))
    assert given[0][0, 0].tolist() == [0, 0, 200]
    assert people[0, 3:7, 2:6].all() and people.sum() == 16 and not face.any()


def test_a_pickle_of_arrays_is_read_and_one_that_would_run_code_is_not(tmp_path):
    from model.convert.files import read

    told = {"model": {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, "__author__": "someone"}
    for protocol in (2, 4):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(told, protocol))
        assert torch.equal(read(tmp_path / "a.pkl")["a.weight"], torch.arange(6.0).reshape(2, 3))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"model": told["model"], "code": eval}))
    with pytest.raises(UserError, match="could run any code"):
        read(tmp_path / "b.pkl")
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(told)[:-40])
    with pytest.raises(UserError, match="damaged or cut short"):
        read(tmp_path / "c.pkl")


# --- as a command


@pytest.mark.slow
def test_workers_change_no_byte(raw, tmp_path):
    """In this process, and by two workers: FaRL and L2CS."""
    from tests.test_gaze_l2cs import hand_set, official

    script(tmp_path / "a.pt", "celebm")
    torch.save(official(hand_set()), tmp_path / "a.pkl")
    for verb, chosen, checkpoint in (
        ("mask", "farl", tmp_path / "a.pt"),
        ("gaze", "l2cs", tmp_path / "a.pkl"),
    ):
        made = []
        for runner in (["--runner", "local"], ["--workers", 2]):
            words = ["--input", raw, "--store", tmp_path / f"{chosen}{len(made)}", *runner, "select.rules=[]"]
            output = tmp_path / f"{chosen}{len(made)}-out"
            ended = run(
                f"datagen.{verb}", f"{verb}={chosen}", f"{verb}.checkpoint={checkpoint}", "--output", output, *words
            )
            assert ended.code == 0, ended.err
            made.append({p.relative_to(output): p.read_bytes() for p in output.rglob("*") if p.is_file()})
        assert len(made[0]) > 3 and made[0] == made[1]


# --- refusals


def mistake(folder: Path, *words: object) -> str:
    """What the command says, which ends with code 2 before it has made anything."""
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "a.mp4").touch()
    ended = call("datagen.mask", "--input", folder / "raw", "--store", folder / "store", "--runner", "local", *words)
    assert ended.code == 2 and not (folder / "store").exists()
    return ended.sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["mask=farl"],
            "put face_parsing.farl.celebm.main_ema_181500_jit.pt of https://github.com/FacePerceiver/facer/",
        ),
        (["mask=farl", "mask.labels=lapa"], "or run `python -m model.weights fetch farl_lapa`"),
        (["mask=farl", "mask.labels=any"], "mask.labels is 'any': lapa or celebm is expected"),
        (["mask=matting"], "licence: NVIDIA Source Code License for SegFormer (non-commercial)) is not in"),
        (["mask=matting", "mask.checkpoint=/nowhere"], "/nowhere is not there: name the file or folder of segformer"),
        (
            ["mask=densepose"],
            "needs detectron2 and densepose, not installed here: pip install --no-build-isolation git+",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in mistake(tmp_path, *words)


def test_what_is_no_script_or_is_damaged_is_refused(tmp_path, segformer):
    whole = script(tmp_path / "a.pt", "celebm").read_bytes()
    torch.save({"a": torch.zeros(3)}, tmp_path / "state.pt")
    damaged = bytearray(whole)
    damaged[whole.index(np.float32(230 / 255 * 2).tobytes())] ^= 1  # a bit of a weight
    (tmp_path / "damaged.pt").write_bytes(bytes(damaged))
    (tmp_path / "cut.pt").write_bytes(whole[:-200])
    for name, sentence in (
        ("state.pt", "a zip file, but no TorchScript"),
        ("damaged.pt", "is damaged at"),
        ("cut.pt", "is no TorchScript file, or cut short"),
    ):
        assert sentence in mistake(tmp_path, "mask=farl", f"mask.checkpoint={tmp_path / name}"), name


def test_a_folder_that_is_no_segmentation_model_is_refused(tmp_path, segformer):
    import json
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(segformer, broken)
    (broken / "model.safetensors").write_bytes((segformer / "model.safetensors").read_bytes()[:-9])
    assert "is damaged or cut short" in mistake(tmp_path, "mask=matting", f"mask.checkpoint={broken}")
    config = json.loads((segformer / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "its.Own"}}))
    assert "brings code of its own" in mistake(tmp_path, "mask=matting", f"mask.checkpoint={broken}")
    told = mistake(tmp_path, "mask=matting", f"mask.checkpoint={segformer}", "mask.labels=[human]")
    assert "['human'] are no labels of" in told and "wall, person, tree" in told
