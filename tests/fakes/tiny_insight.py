"""Small stand-ins for insightface's ONNX files: the real inputs, outputs and colour order, for its
own code.

All tell colours apart, so that no confusion of RGB and BGR goes unseen, not even one that is made
twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from datagen.weights import registry as weights

SIDE = 640  # px: what the detector sees
STRIDES = (8, 16, 32)
RED = 0.1  # that the swapper adds to red, of 1


def unchecked(monkeypatch) -> None:
    """The registry without checksums: tiny files have the published names."""
    monkeypatch.setattr(
        weights, "WEIGHTS", tuple(replace(weight, sha256={}) for weight in weights.WEIGHTS)
    )


def buffalo(folder: Path, box: tuple[float, ...], five: np.ndarray, warmth: float = 0.0) -> Path:
    """det_10g.onnx, which finds one face, at `box` xyxy and `five` [5, 2] (shares of the picture's
    side), wherever red exceeds blue by `warmth` of 255 on the average; and w600k_r50.onnx, whose
    embedding is the mean colour.
    """
    folder.mkdir(exist_ok=True)
    detector(folder / "det_10g.onnx", box, five, warmth)
    recogniser(folder / "w600k_r50.onnx")
    return folder


def detector(path: Path, box: tuple[float, ...], five: np.ndarray, warmth: float) -> None:
    """SCRFD: scores, boxes and points for 2 anchors at each place of strides 8, 16, 32."""
    stride = STRIDES[-1]
    column, row = (int((box[i] + box[i + 2]) / 2 * SIDE / stride) for i in (0, 1))
    centre = np.array([column, row]) * stride
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "red_less_blue"], ["difference"]),
        helper.make_node("Greater", ["difference", "warmth"], ["is_warm"]),
        helper.make_node("Cast", ["is_warm"], ["there"], to=TensorProto.FLOAT),
    ]
    tables = {
        "red_less_blue": np.array([[1.0], [0], [-1]], np.float32),
        "warmth": np.array([[warmth / 128]], np.float32),
    }
    outputs = []
    for kind, width in (("score", 1), ("box", 4), ("five", 10)):
        for each in STRIDES:
            table = np.zeros((2 * (SIDE // each) ** 2, width), np.float32)
            if each == stride:
                anchor = 2 * (row * (SIDE // each) + column)
                corners = np.array(box).reshape(2, 2) * SIDE
                away = {
                    "score": np.array([0.9]),
                    "box": np.abs(corners - centre).ravel() / each,
                    "five": (five * SIDE - centre).ravel() / each,
                }
                table[anchor] = away[kind]
            name = f"{kind}{each}"
            tables[f"{name}_table"] = table
            operation = "Mul" if kind == "score" else "Identity"
            inputs = [f"{name}_table", "there"] if kind == "score" else [f"{name}_table"]
            nodes.append(helper.make_node(operation, inputs, [name]))
            outputs.append((name, table.shape))
    _save(path, nodes, [("picture", (1, 3, SIDE, SIDE))], outputs, tables)


def recogniser(path: Path) -> None:
    """ArcFace: the first three of 512 numbers are the mean of red, green and blue, -1 to 1; the
    fourth is 0.1.
    """
    weight = np.zeros((3, 512), np.float32)
    weight[:3, :3] = np.eye(3)
    constant = np.zeros((1, 512), np.float32)
    constant[0, 3] = 0.1
    nodes = [
        helper.make_node("ReduceMean", ["face"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["colour"]),
        helper.make_node("Add", ["colour", "constant"], ["embedding"]),
    ]
    tables = {"weight": weight, "constant": constant}
    _save(path, nodes, [("face", ("n", 3, 112, 112))], [("embedding", ("n", 512))], tables)


def swapper(path: Path, share: float = 0.5, red: float = RED) -> Path:
    """INSwapper: (1 - share) of the target, `share` of the colour that the identity's first three
    numbers say, and more red. The last table is the identity's map, 512 x 512.
    """
    pick = np.zeros((512, 3), np.float32)
    pick[:3, :3] = np.eye(3) * share / 2
    more = np.array([share / 2 + red, share / 2, share / 2], np.float32)
    nodes = [
        helper.make_node("MatMul", ["source", "pick"], ["picked"]),
        helper.make_node("Add", ["picked", "more"], ["colour"]),
        helper.make_node("Reshape", ["colour", "shape"], ["plane"]),
        helper.make_node("Mul", ["target", "rest"], ["dimmed"]),
        helper.make_node("Add", ["dimmed", "plane"], ["output"]),
        helper.make_node("Identity", ["emap"], ["unused"]),
    ]
    tables = {
        "pick": pick,
        "more": more,
        "shape": np.array([1, 3, 1, 1], np.int64),
        "rest": np.array(1 - share, np.float32),
        "emap": np.eye(512, dtype=np.float32),
    }
    inputs = [("target", (1, 3, 128, 128)), ("source", (1, 512))]
    _save(path, nodes, inputs, [("output", (1, 3, 128, 128))], tables)
    return path


def _save(path: Path, nodes, inputs, outputs, tables) -> None:
    def told(rows):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in rows
        ]

    stored = [numpy_helper.from_array(np.asarray(table), name) for name, table in tables.items()]
    graph = helper.make_graph(nodes, "tiny", told(inputs), told(outputs), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
