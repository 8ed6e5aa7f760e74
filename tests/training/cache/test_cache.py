"""What the frozen parts say, kept beside the shards: as without, found again, and never of another
model or shard.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datagen.core.errors import UserError
from datagen.shards.index import read_index
from tests import faults
from tests.model.parts import tiny
from training.cache.reader import LatentCache
from training.data.batch import joined, to_floats
from training.data.dataset import ClipDataset, Resolution
from training.data.decode import Unreadable
from training.data.module import ClipDataModule
from training.data.window import FrameWindow
from training.objective.denoise import DenoisingLoss
from training.objective.noise import NoiseSampler
from training.objective.task import DiffusionTask, FrozenEncoders

EVERY = 4


def filled(shards: Path, folder: Path, *more: str) -> faults.Run:
    return faults.call(
        "training.cache",
        "--input",
        shards,
        "--output",
        folder,
        "--tokens-every",
        EVERY,
        "model=tiny",
        "workers=0",
        *more,
    )


@pytest.fixture(scope="module")
def folder(sample, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("cache") / "cache"
    made = filled(sample, output)
    assert made.code == 0, made.err
    return output


def dataset(shards: Path) -> ClipDataset:
    pipeline = tiny()
    resolution = Resolution(pipeline.side, pipeline.driving_side, pipeline.side // pipeline.factor)
    return ClipDataModule(str(shards), resolution, pipeline.feature_extractor, frames=5).dataset(
        "train"
    )


def windows(clips: ClipDataset) -> list[FrameWindow]:
    """With a reference that has tokens; the last frame of a clip is among those that are shown."""
    last = int(clips.shards.frames[1]) - 1
    frames = [np.arange(5), np.arange(last - 4, last + 1)]
    return [
        FrameWindow(frames[0], np.array([2 * EVERY]), "target"),
        FrameWindow(frames[1], np.array([0]), "swapped"),
    ]


def test_losses_are_those_without_a_cache_and_the_autoencoder_is_not_asked(sample, folder):
    clips, pipeline = dataset(sample), tiny()
    cached = replace(clips, cache=LatentCache(folder, pipeline, sample))
    plain, quick = (
        joined([c.sample(i, w, position=i) for i, w in enumerate(windows(clips))])
        for c in (clips, cached)
    )
    assert (
        quick.latents.shape[:3] == (2, pipeline.unet.config.out_channels, 5)
        and plain.latents is None
    )
    task = DiffusionTask(FrozenEncoders(pipeline), DenoisingLoss(NoiseSampler(pipeline.scheduler)))
    blind = copy.copy(pipeline)
    blind.latents = blind.background = None
    with torch.no_grad():
        expected, _ = task.losses(pipeline.animator, plain)
        found, _ = replace(task, encoders=FrozenEncoders(blind)).losses(pipeline.animator, quick)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)
    assert abs(float(expected[0] - expected[1])) > 10 * float((found - expected).abs().max())


def test_every_frame_is_kept_in_its_place(sample, folder):
    clips, pipeline = dataset(sample), tiny()
    cache, frames = LatentCache(folder, pipeline, sample), np.array([17, 3, 9])
    shown = clips.sample(1, FrameWindow(frames, np.array([12]), "target"))
    found = cache(clips.shards.key(1), frames, 12)
    wanted = pipeline.latents.mean(to_floats(shown.target)[0].transpose(0, 1)).transpose(0, 1)[None]
    torch.testing.assert_close(found["latents"].float(), wanted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        found["reference_latents"].float(),
        pipeline.latents.mean(to_floats(shown.reference)),
        rtol=1e-3,
        atol=1e-3,
    )
    torch.testing.assert_close(
        found["tokens"].float(), pipeline.background.encode(shown.clip_pixels), rtol=2e-3, atol=2e-3
    )


def test_references_are_drawn_among_those_with_tokens(sample, folder):
    cache = LatentCache(folder, tiny(), sample)
    assert cache.among(np.array([7, 8, 3, 0, 12])).tolist() == [8, 0, 12]
    with pytest.raises(ValueError, match="frame 7 has no tokens"):
        cache(dataset(sample).shards.key(0), np.arange(3), 7)
    with pytest.raises(Unreadable, match="could not be cached"):
        cache("nobody", np.arange(3), 0)


def test_an_interrupted_run_goes_on_with_the_next_shard(sample, folder, tmp_path):
    output = tmp_path / "cache"
    shutil.copytree(folder, output)
    before, index = faults.tree(output), json.loads((output / "index.json").read_bytes())
    lost = index["shards"].pop()["file"]
    (output / lost).unlink()
    (output / f".{lost}.1234.part").write_bytes(b"half")
    (output / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=f"lacks 1 of .* the first is {lost}"):
        LatentCache(output, tiny(), sample)
    words = (
        "model=tiny",
        "trainer=cpu",
        "plan=true",
        "validate_every=0",
        f"data.input={sample}",
        f"cache={output}",
    )
    words += ("optim.trainable=[nothing]",)  # so that no memory is reckoned
    assert f"lacks 1 of 2 shards of {sample}" in faults.call("training.fit", *words).err
    assert filled(sample, output).code == 0
    after = faults.tree(output)
    kept = index["shards"][0]["file"]
    assert (
        after[kept] == before[kept]
        and after[lost][0] == before[lost][0]
        and after.keys() == before.keys()
    )
    assert after["index.json"][0] == before["index.json"][0]


def test_a_cache_of_another_model_is_refused(sample, folder):
    other = copy.deepcopy(tiny())
    next(other.image_encoder.parameters()).data += 1e-3
    with pytest.raises(UserError, match="of another autoencoder or CLIP"):
        LatentCache(folder, other, sample)
    made = filled(sample, folder, "--tokens-every", 2)
    assert made.code == 2 and "differs in tokens_every" in made.err


def test_a_cache_of_other_shards_is_refused(sample, folder, tmp_path):
    changed = read_index(sample)
    changed["shards"][0]["sha256"] = "0" * 64
    (tmp_path / "index.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match=f"lacks 1 of {len(changed['shards'])} shards"):
        LatentCache(folder, tiny(), tmp_path)


def test_a_shard_that_is_cut_off_is_refused(sample, folder, tmp_path):
    output = tmp_path / "cache"
    shutil.copytree(folder, output)
    path = next(output.glob("train-*.tar"))
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(UserError, match="its index says"):
        LatentCache(output, tiny(), sample)


@pytest.mark.parametrize(
    ("name", "value"), [("tokens_every", 0), ("workers", -1), ("device", "tpu")]
)
def test_an_option_that_makes_no_sense_is_told(sample, tmp_path, name, value):
    made = filled(sample, tmp_path / "cache", f"{name}={value}")
    assert made.code == 2 and str(value) in made.err and not (tmp_path / "cache").exists()
