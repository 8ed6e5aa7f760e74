"""dlib's face recognition ResNet as a network of ONNX Runtime, which runs it several times faster.

The layers are those of dlib's examples/dnn_face_recognition_ex.cpp, the numbers those of its file
of weights. Every affine layer follows a convolution and is folded into it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from datagen.core.errors import UserError

SIDE = 150  # px of the aligned face
MEAN = (122.782, 117.001, 104.298)  # RGB, as in dlib's input_rgb_image_sized
STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


def model(path: Path) -> bytes:
    """The network of a file of dlib's weights, ONNX: picture float32 [1, 3, 150, 150], RGB in
    0..255 -> descriptor [1, 128].

    UserError where the file is another.
    """
    builder = _Builder(Tensors(path))
    builder.layers()
    graph = helper.make_graph(
        builder.nodes,
        "dlib_face_recognition_resnet_model_v1",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [1, 128])],
        builder.weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    serialized: bytes = made.SerializeToString()
    return serialized


class Tensors:
    """The tensors of a network that dlib has serialized, in the order of its layers.

    A tensor is its version (the number 2), four sizes and its floats; whole numbers are as many
    bytes as the byte before says, all is little-endian. Between them stand the layers' settings.
    """

    def __init__(self, path: Path):
        self._path, self._data, self._at = path, path.read_bytes(), 0

    def next(self, *shape: int) -> np.ndarray:
        """The next tensor of this shape, float32. UserError where there is none."""
        header = b"".join(map(_number, (2, *shape, *(1,) * (4 - len(shape)))))
        found = self._data.find(header, self._at)
        start, count = found + len(header), int(np.prod(shape))
        if found < 0 or start + 4 * count > len(self._data):
            raise UserError(
                f"{self._path} does not hold the weights of dlib's face recognition ResNet: "
                "`pip install face-recognition-models==0.3.0` again."
            )
        self._at = start + 4 * count
        return np.frombuffer(self._data, "<f4", count, start).reshape(shape)


def _number(value: int) -> bytes:
    """A whole number as dlib writes it."""
    length = (value.bit_length() + 7) // 8
    return bytes([length]) + value.to_bytes(length, "little")


class _Builder:
    """Nodes and weights of the graph; the name of a tensor is that of the node that makes it."""

    def __init__(self, tensors: Tensors):
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._tensors = tensors

    def layers(self) -> None:
        """loss_metric<fc_no_bias<128, avg_pool_everything<alevel0<... alevel4<max_pool<...>>>>>>"""
        mean = self._constant("mean", np.array(MEAN, np.float32).reshape(1, 3, 1, 1))
        scale = self._constant("scale", np.array(256, np.float32))
        last = self._node("Div", self._node("Sub", "picture", mean), scale)
        last = self._relu(self._convolution(last, (32, 3, 7), stride=2))
        last = self._node("MaxPool", last, kernel_shape=[3, 3], strides=[2, 2])
        channels = 32
        for width, blocks, is_smaller in STAGES:
            for block in range(blocks):
                last = self._block(last, channels, width, is_smaller and block == 0)
                channels = width
        self._dense(self._node("GlobalAveragePool", last))

    def _block(self, before: str, channels: int, width: int, is_smaller: bool) -> str:
        """ares or ares_down: what went in is added to what two convolutions make of it."""
        first = self._convolution(before, (width, channels, 3), 2 if is_smaller else 1)
        made = self._convolution(self._relu(first), (width, width, 3), 1)
        if not is_smaller:
            return self._relu(self._node("Add", made, before))
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        kept = self._node("AveragePool", before, **pool)
        size = SIZES[width, channels]
        made = self._padded(made, (0, size[1] - size[0]))
        return self._relu(self._node("Add", made, self._padded(kept, (width - channels, 0))))

    def _padded(self, before: str, more: tuple[int, int]) -> str:
        """With zeros for further channels, and for rows and columns below and to the right: dlib's
        add_prev takes what is missing for 0.
        """
        if more == (0, 0):
            return before
        channels, pixels = more
        ends = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self._node("Pad", before, self._constant(f"ends{len(self.nodes)}", ends))

    def _convolution(self, before: str, shape: tuple[int, int, int], stride: int) -> str:
        """A convolution with the affine layer that follows it; dlib pads those of stride 1."""
        width, channels, side = shape
        filters = self._tensors.next(width * (channels * side**2 + 1))
        affine = self._tensors.next(2 * width)
        gamma, beta = affine[:width], affine[width:]
        kernel = filters[:-width].reshape(width, channels, side, side) * gamma[:, None, None, None]
        name = f"layer{len(self.weights)}"
        given = [
            self._constant(f"{name}.weight", kernel),
            self._constant(f"{name}.bias", filters[-width:] * gamma + beta),
        ]
        pad = side // 2 if stride == 1 else 0
        return self._node("Conv", before, *given, strides=[stride] * 2, pads=[pad] * 4)

    def _dense(self, before: str) -> None:
        matrix = self._constant("fc", self._tensors.next(256, 128))
        flat = self._node("Flatten", before)
        self.nodes.append(helper.make_node("MatMul", [flat, matrix], ["descriptor"]))

    def _relu(self, before: str) -> str:
        return self._node("Relu", before)

    def _node(self, kind: str, *given: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(given), [name], name, **attributes))
        return name

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


# of the smaller pictures, by (width, channels before): px of what the convolutions make of them, px
# of what is left by pooling
SIZES = {(64, 32): (17, 17), (128, 64): (8, 8), (256, 128): (3, 4), (256, 256): (1, 2)}
