"""A training sample from its shard: decoded, cropped and augmented."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from datagen.core.errors import UserError
from datagen.core.seeds import seed_of
from datagen.vision import geometry
from model.inputs import driving as drive
from model.inputs.driving import Square
from training.data import decode
from training.data import face_shape as donor
from training.data.augment import AppliedAugmentation, Augmentation
from training.data.batch import Batch, to_floats, to_levels
from training.data.decode import Picture, Unreadable
from training.data.face_shape import FaceShape, FaceShapeDonors
from training.data.index import TWINS, ShardIndex
from training.data.record import ClipReader, DecodedClip, FrameCache
from training.data.sampler import SampleOrder
from training.data.window import FrameWindow, WindowSampler

DARK = 5.0  # of 255: mean of a frame that cannot be a reference
REFERENCE_CANDIDATES = 8  # frames that are tried in turn until one is not dark
ATTEMPTS = 16  # unreadable samples in a row that end the training
CROPS = ("clip", "largest")
EXTRAS = ("mask", "landmarks")


class LatentSource(Protocol):
    """Latents and tokens that were computed before."""

    def among(self, references: np.ndarray) -> np.ndarray:
        """The candidates whose tokens are cached; a clip's first frame always is."""
        ...

    def __call__(self, key: str, frames: np.ndarray, reference: int) -> dict[str, Tensor]:
        """Fields of a Batch of one. Raises Unreadable."""
        ...


@dataclass(frozen=True)
class Resolution:
    """Sides in px of a model's frames, its driving frames and its latents."""

    frame: int
    driving: int
    latent: int


@dataclass(frozen=True)
class FrameOptions:
    """How a sample is cropped and which fields it has.

    Crop `clip` takes the whole clip, `largest` the largest square around the middle of all its
    faces (docs/model.md, 6, step 4). Driving frames are grey or in colour.
    """

    resolution: Resolution
    preparation: Any  # CLIP's image processor: a pipeline's feature_extractor
    crop: str = "clip"
    grey: bool = True
    extras: tuple[str, ...] = ()  # of EXTRAS: fields of a Batch that only some losses read


@dataclass
class ClipDataset(Dataset):
    """Maps a position in the endless order to a Batch of one, which depends on nothing else."""

    shards: ShardIndex
    order: SampleOrder
    windows: WindowSampler
    options: FrameOptions
    augmentation: Augmentation
    cache: LatentSource | None = None
    memory: FrameCache | None = None

    def __post_init__(self) -> None:
        self.donors = FaceShapeDonors(self.shards)

    def __getitem__(self, position: int) -> Batch:
        """An unreadable sample is replaced by the next of the same epoch and named in
        `replaced`.
        """
        replaced: list[tuple[str, str]] = []
        for attempt in range(min(ATTEMPTS, self.order.count)):
            index = self.order.sample(position, attempt)
            try:
                return self._drawn(index, position, tuple(replaced))
            except Unreadable as error:
                replaced.append((self.shards.key(index), str(error)))
        examples = "; ".join(f"{key} {reason}" for key, reason in replaced[:3])
        raise UserError(
            f"{len(replaced)} samples after each other cannot be read ({examples}): python "
            "-m datagen.verify --input "
            f"{self.shards.folder} says what is wrong with the shards."
        )

    def sample(
        self,
        index: int,
        window: FrameWindow,
        change: AppliedAugmentation | None = None,
        position: int = -1,
    ) -> Batch:
        """A chosen window of the sample with this number, not augmented by default. Raises
        Unreadable.
        """
        return self._batch(
            index, window, change or Augmentation().draw(torch.Generator()), position, ()
        )

    def generator(self, position: int) -> torch.Generator:
        """The source of all random numbers of a sample."""
        return torch.Generator().manual_seed(seed_of("sample", self.order.seed, position))

    def _drawn(self, index: int, position: int, replaced: tuple[tuple[str, str], ...]) -> Batch:
        generator = self.generator(position)
        window = self.windows.draw(
            int(self.shards.frames[index]), self.shards.twins(index), generator
        )
        if self.cache is not None:
            kept = self.cache.among(window.references)
            window = replace(window, references=kept if len(kept) else np.zeros(1, np.int64))
        return self._batch(index, window, self.augmentation.draw(generator), position, replaced)

    def _batch(
        self,
        index: int,
        window: FrameWindow,
        change: AppliedAugmentation,
        position: int,
        replaced: tuple[tuple[str, str], ...],
    ) -> Batch:
        key = self.shards.key(index)
        fields = [
            "mp4",
            "mask.mp4",
            "faces.npz",
            *([TWINS[window.twin]] if window.twin != "target" else []),
        ]
        clip = self._clip(index, fields)
        reader = _Reader(self.options, clip, window, self.donors(index, clip.faces, change.donor))
        shown = reader.changed(change)
        frames, reference = window.frames, reader.reference
        return Batch(
            keys=(key,),
            twins=(window.twin,),
            positions=torch.tensor([position]),
            frames=torch.from_numpy(frames)[None],
            reference_frames=torch.tensor([reference]),
            replaced=replaced,
            **{name: tensor[None] for name, tensor in shown.items()},
            **(self.cache(key, frames, reference) if self.cache else {}),
        )

    def _clip(self, index: int, fields: list[str]) -> ClipReader | DecodedClip:
        if self.memory is not None and index in self.memory.clips:
            return self.memory.clips[index]
        clip = ClipReader(int(self.shards.frames[index]), self.shards.read(index, fields))
        if self.memory is None:
            return clip
        every = [
            "mp4",
            "mask.mp4",
            "faces.npz",
            *(TWINS[twin] for twin in self.shards.twins(index)),
        ]
        return self.memory.add(index, clip, lambda: self.shards.read(index, every))


