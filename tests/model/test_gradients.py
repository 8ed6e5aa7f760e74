"""One animator, many ways to run it: the same noise and the same gradients."""

from __future__ import annotations

import copy
import socket
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from model.animator import Animator
from tests.model import parts


@pytest.fixture(scope="module")
def animator() -> Animator:
    return copy.deepcopy(parts.tiny().animator).train()


@pytest.fixture(scope="module")
def expected(animator) -> dict[str, Tensor]:
    return parts.gradients(animator)


def test_every_parameter_has_a_gradient(animator, expected):
    missing = {name for name, _ in animator.named_parameters()} - expected.keys()
    assert not missing
    assert all(gradient.abs().max() > 0 for gradient in expected.values())


def test_gradients_are_those_of_finite_differences(animator):
    """In float64, along random directions of each part."""
    exact = copy.deepcopy(animator).double()

    def value() -> float:
        with torch.no_grad():
            return float(_double_loss(exact))

    exact.zero_grad()
    _double_loss(exact).backward()
    for part in exact.children():
        draw = torch.Generator().manual_seed(3)
        ways = [
            torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in part.parameters()
        ]
        slope = sum(
            float((way * p.grad).sum()) for way, p in zip(ways, part.parameters(), strict=True)
        )
        sides = []
        for sign in (1, -2):
            with torch.no_grad():
                for way, p in zip(ways, part.parameters(), strict=True):
                    p += sign * 1e-6 * way
            sides.append(value())
        with torch.no_grad():
            for way, p in zip(ways, part.parameters(), strict=True):
                p += 1e-6 * way
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(slope, rel=1e-4), type(part).__name__


def _double_loss(exact: Animator) -> Tensor:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return parts.loss(exact, 1)
    finally:
        torch.set_default_dtype(before)


def test_gradients_with_checkpointing_are_the_same(animator, expected):
    saving = copy.deepcopy(animator)
    for network in (saving.unet, saving.reference_net):
        network.enable_gradient_checkpointing()
    assert parts.worst(parts.gradients(saving), expected) < 1e-5


def test_checkpointing_keeps_less(animator):
    kept = {}
    for saves in (False, True):
        model = copy.deepcopy(animator)
        if saves:
            model.unet.enable_gradient_checkpointing()
        sizes: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=sizes: s.update({t.data_ptr(): t.nbytes}) or t, _same
        ):
            parts.loss(model, 2)
        kept[saves] = sum(sizes.values())
    assert kept[True] < 0.5 * kept[False]


def _same(tensor: Tensor) -> Tensor:
    return tensor


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # torch's own, of its compiler
def test_gradients_under_compile_are_the_same():
    small = copy.deepcopy(parts.tiny().animator)
    expected = parts.gradients(small)
    compiled = torch.compile(small)
    found = {name.removeprefix("_orig_mod."): g for name, g in parts.gradients(compiled).items()}
    assert parts.worst(found, expected) < 1e-5


def test_two_processes_give_the_gradients_of_the_joint_batch(animator, expected, tmp_path):
    """This one and another."""
    torch.save(animator.state_dict(), tmp_path / "weights")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = torch.multiprocessing.get_context("spawn").Process(
        target=_rank, args=(1, port, tmp_path)
    )
    other.start()
    _rank(0, port, tmp_path)
    other.join(60)
    assert other.exitcode == 0
    found = [torch.load(tmp_path / f"gradients{rank}", weights_only=True) for rank in range(2)]
    assert parts.worst(found[0], expected) < 1e-5 and parts.worst(found[1], expected) < 1e-5


def _rank(rank: int, port: int, folder: Path) -> None:
    """One of two processes, each with one clip of the batch."""
    torch.set_num_threads(1)
    limit = timedelta(seconds=120)  # should the other one die
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=limit
    )
    try:
        model = copy.deepcopy(parts.tiny().animator)
        model.load_state_dict(torch.load(folder / "weights", weights_only=True))
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        parts.loss(wrapped, 2, slice(rank, rank + 1)).backward()
        torch.save(
            {name: p.grad for name, p in model.named_parameters()}, folder / f"gradients{rank}"
        )
    finally:
        torch.distributed.destroy_process_group()


