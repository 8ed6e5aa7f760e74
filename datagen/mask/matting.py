"""The person by a segmentation network of transformers, such as SegFormer, in a local folder.

No alpha, in spite of its name: mask.mp4 has three levels. Only architectures that transformers has
itself: a model that brings its own code (BiRefNet, MODNet) is refused, because that code would be
run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen.core.device import at_once, device
from datagen.core.errors import UserError
from datagen.core.options import refuse_count
from datagen.engine.network_stage import TorchStage
from datagen.mask.stage import MaskStage
from datagen.vision.regions import face_polygon
from datagen.weights.place import place, refuse_missing, sha256_of

MEAN, DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of RGB within 0 to 1, where the folder names none
SIDE = 512  # px, the same


@dataclass
class MattingMask(TorchStage, MaskStage):
    """Person: the pixels whose likeliest label is in `labels`. Face: the landmarks' oval."""

    not_in_key = ("model", "batch")

    model: str | None = None
    labels: Sequence[str] = ("person",)
    batch: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_count("mask.batch", self.batch, 1)
        self.model = str(place("segformer", self.model))
        self.labels = (self.labels,) if isinstance(self.labels, str) else tuple(self.labels)

    @property
    def at_once(self) -> int:
        return at_once(self.gpus, self.batch)

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("segformer",)

    def weights(self) -> dict[str, str]:
        name = "segformer" if self._folder == place("segformer") else f"matting {self._folder.name}"
        return {name: sha256_of(self._folder)}  # another model's licence is not known

    def check(self) -> None:
        refuse_missing("segformer", Path(str(self.model)), "mask.model")
        _ = self._numbers

    @property
    def _folder(self) -> Path:
        return Path(str(self.model))

    @cached_property
    def _numbers(self) -> list[int]:
        """Of the labels that are person."""
        from datagen.weights.tensors import locate, read, read_json

        config = (
            read_json(self._folder / "config.json")
            if (self._folder / "config.json").is_file()
            else {}
        )
        if "auto_map" in config or "model_type" not in config:
            found = (
                "brings code of its own"
                if "auto_map" in config
                else "has no config.json of a model"
            )
            raise UserError(
                f"{self._folder} {found}: a segmentation model that transformers has "
                "itself is expected."
            )
        read(locate(self._folder))
        names = {
            str(name).strip(): int(number) for number, name in config.get("id2label", {}).items()
        }
        unknown = [label for label in self.labels if label not in names]
        if unknown or not self.labels:
            some = ", ".join(list(names)[:12]) or "none"
            raise UserError(
                f"mask.labels {unknown or '(empty)'} are no labels of {self._folder}: it "
                f"has {some} ..."
            )
        return [names[label] for label in self.labels]

    @cached_property
    def _network(self) -> Any:
        from transformers import AutoModelForSemanticSegmentation
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            network, report = AutoModelForSemanticSegmentation.from_pretrained(
                self._folder,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (ValueError, OSError, RuntimeError) as error:
            raise UserError(f"{self._folder}: {' '.join(str(error).split())[:300]}") from error
        if wrong := sorted(name for names in report.values() for name in map(str, names)):
            raise UserError(f"{self._folder} does not fit its config.json: {', '.join(wrong[:3])}.")
        return network.to(device(self.gpus)).float().eval()

    @cached_property
    def _prepared(self) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
        """Width and height px, mean and s.d., as the folder's preprocessor_config.json asks for."""
        from datagen.weights.tensors import read_json

        path = self._folder / "preprocessor_config.json"
        options = read_json(path) if path.is_file() else {}
        size = options.get("size", SIDE)
        size = size if isinstance(size, dict) else {"shortest_edge": size}
        side = int(size.get("shortest_edge", SIDE))
        mean, deviation = (
            options.get(name, ours)
            for name, ours in (("image_mean", MEAN), ("image_std", DEVIATION))
        )
        return (
            (int(size.get("width", side)), int(size.get("height", side))),
            np.array(mean, np.float32),
            np.array(deviation, np.float32),
        )

    def regions(self, frames: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        face = np.stack(
            [face_polygon(rgb.shape, oval) for rgb, oval in zip(frames, points, strict=True)]
        )
        return np.isin(self.parsed(frames), self._numbers), face

    def parsed(self, frames: np.ndarray) -> np.ndarray:
        """Likeliest label int64 [N, H, W] of frames RGB uint8 [N, H, W, 3]."""
        import torch

        size, mean, deviation = self._prepared
        small = np.stack([cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) for rgb in frames])
        inputs = torch.from_numpy((small / np.float32(255) - mean) / deviation).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits = self._network(pixel_values=inputs.to(device(self.gpus)).contiguous()).logits
            whole = torch.nn.functional.interpolate(
                logits, frames.shape[1:3], mode="bilinear", align_corners=False
            )
        return whole.argmax(1).cpu().numpy()
