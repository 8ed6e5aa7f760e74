"""What the model's tests share: the tiny preset, inputs for it, the official networks of the golden
files.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from model.animator import Animator, Reference
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY.parent / "shared" / "reference" / "golden"
CHANNELS = 28  # of the tiny preset's latents


def load(file: str) -> dict[str, Tensor]:
    """A golden file; skips where the project's reference data does not lie beside the checkout."""
    from safetensors.torch import load_file

    path = GOLDEN / file
    if not path.exists():
        pytest.skip("the golden tensors in ../shared/reference are not here")
    return load_file(path)


def error(found: Tensor, expected: Tensor) -> float:
    """Relative L2 error."""
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@cache
def tiny():
    """The tiny preset with random weights, its zero-initialised layers random too, so that every
    path matters.
    """
    torch.manual_seed(0)
    preset = OmegaConf.load(REPOSITORY / "conf" / "model" / "tiny.yaml")
    pipeline = instantiate(preset, _convert_="all")
    for module in pipeline.animator.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    return pipeline


def reference(batch: int, seed: int = 0, side: int = 64) -> Reference:
    """Random references for the tiny preset."""
    draw = torch.Generator().manual_seed(seed)
    return Reference(
        picture=torch.rand(batch, 3, side, side, generator=draw),
        latents=torch.randn(batch, CHANNELS, side // 4, side // 4, generator=draw),
        sample=torch.randn(batch, CHANNELS, side // 4, side // 4, generator=draw),
        background=(torch.rand(batch, 1, side // 4, side // 4, generator=draw) > 0.5).float(),
        tokens=torch.randn(batch, 17, 32, generator=draw),
    )


def clip(batch: int, frames: int = 3, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy latents, timesteps, driving frames) for the tiny preset."""
    draw = torch.Generator().manual_seed(seed)
    noisy = torch.randn(batch, CHANNELS, frames, 16, 16, generator=draw)
    timesteps = torch.randint(0, 1000, (batch,), generator=draw)
    return noisy, timesteps, torch.rand(batch, 3, frames, 64, 64, generator=draw)


def gradients(animator: Animator, batch: int = 2) -> dict[str, Tensor]:
    """Of a loss in which every output counts differently, by parameter; then none are left
    behind.
    """
    animator.zero_grad(set_to_none=True)
    loss(animator, batch).backward()
    found = {name: p.grad.clone() for name, p in animator.named_parameters() if p.grad is not None}
    animator.zero_grad(set_to_none=True)
    return found


def loss(animator: nn.Module, batch: int, rows: slice = slice(None)) -> Tensor:
    """Mean over the batch's `rows`."""
    noisy, timesteps, driving = clip(batch)
    weights = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(9))
    chosen = Reference(*(part[rows] for part in vars(reference(batch)).values()))
    noise = animator(noisy[rows], timesteps[rows], driving[rows], chosen)
    return (noise * weights[rows]).flatten(1).mean(1).mean()


def worst(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative error; all names alike."""
    assert found.keys() == expected.keys()
    largest = max(float(g.norm()) for g in expected.values())
    return max(
        float((found[n] - g).norm() / max(float(g.norm()), 1e-4 * largest))
        for n, g in expected.items()
    )
