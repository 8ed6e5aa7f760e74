"""The paper's person: DensePose (detectron2), where it is installed.

Neither detectron2 nor its weights could be had where this was written: it keeps to their documented
interfaces, and has not been run against them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from datagen.core.options import refuse_number
from datagen.engine.network_stage import TorchStage
from datagen.mask.stage import MaskStage
from datagen.vision.regions import face_polygon
from datagen.weights.place import place, refuse_missing, sha256_of

INSTALL = (
    "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2 "
    "git+https://github.com/facebookresearch/detectron2@main#subdirectory=projects/DensePose"
)
HEAD = (23, 24)  # of DensePose's parts 1 to 24: the head's right and left half; 0 is background


def regions_of(
    parts: list[tuple[np.ndarray, tuple[int, int]]], polygon: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(person, face) bool [H, W] of every instance's parts [h, w] with its corner (x, y) px: any
    part; and the head within the face's `polygon` bool [H, W]. A hand before the face is no face.
    """
    whole = np.zeros(polygon.shape, np.uint8)
    for labels, (x, y) in parts:
        top, left = max(0, -y), max(0, -x)
        seen = labels[top : polygon.shape[0] - y, left : polygon.shape[1] - x]
        part = whole[y + top : y + top + seen.shape[0], x + left : x + left + seen.shape[1]]
        np.copyto(part, seen.astype(np.uint8), where=seen > 0)
    return whole > 0, np.isin(whole, HEAD) & polygon


@dataclass
class DensePoseMask(TorchStage, MaskStage):
    """Person: every part of everyone. Face: the head's parts within the landmarks' oval.

    `config` is DensePose's own YAML file for the checkpoint, in a copy of detectron2.
    """

    not_in_key = ("model",)

    config: str | None = None
    model: str | None = None
    least_score: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_number("mask.least_score", self.least_score, 0, 1)
        self.model = str(place("densepose", self.model))
        self.config = str(Path(self.config).absolute()) if self.config else None

    def parameters(self) -> JsonObject:
        return {**super().parameters(), "config": sha256_of(Path(str(self.config)))}

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("densepose",)

    def weights(self) -> dict[str, str]:
        return {"densepose": sha256_of(Path(str(self.model)))}

    def check(self) -> None:
        from datagen.weights.tensors import read

        missing = [
            name for name in ("detectron2", "densepose") if importlib.util.find_spec(name) is None
        ]
        if missing:
            raise UserError(
                f"mask=densepose needs {' and '.join(missing)}, not installed here: `{INSTALL}`"
            )
        if self.config is None or not Path(self.config).is_file():
            raise UserError(
                f"mask.config is {self.config}: densepose_rcnn_R_50_FPN_s1x.yaml of detectron2's "
                "projects/DensePose/configs, beside the files that it names, is expected."
            )
        refuse_missing("densepose", Path(str(self.model)), "mask.model")
        read(Path(str(self.model)))

    @cached_property
    def _predictor(self) -> Any:
        from densepose import add_densepose_config
        from detectron2.config import get_cfg
        from detectron2.engine import DefaultPredictor

        from datagen.weights.tensors import read

        cfg = get_cfg()
        add_densepose_config(cfg)
        cfg.merge_from_file(self.config)
        cfg.MODEL.WEIGHTS = ""  # its own loader would run whatever is in a pickle
        cfg.MODEL.DEVICE = "cuda" if self.gpus > 0 else "cpu"
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = self.least_score
        predictor = DefaultPredictor(cfg)
        report = predictor.model.load_state_dict(read(Path(str(self.model))), strict=False)
        wrong = [
            name
            for name in (*report.missing_keys, *report.unexpected_keys)
            if not name.startswith("pixel_")
        ]
        if wrong:
            raise UserError(f"{self.model} does not fit {self.config}: {', '.join(wrong[:3])}.")
        return predictor

    def regions(self, frames: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from densepose.vis.extractor import DensePoseResultExtractor

        found = []
        for rgb, oval in zip(frames, points, strict=True):
            bgr = np.ascontiguousarray(rgb[..., ::-1])  # as detectron2's predictor takes it
            results, boxes = DensePoseResultExtractor()(self._predictor(bgr)["instances"].to("cpu"))
            corners = [(int(x), int(y)) for x, y, *_ in boxes.tolist()] if results else []
            parts = [
                (result.labels.numpy(), corner)
                for result, corner in zip(results or [], corners, strict=True)
            ]
            found.append(regions_of(parts, face_polygon(rgb.shape, oval)))
        person, face = zip(*found, strict=True)
        return np.stack(person), np.stack(face)
