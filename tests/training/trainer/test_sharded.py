"""What is right where FSDP has shared the weights out over two processes."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.training import fits
from training.optim.ema import whole
from training.optim.optimizer import groups, vectors
from training.trainer.callbacks import GradientClipping


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))


def clip(rank: int) -> torch.Tensor:
    return torch.full((2, 4), float(rank + 1))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    """What each rank says."""
    folder, port = tmp_path_factory.mktemp("sharded"), fits.free_port()
    context = fits.server()
    processes = [
        context.Process(target=rank_of_two, args=(rank, port, folder)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def rank_of_two(rank: int, port: int, folder: Path) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = small()
    flat = vectors(model)
    wrapped = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    wrapped(clip(rank)).square().sum().backward()
    own = [p for p in wrapped.parameters() if p.grad is not None]
    norm = GradientClipping(1e9)._clipped(SimpleNamespace(model=wrapped), own)  # type: ignore[arg-type]
    sizes = [sum(p.numel() for p in group["params"]) for group in groups(model, without_decay=flat)]
    with whole(wrapped):
        weights = copy.deepcopy({name: p.detach() for name, p in model.named_parameters()})
    torch.save({"norm": norm, "sizes": sizes, "weights": weights}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_the_norm_is_that_of_all_gradients(found):
    model = small()
    (sum(model(clip(rank)).square().sum() for rank in range(2)) / 2).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert [rank["norm"].item() for rank in found] == pytest.approx([norm.item()] * 2, rel=1e-5)


def test_matrices_decay_and_vectors_do_not_though_all_are_vectors(found):
    sizes = [sum(sizes) for sizes in zip(*(rank["sizes"] for rank in found), strict=True)]
    assert sizes == [4 * 8 + 8 * 3, 8 + 8 + 8 + 3]


def test_all_weights_are_there_to_be_shown_and_saved(found):
    expected = dict(small().named_parameters())
    for rank in found:
        assert not list(fits.differences(rank["weights"], expected, fits.bits_differ))
