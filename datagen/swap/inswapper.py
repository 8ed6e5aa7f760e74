"""insightface's INSwapper: another identity, drawn at 128 px and pasted back.  (non-commercial
research only)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datagen.core.errors import UserError
from datagen.engine.network_stage import NetworkStage
from datagen.swap.donors import Donor
from datagen.swap.twin import FrameSwap, SwapFrame
from datagen.vision import geometry
from datagen.vision.faces import Faces
from datagen.vision.insight import (
    Insight,
    bgr,
    first_line,
    five_points,
    identity_of,
    nearest,
    needed,
    quiet,
    session_options,
)
from datagen.weights.place import place, refuse_missing, sha256_of
from datagen.weights.registry import find

EMBEDDING = 512


@dataclass
class InSwapper(NetworkStage, FrameSwap):
    """`model` is the path of inswapper_128.onnx, `faces` a folder with buffalo_l (default: the
    registry's place).

    The face of a frame is the detected one that covers the clip's own face points; where the
    detector misses it, those points say where it is.
    """

    version: ClassVar[int] = 1
    not_in_key: ClassVar[tuple[str, ...]] = ("model", "faces")

    model: str | None = None
    faces: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model = None if self.model is None else str(Path(self.model).absolute())
        self.faces = str(place("buffalo_l", self.faces))

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("buffalo_l", "inswapper")

    def weights(self) -> dict[str, str]:
        own = {"inswapper": sha256_of(self._model), "buffalo_l": identity_of(self._folder)}
        return {**super().weights(), **own}

    def check(self) -> None:
        super().check()
        if self.model is None:
            weight = find("inswapper")
            problem = (
                f"swap=inswapper needs swap.model=PATH of {weight.files[0]} ({weight.size}, "
                f"licence: {weight.licence})"
            )
            raise UserError(
                f"{problem}: it is never fetched, see {weight.page}; or take swap=landmark."
            )
        refuse_missing("inswapper", self._model, "swap.model")
        _load(self._model, self.gpus)
        refuse_missing("buffalo_l", self._folder, "swap.faces")
        Insight(self._folder, self.gpus)

    @property
    def _model(self) -> Path:
        return Path(str(self.model))

    @property
    def _folder(self) -> Path:
        return Path(str(self.faces))

    @cached_property
    def _insight(self) -> Insight:
        return Insight(self._folder, self.gpus)

    @cached_property
    def _swapper(self) -> Any:
        return _load(self._model, self.gpus)

    @cached_property
    def _identities(self) -> dict[str, Any]:
        return {}

    def swapper(self, donor: Donor, faces: Faces) -> SwapFrame:
        identity, boxes = self._identity(donor), _boxes(faces)
        self._undetected = 0

        def swap(rgb: np.ndarray, index: int) -> np.ndarray | None:
            seen = nearest(self._insight.find(rgb), boxes[index])
            if seen is not None:
                return self._paste(rgb, seen.five, identity)
            self._undetected += 1
            if not faces.found[index]:
                return None
            return self._paste(rgb, five_points(faces.landmarks[index]), identity)

        return swap

    def more(self) -> dict[str, Any]:
        return {"undetected": self._undetected}  # frames in which the detector missed the face

    def _identity(self, donor: Donor) -> Any:
        """insightface's Face of a donor; made once."""
        if donor.sha256 not in self._identities:
            seen = nearest(self._insight.find(donor.rgb), geometry.box(donor.points))
            five = five_points(donor.points) if seen is None else seen.five
            self._identities[donor.sha256] = self._insight.identity(donor.rgb, five)
        return self._identities[donor.sha256]

    def _paste(self, rgb: np.ndarray, five: np.ndarray, identity: Any) -> np.ndarray | None:
        """The frame with the identity at these five points; None where they lie outside."""
        from insightface.app.common import Face

        middle = five.mean(0)
        if not ((middle >= 0) & (middle < rgb.shape[1::-1])).all():
            return None
        with quiet():
            return bgr(self._swapper.get(bgr(rgb), Face(kps=five), identity, paste_back=True))


def _boxes(faces: Faces) -> np.ndarray:
    """The face's box in every frame, float32 [T, 4]; where it is unknown, between those before and
    after.
    """
    shown, every = np.flatnonzero(faces.found), np.arange(len(faces.found))
    return np.stack(
        [np.interp(every, shown, side) for side in faces.boxes[shown].T], axis=1
    ).astype(np.float32)


def _load(path: Path, gpus: float) -> Any:
    """insightface's INSwapper of an ONNX file."""
    zoo, options = needed("insightface.model_zoo"), session_options(gpus)
    try:
        with quiet():
            made = zoo.get_model(str(path), **options)
    except Exception as error:  # ONNX Runtime and insightface have many
        problem = f"insightface cannot load {path} ({first_line(error)})"
        raise UserError(f"{problem}: swap.model is the path of inswapper_128.onnx.") from None
    kind, emap = type(made).__name__, getattr(made, "emap", np.empty(0)).shape
    if kind != "INSwapper" or emap != (EMBEDDING, EMBEDDING):
        problem = f"{path} is {kind} with a last table of {emap} to insightface"
        raise UserError(
            f"{problem}, an INSwapper with one of {(EMBEDDING, EMBEDDING)} is expected: "
            "give inswapper_128.onnx."
        )
    return made
