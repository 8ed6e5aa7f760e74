"""`python -m datagen.weights verify` by kind of file: whole ones pass, every kind of damage is one
sentence.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save

from datagen.core.errors import UserError
from datagen.weights.look import look


def onnx(path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [300, 300])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [300, 300], [0.5] * 90_000)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [value], [weight]
    )
    save(helper.make_model(graph), str(path))


def torchscript(path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(300, 300), torch.zeros(1, 300)).save(str(path))


def checkpoint(path: Path) -> None:
    torch.save(OrderedDict(weight=torch.rand(300, 300)), path)


def old_checkpoint(path: Path) -> None:
    torch.save({"weight": torch.rand(300, 300)}, path, _use_new_zipfile_serialization=False)


def arrays(path: Path) -> None:
    path.write_bytes(
        pickle.dumps({"model": {"weight": np.ones((300, 300), np.float32)}}, protocol=2)
    )


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.onnx", bytes(range(256)) * 400)


def settings(path: Path) -> None:
    path.write_text(json.dumps([{"a": 1}]))


KINDS = {
    "det.onnx": onnx,
    "parse.pt": torchscript,
    "gaze.pkl": checkpoint,
    "net.pth": old_checkpoint,
    "pose.pkl": arrays,
    "pack.zip": archive,
    "vocab.json": settings,
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_passes_and_a_cut_one_does_not(name, tmp_path):
    KINDS[name](tmp_path / name)
    look(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(
            UserError, match=f"^{re.escape(str(tmp_path / name))} is .*copy or download it again.$"
        ):
            look(tmp_path / name)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["parse.pt", "pack.zip"])
def test_a_changed_byte_in_an_archive_is_found(name, tmp_path):
    KINDS[name](tmp_path / name)
    data = bytearray((tmp_path / name).read_bytes())
    with zipfile.ZipFile(tmp_path / name) as file:
        largest = max(file.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + largest.file_size // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=re.escape(largest.filename)):
        look(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.onnx", b"no model at all", "is not an ONNX model"),
        ("a.onnx", b"\x08\x08", "no version or no graph"),
        ("a.onnx", b"\xff" * 64, "a number without end"),
        ("a.pth", b"<!DOCTYPE html>", "is a web page"),
        ("a.mat", b"version https://git-lfs.github.com/spec/v1", "is a git-lfs pointer"),
        ("a.bin", b"words", "neither a safetensors file nor a torch checkpoint"),
    ],
)
def test_something_else_is_told(name, data, sentence, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=sentence):
        look(tmp_path / name)


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(UserError, match="is a pickle that asks for"):
        look(tmp_path / "a.pkl")
    assert not (tmp_path / "ran").exists()


def test_of_other_kinds_only_that_there_is_something_is_known(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0")
    look(tmp_path / "a.mat")
