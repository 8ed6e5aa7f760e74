"""Face and person by FaRL's face parsing, in the TorchScript files that facer publishes.

The two networks have labels of their own, in orders of their own, and see the face in frames of
their own. A TorchScript file is a program: PyTorch runs what is in it. Take it from its publisher
alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datagen.core.device import at_once, device
from datagen.core.errors import UserError
from datagen.core.options import refuse_count
from datagen.engine.network_stage import TorchStage
from datagen.mask.align import HeadFrame, celebm, lapa
from datagen.mask.polygon import PolygonMask
from datagen.weights.place import place, refuse_missing, sha256_of

if TYPE_CHECKING:
    import torch

# fmt: off
# as published: facer, pretrain_settings; rb and lb are brows, re and le eyes, rr and lr ears, of
# the person
LABELS = {
    "lapa": ("background", "face", "rb", "lb", "re", "le", "nose", "ulip", "imouth", "llip",
    "hair"),
    "celebm": (
        "background", "neck", "face", "cloth", "rr", "lr", "rb", "lb", "re", "le", "nose", "imouth",
        "llip", "ulip",
        "hair", "eyeg", "hat", "earr", "neck_l",
    ),
}
# fmt: on
FACE = frozenset(
    ("face", "rb", "lb", "re", "le", "nose", "ulip", "imouth", "llip", "eyeg")
)  # else person
FRAMES = {"lapa": lapa, "celebm": celebm}


@dataclass
class FarlMask(TorchStage, PolygonMask):
    """Face: skin, brows, eyes, nose, lips, mouth, glasses. Person: what else FaRL names (hair,
    ears, neck, clothes, hat), and MediaPipe's person, because FaRL was never shown a body.

    `labels` is lapa (11, the whole picture) or celebm (19, the head's surroundings).
    """

    not_in_key = ("model", "batch")

    labels: str = "celebm"
    model: str | None = None
    batch: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels not in LABELS:
            raise UserError(f"mask.labels is {self.labels!r}: {' or '.join(LABELS)} is expected.")
        refuse_count("mask.batch", self.batch, 1)
        self.model = str(place(self._weight, self.model))

    @property
    def _weight(self) -> str:
        return f"farl_{self.labels}"

    @property
    def at_once(self) -> int:
        return at_once(self.gpus, self.batch)

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return (f"farl_{options['labels']}",)

    def weights(self) -> dict[str, str]:
        return {**super().weights(), self._weight: sha256_of(Path(str(self.model)))}

    def check(self) -> None:
        from datagen.weights.tensors import refuse_no_script

        refuse_missing(self._weight, Path(str(self.model)), "mask.model")
        refuse_no_script(Path(str(self.model)))

    @cached_property
    def _parser(self) -> torch.jit.ScriptModule:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the files are what they are
            return torch.jit.load(str(self.model), map_location=device(self.gpus)).eval()

    def regions(self, frames: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        person, face = (
            np.stack([self.person(rgb) for rgb in frames]),
            np.zeros(frames.shape[:3], bool),
        )
        shown = ~np.isnan(points).any((1, 2))
        if shown.any():
            labels = self.parsed(frames[shown], points[shown])
            person[shown] |= labels > 0
            face[shown] = np.isin(
                labels, [n for n, name in enumerate(LABELS[self.labels]) if name in FACE]
            )
        return person, face

    def parsed(self, frames: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Labels uint8 [N, H, W] of frames RGB uint8 [N, H, W, 3] and points [N, 478, 3] px."""
        import torch

        where = device(self.gpus)
        views = [FRAMES[self.labels](shape) for shape in points]
        height, width = frames.shape[1:3]
        into = torch.from_numpy(np.stack([view.into(height, width) for view in views])).to(where)
        back = torch.from_numpy(np.stack([view.back(height, width) for view in views])).to(where)
        pictures = torch.from_numpy(frames).to(where).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            logits = self._logits(
                torch.nn.functional.grid_sample(pictures, into, align_corners=False)
            )
            whole = torch.nn.functional.grid_sample(logits, back, align_corners=False)
        outside = (back.abs() > 1).any(-1)  # zeros there would be a draw between all labels
        return whole.argmax(1).masked_fill(outside, 0).to(torch.uint8).cpu().numpy()

    def _logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """[N, labels, S, S] of RGB pictures within 0 to 1 [N, 3, S, S]; the network knows its own
        mean and s.d.
        """
        output = self._parser(pictures)
        logits, names = (
            output[0] if isinstance(output, tuple | list) else output,
            LABELS[self.labels],
        )
        if logits.ndim != 4 or logits.shape[1] != len(names):
            raise UserError(
                f"{self.model} gives {list(logits.shape[1:])} for a picture, "
                f"{len(names)} labels are expected of "
                f"farl/{self.labels}/{HeadFrame.SIDE}: choose mask.labels to fit the file."
            )
        return logits
