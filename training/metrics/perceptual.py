"""LPIPS v0.1 with AlexNet (Zhang et al. 2018), where its weights exist; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BACKBONE = "alexnet-owt-7be5be79.pth"  # torchvision's file, in torch.hub's folder of checkpoints
LAYERS = (
    (0, 4, 2),
    (3, 1, 2),
    (6, 1, 1),
    (8, 1, 1),
    (10, 1, 1),
)  # number in `features`, stride, padding
POOLED = (3, 6)  # layers with a 3x3 maximum of stride 2 before them
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
AT_ONCE = 16


class Lpips:
    """Mean over frames; 0 is equal."""

    def __init__(self, backbone: dict[str, Tensor], heads: dict[str, Tensor]):
        self.backbone, self.heads = backbone, heads

    @classmethod
    def here(cls, folder: Path | None = None) -> Lpips | str:
        """The measure, or the reason why there is none."""
        path = (folder or Path(torch.hub.get_dir()) / "checkpoints") / BACKBONE
        if not path.is_file():
            return (
                f"no {BACKBONE} (torchvision's AlexNet) in {path.parent.name}: fetch it "
                "there for LPIPS"
            )
        import torchmetrics

        heads = (
            Path(torchmetrics.__file__).parent
            / "functional"
            / "image"
            / "lpips_models"
            / "alex.pth"
        )
        return cls(
            *(torch.load(each, map_location="cpu", weights_only=True) for each in (path, heads))
        )

    @torch.no_grad()
    def __call__(self, output: np.ndarray, truth: np.ndarray) -> float:
        """Of RGB uint8 [f, S, S, 3]; inputs are scaled to [-1, 1]."""
        parts = range(0, len(output), AT_ONCE)
        rows = [
            self._distance(_scaled(output[i : i + AT_ONCE]), _scaled(truth[i : i + AT_ONCE]))
            for i in parts
        ]
        return float(torch.cat(rows).mean())

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(x))
        for level, (number, stride, padding) in enumerate(LAYERS):
            x, y = (self._layer(each, number, stride, padding) for each in (x, y))
            weights = self.heads[f"lin{level}.model.1.weight"]
            total += F.conv2d((_normed(x) - _normed(y)) ** 2, weights).mean((1, 2, 3))
        return total

    def _layer(self, x: Tensor, number: int, stride: int, padding: int) -> Tensor:
        x = F.max_pool2d(x, 3, 2) if number in POOLED else x
        weight, bias = (self.backbone[f"features.{number}.{name}"] for name in ("weight", "bias"))
        return F.relu(F.conv2d(x, weight, bias, stride, padding))


def _scaled(pictures: np.ndarray) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return (x - torch.tensor(SHIFT)[:, None, None]) / torch.tensor(SCALE)[:, None, None]


def _normed(x: Tensor) -> Tensor:
    return x / (x.norm(dim=1, keepdim=True) + 1e-10)
