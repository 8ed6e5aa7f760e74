"""The paper's gaze: L2CS-Net on the face's box, the head's turn removed afterwards by the
landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from datagen.core.device import at_once, device
from datagen.core.options import refuse_count, refuse_number
from datagen.engine.network_stage import TorchStage
from datagen.gaze.stage import GazeStage
from datagen.media import video
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.weights.place import place, refuse_missing, sha256_of

if TYPE_CHECKING:
    from datagen.gaze.network import L2cs

VIA, SIDE = 224, 448  # px: the official pipeline shrinks the face before it enlarges it
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB within 0 to 1


def cut(rgb: np.ndarray, box: np.ndarray, margin: float = 0.0) -> np.ndarray | None:
    """The network's input float32 [3, 448, 448] of a box xyxy px in an RGB uint8 [H, W, 3] frame;
    None: it is outside.

    Stretched to a square as in the official pipeline. `margin` is added on each side, in sides of
    the box.
    """
    wider = np.asarray(box, float) + margin * (box[[2, 3, 2, 3]] - box[[0, 1, 0, 1]]) * [
        -1,
        -1,
        1,
        1,
    ]
    (x, right), (y, below) = np.clip(
        np.rint(wider).reshape(2, 2).T, 0, np.array(rgb.shape[1::-1])[:, None]
    ).astype(int)
    if right - x < 2 or below - y < 2:
        return None
    face = cv2.resize(rgb[y:below, x:right], (VIA, VIA))
    face = cv2.resize(face, (SIDE, SIDE)).astype(np.float32) / 255
    return np.ascontiguousarray(((face - MEAN) / DEVIATION).astype(np.float32).transpose(2, 0, 1))


@dataclass
class L2csGaze(TorchStage, GazeStage):
    """L2CS-Net (ResNet-50, Gaze360 or MPIIGaze): gaze from the camera; the head's rotation is then
    removed.

    `model` is the official file or its tensors as safetensors; null: where `python -m
    datagen.weights` looks.
    """

    tells_camera = True
    not_in_key = ("model", "batch")

    model: str | None = None
    margin: float = 0.0
    batch: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_count("gaze.batch", self.batch, 1)
        refuse_number("gaze.margin", self.margin, 0)
        self.model = str(place("l2cs", self.model))

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("l2cs",)

    def weights(self) -> dict[str, str]:
        return {"l2cs": sha256_of(Path(str(self.model)))}

    def check(self) -> None:
        from datagen.gaze.network import checked

        refuse_missing("l2cs", Path(str(self.model)), "gaze.model")
        checked(Path(str(self.model)))

    @cached_property
    def _network(self) -> L2cs:
        from datagen.gaze.network import load

        return load(Path(str(self.model))).to(device(self.gpus))

    def camera(self, clip: Path, faces: Faces) -> np.ndarray:
        shown = zip(video.frames(clip), faces.boxes, faces.found, strict=True)
        inputs = (cut(rgb, box, self.margin) for rgb, box, found in shown if found)
        return geometry.direction(np.concatenate([np.empty((0, 2)), *self._angles(inputs)]))

    def _angles(self, inputs: Iterator[np.ndarray | None]) -> Iterator[np.ndarray]:
        """(yaw, pitch) radians [n, 2] of the inputs in turn, some at once; NaN where there is
        none.
        """
        import torch

        network = self._network
        where = next(network.parameters()).device
        while some := list(islice(inputs, at_once(self.gpus, self.batch))):
            angles = np.full((len(some), 2), np.nan)
            there = [index for index, picture in enumerate(some) if picture is not None]
            if there:
                pictures = torch.from_numpy(np.stack([p for p in some if p is not None])).to(where)
                with torch.inference_mode():
                    angles[there] = network(pictures).cpu().numpy()
            yield angles