class _Reader:
    """Decodes one sample and crops it."""

    def __init__(
        self,
        options: FrameOptions,
        clip: ClipReader | DecodedClip,
        window: FrameWindow,
        shapes: tuple[FaceShape, FaceShape] | None = None,
    ):
        self.options, self.clip, self.window, self.shapes = options, clip, window, shapes
        self.faces = clip.faces
        self.reference, self.target = self._target()
        self.part = self._part()

    def changed(self, change: AppliedAugmentation) -> dict[str, Tensor]:
        """The fields of a Batch that hold frames or points, without the batch dimension."""
        side, latent = self.options.resolution.frame, self.options.resolution.latent
        cut = self._cut([self.target[i] for i in self.window.frames.tolist()], side)
        reference = change.pictures(self._cut([self.target[self.reference]], side))[0]
        extras = self.options.extras
        window = self.window.frames.tolist() if "mask" in extras else []
        levels = change.levels(self._levels([*window, self.reference]))
        background = (levels[-1] == 0).to(torch.uint8)
        return {
            "target": change.pictures(cut).transpose(0, 1),
            "reference": reference,
            "driving": self._driving(change, cut).transpose(0, 1),
            "background": F.interpolate(
                background[None, None].float(), (latent, latent), mode="nearest"
            )[0],
            "clip_pixels": self._clip_pixels(reference, background),
            **({"mask": levels[:-1]} if "mask" in extras else {}),
            **({"landmarks": self._landmarks(change)} if "landmarks" in extras else {}),
        }

    def _landmarks(self, change: AppliedAugmentation) -> Tensor:
        side = self.options.resolution.frame
        points = self.part.crop_points(self.faces.landmarks[self.window.frames], side)
        return torch.from_numpy(change.landmarks(points, side)).float()

    def _target(self) -> tuple[int, dict[int, Picture]]:
        """The reference's frame number, and the decoded frames of the target: mostly one pass."""
        candidates = self.window.references[:REFERENCE_CANDIDATES].tolist()
        frames = [*self.window.frames.tolist(), candidates[0]]
        found = self.clip.decode_frames("mp4", frames)
        for frame in candidates:
            picture = found.get(frame) or self.clip.decode_frames("mp4", [frame])[frame]
            if decode.rgb([picture], 32).mean() > DARK:
                return frame, found | {frame: picture}
        raise Unreadable(f"mp4 is dark in {len(candidates)} frames of {len(candidates)}")

    def _part(self) -> Square:
        width = self.target[self.reference].width
        if self.options.crop == "clip":
            return Square(0, 0, width)
        frames = [*self.window.frames.tolist(), self.reference]
        return drive.square(self.faces.boxes[frames], (width, width))

    def _cut(self, shown: list[Picture], side: int) -> Tensor:
        """uint8 [n, 3, side, side]. A whole frame is scaled while it is decoded."""
        if self.options.crop == "clip":
            return torch.from_numpy(decode.rgb(shown, side)).permute(0, 3, 1, 2)
        whole = torch.from_numpy(decode.rgb(shown, shown[0].width)).permute(0, 3, 1, 2)
        return drive.cropped(whole, self.part, side)

    def _levels(self, frames: list[int]) -> Tensor:
        """The mask, uint8 [n, S, S], of these frames."""
        found = self.clip.decode_frames("mask.mp4", frames)
        shown, part = [found[frame] for frame in frames], self.part
        return torch.from_numpy(
            decode.levels(shown, self.options.resolution.frame, (part.left, part.top, part.side))
        )

    def _driving(self, change: AppliedAugmentation, target: Tensor) -> Tensor:
        """uint8 [f, 1 or 3, D, D]: the face alone, by the target's boxes, frame by frame."""
        side, window = self.options.resolution.driving, self.window.frames
        boxes, driver = self.faces.boxes[window], self._driver(target)
        if self.shapes:
            own, other = self.shapes
            points = self.faces.landmarks[window]
            lent = own.lent(points, self.faces.head[window], other)
            boxes = boxes + geometry.box(lent) - geometry.box(points)
            before, after = (self.part.crop_points(each, side) for each in (points, lent))
            driver = to_levels(donor.moved(to_floats(driver), before, after))
        return change.driving(driver, self.part.crop_points(boxes, side), self.options.grey)

    def _driver(self, target: Tensor) -> Tensor:
        """uint8 [f, 3, D, D] of the video that drives; the `target` frames are reused where they
        are the same.
        """
        side, twin = self.options.resolution.driving, self.window.twin
        if twin == "target" and side == target.shape[-1]:
            return target
        frames = self.window.frames.tolist()
        found = self.target if twin == "target" else self.clip.decode_frames(TWINS[twin], frames)
        return self._cut([found[i] for i in frames], side)

    def _clip_pixels(self, reference: Tensor, background: Tensor) -> Tensor:
        """[3, c, c]: the reference without the person, prepared as in model.background."""
        rgb = cv2.merge(list((reference * background).numpy()))
        return self.options.preparation(images=[rgb], return_tensors="pt").pixel_values[0]
