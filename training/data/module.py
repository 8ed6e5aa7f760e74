"""Batches from shards, for any number of ranks and workers, beginning at any position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datagen.core.errors import UserError
from training.data.augment import Augmentation
from training.data.batch import Batch, joined
from training.data.dataset import CROPS, EXTRAS, ClipDataset, FrameOptions, LatentSource, Resolution
from training.data.index import read_shard_index
from training.data.record import FrameCache
from training.data.sampler import PositionBatchSampler, SampleOrder, balanced
from training.data.window import WindowSampler


class ClipDataModule(LightningDataModule):
    """The endless order of training over the samples of a split. UserError that lists all mistakes
    of the options.

    conf/data/shards.yaml explains the options; `resolution` and `preparation` are the model's. The
    trainer must leave the sampler alone: use_distributed_sampler=False.
    """

    def __init__(
        self,
        input: str,
        resolution: Resolution,
        preparation: Any,
        *,
        seed: int = 0,
        batch: int = 1,
        workers: int = 0,
        prefetch: int = 4,
        split: str = "train",
        subset: str | None = None,
        resample: bool = False,
        balance: str | None = None,
        frames: int = 12,
        stride: int = 2,
        reference: str = "any",
        twin_probability: float = 0.5,
        twins: Sequence[str] = ("swapped", "styled"),
        crop: str = "clip",
        grey: bool = True,
        extras: Sequence[str] = (),
        warp_probability: float = 0.0,
        warp_aspect: Sequence[float] = (0.8, 1.2),
        warp_scale: Sequence[float] = (0.8, 1.2),
        jitter: float = 0.0,
        flip: float = 0.0,
        reshape: float = 0.0,
        reshape_driving: float = 0.0,
        donor_shape: float = 0.0,
        memory_mb: float = 0,
        cache: LatentSource | None = None,
    ):
        super().__init__()
        self.input, self.seed, self.split, self.subset = Path(input), seed, split, subset
        self.batch, self.workers, self.prefetch = batch, workers, prefetch
        self.resample, self.balance, self.cache = resample, balance, cache
        self.windows = WindowSampler(frames, stride, reference, twin_probability, tuple(twins))
        self.options = FrameOptions(resolution, preparation, crop, grey, tuple(extras))
        warps = (warp_probability, tuple(warp_aspect), tuple(warp_scale))
        shapes = (reshape, reshape_driving, donor_shape)
        self.augmentation = Augmentation(*warps, jitter, flip, *shapes)  # type: ignore[arg-type]
        self.memory_mb = memory_mb
        self.position = 0
        self.clips: ClipDataset | None = None
        if mistakes := self._mistakes():
            raise UserError("data: " + "; ".join(mistakes) + ".")

    def setup(self, stage: str | None = None) -> None:
        """Read what is in the shards, once. UserError that names all that is wrong with them."""
        if self.clips is None:
            self.clips = self.dataset(self.split, self.subset)

    def dataset(self, split: str, subset: str | None = None) -> ClipDataset:
        """The samples of any split of these shards, with the same options."""
        found = read_shard_index(self.input, split, self.windows.frames, subset)
        weights = balanced(found.identities) if self.balance else None
        if self.resample and weights is None:
            weights = torch.ones(len(found)).double().numpy()
        order = SampleOrder(len(found), self.seed, weights)
        side = max(self.options.resolution.frame, self.options.resolution.driving)
        memory = FrameCache(self.memory_mb, side) if self.memory_mb else None
        cache = (
            self.cache if split == self.split else None
        )  # others ask for frames that it may not have
        return ClipDataset(
            found, order, self.windows, self.options, self.augmentation, cache, memory
        )

    def start(self, position: int) -> None:
        """Go on with this position: the first sample that training has not seen, whatever workers
        have fetched already.
        """
        self.position = position

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start(state_dict["position"])

    def train_dataloader(self) -> DataLoader:
        """Endless, without a length: this rank's share, from `position` on."""
        self.setup()
        assert self.clips is not None
        rank, world = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return loader(
            self.clips,
            PositionBatchSampler(self.position, self.batch, rank, world),
            self.workers,
            self.prefetch,
        )

    def _mistakes(self) -> list[str]:
        mistakes = [*self.windows.mistakes(), *self.augmentation.mistakes()]
        for name, least in (("batch", 1), ("workers", 0), ("prefetch", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                mistakes.append(f"{name} is {value!r}, a whole number from {least} is expected")
        if not (type(self.memory_mb) in (int, float) and self.memory_mb >= 0):
            mistakes.append(f"memory_mb is {self.memory_mb!r}, a number from 0 is expected")
        elif self.memory_mb and self.options.crop != "clip":
            mistakes.append("memory_mb keeps whole clips: crop=clip is expected")
        if self.options.crop not in CROPS:
            mistakes.append(f"crop is {self.options.crop!r}, {' or '.join(CROPS)} is expected")
        if not set(self.options.extras) <= set(EXTRAS):
            found = list(self.options.extras)
            mistakes.append(f"extras is {found}, some of {', '.join(EXTRAS)} are expected")
        if self.balance not in (None, "identity"):
            mistakes.append(f"balance is {self.balance!r}, identity or null is expected")
        if self.balance and not self.resample:
            mistakes.append(
                "balance is set without resample=true, which it needs: samples are drawn "
                "more than once"
            )
        changes = self.augmentation.needs_pixels() + ["crop"] * (self.options.crop != "clip")
        if self.cache is not None and changes:
            mistakes.append(
                f"cached latents go with whole clips as they are, without {', '.join(changes)}"
            )
        return mistakes


def loader(
    clips: ClipDataset, positions: PositionBatchSampler, workers: int, prefetch: int = 4
) -> DataLoader:
    """Batches of these positions. Each worker uses one thread."""
    return DataLoader(
        clips,
        batch_sampler=positions,
        num_workers=workers,
        collate_fn=_joined,
        worker_init_fn=_one_thread,
        prefetch_factor=prefetch if workers else None,
        pin_memory=torch.cuda.is_available(),
        # it draws a seed for the workers, which must not come from the global state
        generator=torch.Generator(),
    )


def _joined(batches: list[Batch]) -> Batch:
    """A single batch is passed on as it is, which saves copies of 100 MB at 512 px."""
    return batches[0] if len(batches) == 1 else joined(batches)


def _one_thread(worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
