"""The endless order of training: which sample is at a position, and which rank takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Sampler

from datagen.core.seeds import seed_of


@dataclass(frozen=True)
class SampleOrder:
    """Position p is entry p % count of the permutation of epoch p // count. A permutation depends
    on the seed and the epoch alone.

    With `weights` [count], samples are drawn with replacement instead.
    """

    count: int
    seed: int
    weights: np.ndarray | None = None

    def sample(self, position: int, attempt: int = 0) -> int:
        """Number of the sample at a position. After `attempt` unreadable samples, that of an entry
        further on in the same epoch.
        """
        if self.weights is not None:
            return (self._drawn(position) + attempt) % self.count
        epoch, offset = divmod(position, self.count)
        return int(_permutation(self.count, self.seed, epoch)[(offset + attempt) % self.count])

    def _drawn(self, position: int) -> int:
        generator = torch.Generator().manual_seed(seed_of("resample", self.seed, position))
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        assert self.weights is not None
        total = np.cumsum(self.weights)
        return min(int(np.searchsorted(total, share * total[-1], side="right")), self.count - 1)


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed_of("epoch", seed, epoch))
    return torch.randperm(count, generator=generator).numpy()


def balanced(groups: np.ndarray) -> np.ndarray:
    """Weights [N] that draw every group (int [N]) equally often."""
    return 1.0 / np.bincount(groups)[groups]


class PositionBatchSampler(Sampler[list[int]]):
    """Endless batches of positions for one rank. Micro-step s begins at start + (s * world + rank)
    * batch.

    All ranks together take every position once, so any world size goes on from any position.
    """

    def __init__(self, start: int, batch: int, rank: int = 0, world: int = 1):
        self.start, self.batch, self.rank, self.world = start, batch, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        first = self.start + self.rank * self.batch
        while True:
            yield list(range(first, first + self.batch))
            first += self.world * self.batch
