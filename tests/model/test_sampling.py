"""Windows, and the loop that runs ahead where it can: the same numbers as step after step, in
constant memory.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from model.sampling import DenoisingLoop, windows
from tests.model.parts import GOLDEN


@pytest.mark.parametrize(("frames", "size", "overlap"), [(1, 16, 8), (16, 16, 8), (17, 16, 8), (49, 16, 8), (100, 12, 3), (7, 4, 0)])  # fmt: skip  # noqa: E501
def test_windows_cover_every_frame_and_do_not_wrap(frames, size, overlap):
    plan = windows(frames, size, overlap)
    assert sorted({frame for window in plan for frame in window}) == list(range(frames))
    assert all(window == tuple(range(window[0], window[0] + min(size, frames))) for window in plan)
    starts = [window[0] for window in plan]
    assert starts == sorted(set(starts)) and plan[-1][-1] == frames - 1
    assert all(
        later - earlier <= size - overlap
        for earlier, later in zip(starts, starts[1:], strict=False)
    )


def test_closed_windows_are_the_official_ones():
    path = GOLDEN / "scheduler_and_windows.json"
    if not path.exists():
        pytest.skip("the golden tensors in ../shared/reference are not here")
    cases = json.loads(path.read_text())["context_windows_step0"]
    assert len(cases) == 9
    for case in cases:
        found = windows(case["num_frames"], case["size"], case["overlap"], True, case["stride"])
        assert [list(window) for window in found] == case["windows"], case["num_frames"]


def test_closed_windows_wrap():
    assert windows(10, 4, 2, closed=True)[-1] == (8, 9, 0, 1)


def test_an_overlap_as_large_as_the_window_is_refused():
    with pytest.raises(ValueError, match="the overlap is 16, 0 to 15 is expected"):
        windows(100, 16, 16)


class Toy:
    """A model whose noise depends on window, place and step, and a step that is not linear."""

    def __init__(self) -> None:
        self.most = self.calls = 0

    def predict(self, frames, steps, latents: Tensor) -> Tensor:
        self.calls += 1
        place = torch.arange(latents.shape[2])[:, None, None]
        mix = latents.mean(dim=2, keepdim=True)  # every frame of a window has a say
        at = torch.tensor(steps)[:, None, None, None, None]
        return torch.sin(latents + 0.1 * place + mix) * (1 + at)

    def step(self, noise: Tensor, number: int, latents: Tensor) -> Tensor:
        return latents * 0.9 - torch.tanh(noise) / (number + 1)

    def start(self, frame: int) -> Tensor:
        return torch.randn(
            2, 3, 4, generator=torch.Generator().manual_seed(frame), dtype=torch.float64
        )


def step_after_step(plan, steps: int, frames: int) -> Tensor:
    """The loop as papers write it."""
    toy = Toy()
    x = torch.stack([toy.start(frame) for frame in range(frames)], dim=1)
    for step in range(steps):
        total, count = torch.zeros_like(x), torch.zeros(frames, 1, 1)
        for window in plan:
            total[:, list(window)] += toy.predict([window], [step], x[None][:, :, list(window)])[0]
            count[list(window)] += 1
        x = toy.step(total / count, step, x)
    return x


def loop(toy: Toy, plan, steps: int, batch: int = 1) -> DenoisingLoop:
    return DenoisingLoop(plan, steps, toy.predict, toy.step, toy.start, batch)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", [3, 16, 21, 40])
def test_running_ahead_gives_the_numbers_of_step_after_step(frames, batch, closed):
    plan = windows(frames, 8, 3, closed)
    found = list(loop(Toy(), plan, 5, batch).run())
    assert [frame for frame, _ in found] == list(range(frames))
    torch.testing.assert_close(
        torch.stack([x for _, x in found], dim=1), step_after_step(plan, 5, frames)
    )


def held(frames: int, batch: int) -> tuple[int, int]:
    """(most latents held at once, calls of the model) of a video."""
    toy = Toy()
    run = loop(toy, windows(frames, 8, 4), 6, batch)
    most = 0
    for _ in run.run():
        most = max(
            most,
            sum(len(level.latents) + len(level.noise) + len(level.left) for level in run.levels),
        )
    return most, toy.calls


@pytest.mark.parametrize("batch", [1, 4])
def test_memory_does_not_grow_with_the_video(batch):
    assert held(400, batch)[0] <= held(80, batch)[0]


def test_windows_are_batched():
    windows_and_steps = len(windows(400, 8, 4)) * 6
    assert held(400, 1)[1] == windows_and_steps
    assert held(400, 4)[1] < 0.3 * windows_and_steps