@torch.no_grad()
def test_both_halves_of_guidance_are_two_calls(animator):
    noisy, timesteps, driving = parts.clip(2)
    reference = parts.reference(2)
    driven = animator.driven_encoder(driving, reference.picture)
    features = animator.features(timesteps, reference)
    call = animator.denoise(noisy, timesteps, features, driven, reference)
    without = animator.denoise(noisy, timesteps, (), driven, reference)
    assert parts.error(without, call) > 0.003  # the reference is heard
    guided = animator.guided(noisy, timesteps, features, driven, reference, 4.5)
    assert parts.error(guided, without + 4.5 * (call - without)) < 1e-5
    assert torch.equal(animator.guided(noisy, timesteps, features, driven, reference, 1.0), call)


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix(animator):
    together = animator(*parts.clip(2), parts.reference(2))
    for row in range(2):
        one = [part[row : row + 1] for part in parts.clip(2)]
        alone = animator(
            *one,
            type(parts.reference(1))(
                *(p[row : row + 1] for p in vars(parts.reference(2)).values())
            ),
        )
        assert parts.error(alone[0], together[row]) < 1e-5


@torch.no_grad()
def test_nothing_is_remembered_between_calls(animator):
    first = animator(*parts.clip(1), parts.reference(1))
    animator(*parts.clip(2, frames=5, seed=5), parts.reference(2, seed=6))
    assert torch.equal(animator(*parts.clip(1), parts.reference(1)), first)


@torch.no_grad()
def test_half_precision_stays_close(animator):
    full = animator(*parts.clip(2), parts.reference(2))
    with torch.autocast("cpu", torch.bfloat16):
        half = animator(*parts.clip(2), parts.reference(2))
    assert 1e-5 < parts.error(half, full) < 0.02


@torch.no_grad()
def test_inputs_that_do_not_fit_are_refused(animator):
    noisy, timesteps, driving = parts.clip(2)
    reference = parts.reference(2)
    driven, features = (
        animator.driven_encoder(driving, reference.picture),
        animator.features(timesteps, reference),
    )
    for wrong in (
        features[1:],
        (*features, features[0]),
        tuple(feature[:1] for feature in features),
    ):
        with pytest.raises(ValueError, match="are expected"):
            animator.denoise(noisy, timesteps, wrong, driven, reference)
    with pytest.raises(ValueError, match="33 frames, at most 32"):
        longer = [part.repeat(1, 1, 11, 1, 1) for part in (noisy, driven)]
        animator.denoise(longer[0], timesteps, features, longer[1], reference)
    with pytest.raises(ValueError, match="multiples of 4"):
        animator.driven_encoder(driving[..., 3:], reference.picture)
    with pytest.raises(ValueError, match="64 to 79 are expected"):
        animator.driven_encoder(driving, reference.picture[..., 1:])


def test_clips_without_reference_do_not_look_at_it(animator):
    (noisy, timesteps, driving), reference = parts.clip(3), parts.reference(3)
    with torch.no_grad():
        mixed = animator(noisy, timesteps, driving, reference, (True, False, True))
        looking = animator(noisy, timesteps, driving, reference)
        driven = animator.driven_encoder(driving, reference.picture)
        alone = animator.denoise(noisy, timesteps, (), driven, reference)
    assert parts.error(mixed[1], looking[1]) < 1e-5
    assert (
        parts.error(mixed[[0, 2]], alone[[0, 2]]) < 1e-5
        and parts.error(looking[0], alone[0]) > 1e-3
    )


def test_every_parameter_has_a_gradient_where_no_clip_has_a_reference(animator):
    noisy, timesteps, driving = parts.clip(1)
    animator.zero_grad(set_to_none=True)
    animator(noisy, timesteps, driving, parts.reference(1), (True,)).square().mean().backward()
    assert all(p.grad is not None for p in animator.parameters())
