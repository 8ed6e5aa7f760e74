"""From noise to latents, in windows over time: a loop whose memory does not grow with the video.

A window at step s needs only its own frames at noise level s. So the loop does not finish a step
for the whole video before the next one: it always takes the most advanced window whose frames are
ready. The numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Window = tuple[int, ...]


def windows(
    frames: int, size: int = 16, overlap: int = 8, closed: bool = False, stride: int = 1
) -> list[Window]:
    """The frames of each window. The last window is shifted back to end with the video.

    `closed` windows wrap around the end, as the official ones do (docs/model.md, 7). A `stride`
    above 1 adds windows of every 2nd, 4th, ... frame.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"the overlap is {overlap}, 0 to {size - 1} is expected")
    if frames <= size:
        return [tuple(range(frames))]
    if closed:
        most = math.ceil(math.log2(frames / size)) + 1
        steps = [2**i for i in range(min(stride, most))]
        return [w for step in steps for w in _closed(frames, size, overlap, step)]
    starts = [*range(0, frames - size, size - overlap), frames - size]
    return [tuple(range(s, s + size)) for s in starts]


def _closed(frames: int, size: int, overlap: int, step: int) -> list[Window]:
    starts = range(0, frames, size * step - overlap)
    return [tuple((s + k * step) % frames for k in range(size)) for s in starts]


@dataclass
class NoiseLevel:
    """One noise level: latents of the frames that have reached it, and the sums of the predictions
    for them.
    """

    latents: dict[int, Tensor] = field(default_factory=dict)
    noise: dict[int, Tensor] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)  # predictions that a frame still needs
    done: int = 0  # windows that are predicted


@dataclass
class DenoisingLoop:
    """The denoising loop over `plan`, the windows of a video.

    `predict(frames, steps, latents)` gives the noise [n, c, f, h, w] of n windows with these
    frames, steps (from 0) and latents. `step(noise, number, latents)` takes latents to the next
    level. `start(frame)` is the noise [c, h, w] that a frame begins with.
    """

    plan: Sequence[Window]
    steps: int
    predict: Callable[[Sequence[Window], Sequence[int], Tensor], Tensor]
    step: Callable[[Tensor, int, Tensor], Tensor]
    start: Callable[[int], Tensor]
    batch: int = 1  # windows at once
    levels: list[NoiseLevel] = field(init=False)
    overlap_count: dict[int, int] = field(init=False)  # frame -> windows that it is in

    def __post_init__(self) -> None:
        self.levels = [NoiseLevel() for _ in range(self.steps + 1)]
        self.overlap_count = {}
        for frame in (frame for window in self.plan for frame in window):
            self.overlap_count[frame] = self.overlap_count.get(frame, 0) + 1

    def run(self) -> Iterator[tuple[int, Tensor]]:
        """(frame, latents [c, h, w]) in the order of the video."""
        finished, following = self.levels[-1].latents, 0
        while following < len(self.overlap_count):
            self._advance(self._ready())
            while following in finished:
                yield following, finished.pop(following)
                following += 1

    def _ready(self) -> list[tuple[int, int]]:
        """(step, window) of up to `batch` windows whose frames are ready, most advanced first."""
        found: list[tuple[int, int]] = []
        for step in reversed(range(self.steps)):
            level = self.levels[step]
            for number in range(level.done, len(self.plan)):
                if step and not all(frame in level.latents for frame in self.plan[number]):
                    break
                found.append((step, number))
                if len(found) == self.batch:
                    return found
        return found

    def _advance(self, chosen: Sequence[tuple[int, int]]) -> None:
        frames = [self.plan[number] for _, number in chosen]
        latents = torch.stack([self._window(step, self.plan[number]) for step, number in chosen])
        noises = self.predict(frames, [step for step, _ in chosen], latents)
        for (step, number), noise in zip(chosen, noises, strict=True):
            self.levels[step].done += 1
            self._accumulate(step, self.plan[number], noise)

    def _window(self, step: int, window: Window) -> Tensor:
        """Latents [c, f, h, w] of a window."""
        here = self.levels[step].latents
        if step == 0:
            here |= {frame: self.start(frame) for frame in window if frame not in here}
        return torch.stack([here[frame] for frame in window], dim=1)

    def _accumulate(self, step: int, window: Window, noise: Tensor) -> None:
        """Add a window's prediction. A frame with all its predictions goes to the next level."""
        level = self.levels[step]
        for index, frame in enumerate(window):
            own = noise[:, index]
            level.noise[frame] = level.noise[frame] + own if frame in level.noise else own
            level.left[frame] = level.left.get(frame, self.overlap_count[frame]) - 1
            if level.left[frame] == 0:
                del level.left[frame]
                mean = level.noise.pop(frame) / self.overlap_count[frame]
                self.levels[step + 1].latents[frame] = self.step(
                    mean, step, level.latents.pop(frame)
                )
