"""Which frames of a clip a sample shows, and what drives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from training.data.index import TWINS

REFERENCES = ("any", "outside")


@dataclass(frozen=True)
class FrameWindow:
    """Frames int64 [f] of a clip, candidates for the reference in order of preference, and what
    drives: target, swapped or styled.
    """

    frames: np.ndarray
    references: np.ndarray
    twin: str


@dataclass(frozen=True)
class WindowSampler:
    """Draws windows uniformly over a clip. The reference is `any` frame, also drawn uniformly, or
    where possible one `outside` the window.
    """

    frames: int = 12
    stride: int = 2
    reference: str = "any"
    twin_probability: float = 0.5
    twins: tuple[str, ...] = tuple(TWINS)

    def mistakes(self) -> Iterator[str]:
        """One phrase for each mistake in the options."""
        for name in ("frames", "stride"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                yield f"{name} is {value!r}, a whole number from 1 is expected"
        share = self.twin_probability
        if type(share) not in (int, float) or not 0 <= share <= 1:
            yield f"twin_probability is {share!r}, a number from 0 to 1 is expected"
        if self.reference not in REFERENCES:
            yield f"reference is {self.reference!r}, {' or '.join(REFERENCES)} is expected"
        if not set(self.twins) <= set(TWINS) or len(set(self.twins)) < len(self.twins):
            yield f"twins is {list(self.twins)}, some of {', '.join(TWINS)} are expected"
        elif self.twin_probability and not self.twins:
            yield f"twin_probability is {self.twin_probability}, but twins is empty"

    def draw(self, count: int, present: list[str], generator: torch.Generator) -> FrameWindow:
        """A window of a clip of `count` frames, at least as many as a window has. `present` names
        the twins that the clip has.

        A clip too short for the stride gets the largest stride that fits (official: count //
        frames).
        """
        stride = min(self.stride, (count - 1) // max(self.frames - 1, 1)) if self.frames > 1 else 1
        start = _below(count - (self.frames - 1) * stride, generator)
        frames = start + stride * np.arange(self.frames)
        references = torch.randperm(count, generator=generator).numpy()
        if self.reference == "outside":
            inside = (references >= frames[0]) & (references <= frames[-1])
            references = np.concatenate([references[~inside], references[inside]])
        return FrameWindow(frames, references, self._twin(present, generator))

    def _twin(self, present: list[str], generator: torch.Generator) -> str:
        share = float(torch.rand((), generator=generator))
        twins = [twin for twin in self.twins if twin in present]
        number = _below(max(len(twins), 1), generator)
        return twins[number] if twins and share < self.twin_probability else "target"


def _below(count: int, generator: torch.Generator) -> int:
    """A whole number from 0 to below `count`."""
    return int(torch.randint(count, (), generator=generator))
