"""Tars in the official layout become shards that the loader reads."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.media import video
from tests import faults
from tests.training.numbered import Preparation
from training.data.module import ClipDataModule, Resolution

COUNT = 28


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """Two tars: whole samples, one without a styled twin and one cut wide, some that cannot be
    kept.
    """
    folder = tmp_path_factory.mktemp("official")
    films = _films(tmp_path_factory.mktemp("films"))
    person = {"mp4": films["head"], "swapped.mp4": films["swap"], "mp4_styled": films["style"]}
    pose = {"faces_bbox.pyd": pickle.dumps([1]), "dwpose_result.pyd": pickle.dumps([2])}
    _tar(
        folder / "a.tar",
        {
            "Clip+one+P0": person | pose,
            "no_face": {"mp4": films["empty"], "swapped.mp4": films["empty"]},
            "no_twin": {"mp4": films["head"]},
            "no_target": {"swapped.mp4": films["swap"]},
        },
    )
    _tar(
        folder / "b.tar",
        {
            "wide": {
                "mp4": films["wide"],
                "swapped.mp4": films["short"],
                "mp4_styled": films["style"],
            },
            "again": person,
            "broken": {"mp4": b"no video", "swapped.mp4": films["swap"]},
        },
    )
    _tar(folder / "c.tar", {"cut": person})
    (folder / "c.tar").write_bytes((folder / "c.tar").read_bytes()[:-20480])
    return folder


@pytest.fixture(scope="module")
def prepared(official, tmp_path_factory) -> tuple[faults.Run, Path]:
    output = tmp_path_factory.mktemp("prepared")
    words = ("--input", official, "--output", output, "--val-share", "0", "--size", "256")
    return faults.call("datagen.prepare", *words), output


def test_every_sample_is_accounted_for(prepared):
    run, output = prepared
    assert run.code == 1  # c.tar is cut off
    lines = run.out.splitlines()
    assert lines[-1].startswith("8 samples = kept 2 + filtered 4 + invalid 2; ")
    assert lines[-1].endswith("1 shards, train 2, val 0 samples")
    assert lines[0] == "2 pickled members (.pyd) were not read: faces are detected again."
    assert lines[1].startswith("1 twins are absent")
    assert any(line.startswith("c.tar cannot be read behind cut: ") for line in lines)
    index = json.loads((output / "index.json").read_text())
    reasons = {row["key"]: row["reason"] for row in index["rejects"]}
    assert reasons["no_face"] == "no_face"
    assert reasons["no_twin"] == "no_twin"
    assert reasons["no_target"] == "no_target"
    assert reasons["broken"] == "unreadable"
    assert reasons["cut"] == "cut_off"
    assert sum(reason == "duplicate" for reason in reasons.values()) == 1
    assert faults.leftovers(output) == []
    assert faults.call("datagen.verify", "--input", output).code == 0


def test_target_and_twins_are_cut_alike_and_stay_in_step(prepared, tmp_path):
    samples = faults.samples(prepared[1])
    for fields in samples.values():
        sample = json.loads(fields["json"])
        assert sample["frames"] == COUNT
        for name in ("mp4", "styled.mp4"):
            (tmp_path / "a.mp4").write_bytes(fields[name])
            shown = [
                faults.number_of(cv2.resize(rgb, (512, 512)))
                for rgb in video.frames(tmp_path / "a.mp4")
            ]
            if sample["key"] != "wide":  # cut around the face, the number is outside
                assert shown == list(range(COUNT)), name
    assert samples["wide"]["swapped.mp4"] == b""
    assert json.loads(samples["wide"]["json"])["twins"] == ["styled"]


def test_a_target_that_is_no_square_is_cut_around_its_face(prepared):
    fields = faults.samples(prepared[1])["wide"]
    with np.load(io.BytesIO(fields["faces.npz"])) as arrays:
        boxes, found = arrays["boxes"], arrays["confidence"]
    assert found.all()
    middle = boxes.reshape(-1, 2, 2).mean((0, 1))
    assert np.abs(middle - 128).max() < 40


def test_the_loader_reads_what_was_prepared(prepared):
    data = ClipDataModule(
        str(prepared[1]),
        Resolution(64, 64, 8),
        Preparation(),
        frames=4,
        stride=2,
        twin_probability=1.0,
        extras=["mask"],
    )
    clips = data.dataset("train")
    found = [clips[position] for position in range(12)]
    assert {(b.keys[0] == "wide", b.twins[0]) for b in found} == {
        (True, "styled"),
        (False, "styled"),
        (False, "swapped"),
    }
    assert all((b.mask == 255).any() for b in found)


def test_mistakes_are_told_together_and_before_any_work(tmp_path):
    words = (
        "--input",
        tmp_path,
        "--output",
        tmp_path / "out",
        "--size",
        "63",
        "--val-share",
        "2",
        "--shard-mb",
        "0",
    )
    run = faults.call("datagen.prepare", *words)
    assert run.code == 2
    assert "shard_mb is 0" in run.sentence
    assert "clips.size is 63" in run.sentence
    run = faults.call("datagen.prepare", "--input", tmp_path, "--output", tmp_path / "out")
    assert "holds no .tar file" in run.sentence
    assert not (tmp_path / "out").exists()


def _films(folder: Path) -> dict[str, bytes]:
    step = np.arange(COUNT) - (COUNT - 1) / 2
    motion = faults.poses(COUNT, shift_x=step, mouth=0.5 + 0.4 * np.sin(step))
    head = [faults.numbered(rgb, i) for i, rgb in enumerate(faults.head(2).frames(motion))]
    shown = {
        "head": head,
        "swap": [rgb[:, :, ::-1].copy() for rgb in head],
        "style": [255 - (255 - rgb) // 2 for rgb in head],
        "wide": [np.hstack([rgb, rgb[:, :256] // 4]) for rgb in head],
        "short": [np.hstack([rgb, rgb[:, :256] // 4]) for rgb in head[:20]],
        "empty": [np.full((256, 256, 3), 90, np.uint8)] * COUNT,
    }
    return {name: _film(folder / f"{name}.mp4", frames) for name, frames in shown.items()}


def _film(path: Path, frames: list[np.ndarray]) -> bytes:
    with video.Writer(path, 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    return path.read_bytes()


def _tar(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, members in samples.items():
            for field, data in members.items():
                info = tarfile.TarInfo(f"{key}.{field}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
