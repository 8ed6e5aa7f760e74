"""Fills a cache shard by shard: an interrupted run continues with the next shard."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datagen.core.errors import UserError
from datagen.core.files import clear_parts, file_sha256, write_atomically
from datagen.core.json import JsonObject
from datagen.shards.index import SPLITS
from datagen.shards.index import read_index as read_shards
from model.background import BackgroundTokens
from model.build import instantiate, skeleton
from model.folder import load
from model.latents import Latents
from training.cache.format import FORMAT, digest, read_index
from training.cache.tensors import write
from training.data.augment import Augmentation
from training.data.batch import Batch, to_floats
from training.data.dataset import REFERENCE_CANDIDATES, ClipDataset, FrameOptions, Resolution
from training.data.decode import Unreadable
from training.data.index import read_shard_index
from training.data.sampler import SampleOrder
from training.data.window import FrameWindow, WindowSampler


@dataclass(frozen=True)
class CacheEncoders:
    """The frozen parts of a model on their device, and what they take."""

    latents: Latents
    background: BackgroundTokens
    options: FrameOptions
    digest: str
    device: torch.device

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Latents [f, c, h, h] and tokens [n, d] of a batch of one."""
        dtype = self.background.image_encoder.dtype
        pictures = to_floats(batch.target.to(self.device))[0].transpose(0, 1).to(dtype)
        return self.latents.mean(pictures), self.background.encode(
            batch.clip_pixels.to(self.device)
        )[0]


def fill(cfg: DictConfig) -> int:
    """Exit code 0. Samples that cannot be read are reported and left out."""
    source, folder = Path(str(cfg.input)), Path(str(cfg.output))
    _refuse_options(cfg)
    shards, encoders = read_shards(source), _cache_encoders(cfg)
    index = _begun(cfg, folder, encoders)
    clear_parts(folder)
    for split in SPLITS:
        if any(entry["split"] == split for entry in shards["shards"]):
            clips = _clipset(source, split, encoders.options)
            _fill_split(
                cfg, clips, encoders, [e for e in shards["shards"] if e["split"] == split], index
            )
    count, size = (sum(entry[name] for entry in index["shards"]) for name in ("samples", "bytes"))
    print(f"{folder}: {count} samples in {len(index['shards'])} shards, {size / 1e6:.0f} MB.")
    return 0


