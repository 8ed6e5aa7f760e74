"""FaRL's masks through its real loading code, on tiny scripts: label orders, warps, colours,
refusals.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datagen.core.errors import UserError
from datagen.mask import align
from datagen.mask.farl import LABELS, FarlMask
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import split
from tests.fakes.masks import (
    COLOURS,
    NOBODY,
    face_points,
    filmed,
    mistake,
    overlap,
    painted,
    same_bytes,
)
from tests.faults import run


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return face_points()


class Parser(nn.Module):
    """What the published files are: RGB within 0 to 1 [n, 3, 448, 448] -> (logits, something else).
    By colour.
    """

    def __init__(self, labels: tuple[str, ...]):
        super().__init__()
        self.colours = nn.Conv2d(3, len(labels), 1)
        with torch.no_grad():
            self.colours.weight.zero_()
            self.colours.bias.fill_(-9.0)
            for name, rgb in COLOURS.items():  # nearest colour
                self.colours.weight[labels.index(name), :, 0, 0] = torch.tensor(rgb) / 255 * 2
                self.colours.bias[labels.index(name)] = -float(
                    (torch.tensor(rgb) / 255).square().sum()
                )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        return self.colours(pictures), pictures.mean()


def script(path: Path, labels: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Parser(LABELS[labels])).save(str(path))
    return path


def test_the_label_sets_are_the_published_ones_and_differ_in_order():
    assert (len(LABELS["lapa"]), len(LABELS["celebm"])) == (11, 19)
    assert LABELS["lapa"].index("face") == 1 and LABELS["celebm"].index("face") == 2
    assert LABELS["lapa"][-1] == "hair" and LABELS["celebm"].index("hair") == 14
    assert {*LABELS["lapa"]} < {*LABELS["celebm"]}


@pytest.mark.parametrize("labels", LABELS)
def test_the_parts_lie_where_they_were_painted(labels, points, tmp_path):
    """Through the warp and back; with colours exchanged the face would be hair, by the other
    labels' order the nose.
    """
    stage = FarlMask(labels=labels, model=str(script(tmp_path / "a.pt", labels)), **NOBODY)
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
    """Points of a mirrored face by the names that they have then, as far as FaRL's frames look at
    them.
    """
    turned = points.copy()
    for a, b in (
        (33, 263),
        (133, 362),
        (61, 291),
    ):
        turned[[a, b]] = points[[b, a]]
    return turned


def test_colours_are_rgb(points, tmp_path):
    """A red face is skin and a blue one hair: with blue and red exchanged it would be the
    reverse.
    """
    stage = FarlMask(labels="lapa", model=str(script(tmp_path / "a.pt", "lapa")), **NOBODY)
    for name in ("face", "hair"):
        (labels,) = stage.parsed(painted(points, name)[None], points[None])
        chin = labels[tuple((points[199, 1::-1]).astype(int))]
        assert LABELS["lapa"][chin] == name


def test_the_frames_are_the_published_ones(points):
    frame = align.lapa(points)
    there = align.five(points) @ frame.matrix[:, :2].T + frame.matrix[:, 2]
    assert there == pytest.approx(
        align.TEMPLATE / 256 - 1, abs=0.12
    )  # as near as a real face is to the template
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
    assert corners == pytest.approx(
        np.array([[50 + half, 10 + half], [450 - half, 410 - half]]), abs=1e-3
    )


@pytest.mark.parametrize("labels", LABELS)
def test_into_the_frame_and_back_is_where_one_was(labels, points):
    frame = {"lapa": align.lapa, "celebm": align.celebm}[labels](points)
    back = frame.back(512, 512)
    middle = back[200:300, 200:300].reshape(-1, 2)
    rows = (middle + 1) * 224 - 0.5
    seen = cv2.remap(frame.into(512, 512), *rows.astype(np.float32).T, cv2.INTER_LINEAR).reshape(
        -1, 2
    )
    expected = (np.stack(np.meshgrid(*[np.arange(200, 300) + 0.5] * 2), -1) / 256 - 1).reshape(
        -1, 2
    )
    assert seen == pytest.approx(expected, abs=2e-3)


def test_neither_batch_nor_history_changes_what_farl_says(points, tmp_path):
    path = str(script(tmp_path / "a.pt", "celebm"))
    clip = filmed(
        tmp_path, [painted(points), portrait(person(0)), painted(points, "hair")], [points] * 3
    )
    assert same_bytes([FarlMask(model=path), FarlMask(model=path, batch=2)], clip, tmp_path)
    stage = FarlMask(model=path)
    frames = np.stack([painted(points), painted(points, "hair")])
    alone = np.concatenate([stage.parsed(frame[None], points[None]) for frame in frames])
    assert np.array_equal(stage.parsed(frames, np.stack([points] * 2)), alone)
    assert "batch" not in stage.parameters() and {*stage.weights()} == {"mediapipe", "farl_celebm"}


def test_a_network_of_the_other_label_set_is_refused(points, tmp_path):
    stage = FarlMask(labels="celebm", model=str(script(tmp_path / "a.pt", "lapa")))
    with pytest.raises(
        UserError, match="19 labels are expected of farl/celebm/448: choose mask.labels to fit"
    ):
        stage.parsed(painted(points)[None], points[None])


# --- as a command


@pytest.mark.slow
def test_workers_change_no_byte(raw, tmp_path):
    """In this process, and by two workers: FaRL and L2CS."""
    from tests.datagen.gaze.test_l2cs import hand_set, official

    script(tmp_path / "a.pt", "celebm")
    torch.save(official(hand_set()), tmp_path / "a.pkl")
    for verb, chosen, checkpoint in (
        ("mask", "farl", tmp_path / "a.pt"),
        ("gaze", "l2cs", tmp_path / "a.pkl"),
    ):
        made = []
        for runner in (["--runner", "local"], ["--workers", 2]):
            words = [
                "--input",
                raw,
                "--store",
                tmp_path / f"{chosen}{len(made)}",
                *runner,
                "select.rules=[]",
            ]
            output = tmp_path / f"{chosen}{len(made)}-out"
            ended = run(
                f"datagen.{verb}",
                f"{verb}={chosen}",
                f"{verb}.model={checkpoint}",
                "--output",
                output,
                *words,
            )
            assert ended.code == 0, ended.err
            made.append(
                {p.relative_to(output): p.read_bytes() for p in output.rglob("*") if p.is_file()}
            )
        assert len(made[0]) > 3 and made[0] == made[1]


# --- refusals


def test_what_is_no_script_or_is_damaged_is_refused(tmp_path):
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
        assert sentence in mistake(tmp_path, "mask=farl", f"mask.model={tmp_path / name}"), name