def _fill_split(
    cfg: DictConfig,
    clips: ClipDataset,
    encoders: CacheEncoders,
    entries: list[JsonObject],
    index: JsonObject,
) -> None:
    """One shard at a time; the index is written after each."""
    folder, known = Path(str(cfg.output)), {e["file"]: e for e in index["shards"]}
    for number, entry in enumerate(entries):
        old = known.get(entry["file"])
        if old and old["source"] == entry["sha256"] and _stands(folder / old["file"], old):
            continue
        path = folder / entry["file"]
        where = np.flatnonzero(clips.shards.shard == number).tolist()
        keys = write(path, _samples(cfg, clips, encoders, where))
        made = {"file": entry["file"], "source": entry["sha256"], "samples": len(keys)}
        known[entry["file"]] = made | {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        index["shards"] = [known[name] for name in sorted(known)]
        write_atomically(
            folder / "index.json", json.dumps(index, indent=1, sort_keys=True).encode()
        )
        print(f"{entry['file']}: {len(keys)} of {len(where)} samples", file=sys.stderr)


def _samples(
    cfg: DictConfig, clips: ClipDataset, encoders: CacheEncoders, where: list[int]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """A frame that is too dark for a reference has the tokens of another one, which are never
    used.
    """
    chunks = FrameChunks(
        clips,
        [(index, start) for index in where for start in _starts(clips, index, cfg.tokens_every)],
        cfg.tokens_every,
    )
    loader = DataLoader(
        chunks, batch_size=None, num_workers=cfg.workers, generator=torch.Generator()
    )
    for index, group in itertools.groupby(
        zip(chunks.starts, loader, strict=True), lambda pair: pair[0][0]
    ):
        batches = [batch for _, batch in group]
        faults = [batch for batch in batches if isinstance(batch, str)]
        if faults:
            print(f"{clips.shards.key(index)} is left out: {faults[0]}", file=sys.stderr)
            continue
        latents, tokens = zip(*(encoders.encode(batch) for batch in batches), strict=True)
        yield (
            clips.shards.key(index),
            {"latents": torch.cat(latents), "tokens": torch.stack(tokens)},
        )


@dataclass
class FrameChunks(Dataset):
    """Number -> a Batch of `every` frames whose first is the reference, or why there is none."""

    clips: ClipDataset
    starts: list[tuple[int, int]]  # of the sample, first frame
    every: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Batch | str:
        index, start = self.starts[number]
        count = int(self.clips.shards.frames[index])
        others = np.linspace(0, count - 1, REFERENCE_CANDIDATES - 1).astype(np.int64)
        frames = np.arange(start, min(start + self.every, count))
        try:
            return self.clips.sample(index, FrameWindow(frames, np.append(start, others), "target"))
        except Unreadable as error:
            return str(error)


def _starts(clips: ClipDataset, index: int, every: int) -> range:
    return range(0, int(clips.shards.frames[index]), every)


def _clipset(source: Path, split: str, options: FrameOptions) -> ClipDataset:
    found = read_shard_index(source, split)
    return ClipDataset(found, SampleOrder(len(found), 0), WindowSampler(), options, Augmentation())


def _cache_encoders(cfg: DictConfig) -> CacheEncoders:
    """Those of the folder `init_from`, or of the configuration."""
    shapes = skeleton(cfg.model)
    if cfg.init_from is None:
        vae, image_encoder = instantiate(cfg.model.vae), instantiate(cfg.model.image_encoder)
    else:
        held = load(Path(str(cfg.init_from)))
        vae, image_encoder = held.vae, held.image_encoder
    own_digest = digest(vae, image_encoder)
    device, dtype = _device(str(cfg.device))
    for part in (vae, image_encoder):
        torch.nn.Module.to(
            part, device, dtype
        )  # diffusers' own warns of parts to be kept in float32
    resolution = Resolution(shapes.side, shapes.driving_side, shapes.side // shapes.factor)
    background = BackgroundTokens(image_encoder, shapes.feature_extractor)
    return CacheEncoders(
        Latents(vae),
        background,
        FrameOptions(resolution, shapes.feature_extractor),
        own_digest,
        device,
    )


def _device(name: str) -> tuple[torch.device, torch.dtype]:
    if name not in ("auto", "cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise UserError(
            f"there is no device {name!r} here: "
            f"auto{', cuda' * torch.cuda.is_available()} or cpu is expected."
        )
    is_gpu = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if is_gpu else "cpu"), torch.bfloat16 if is_gpu else torch.float32


def _begun(cfg: DictConfig, folder: Path, encoders: CacheEncoders) -> JsonObject:
    """The index so far. UserError where it is of another model and may not be replaced."""
    expected = {
        "format": FORMAT,
        "model": encoders.digest,
        "side": encoders.options.resolution.frame,
        "tokens_every": cfg.tokens_every,
    }
    if not (folder / "index.json").exists():
        return expected | {"shards": []}
    index = read_index(folder)
    other = [name for name, value in expected.items() if index.get(name) != value]
    if other and not cfg.overwrite:
        raise UserError(
            f"{folder} holds a cache that differs in {', '.join(other)}: name another "
            "--output, or say --overwrite."
        )
    return expected | {"shards": []} if other else index


def _stands(path: Path, entry: JsonObject) -> bool:
    return path.is_file() and path.stat().st_size == entry["bytes"]


def _refuse_options(cfg: DictConfig) -> None:
    wrong = [
        f"{name} is {cfg[name]!r}, a whole number from {least} is expected"
        for name, least in (("tokens_every", 1), ("workers", 0))
        if type(cfg[name]) is not int or cfg[name] < least
    ]
    if wrong:
        raise UserError("; ".join(wrong) + ".")
