"""Pictures travel as levels and reach the models as the numbers that a film's frames are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datagen.media import video
from model.inputs import driving as drive
from tests import faults
from tests.model.parts import tiny
from tests.training import numbered
from training.cache.writer import CacheEncoders as Asked
from training.data.batch import Batch, joined, to_floats, to_levels
from training.data.module import ClipDataModule, Resolution
from training.data.window import FrameWindow
from training.objective.denoise import DenoisingLoss
from training.objective.noise import NoiseSampler
from training.objective.task import DiffusionTask, FrozenEncoders

FRAMES, REFERENCE = [3, 9, 14, 20], 5


def batch(shards, side: int, preparation=None, **options) -> Batch:
    resolution = Resolution(side, side, side // 8)
    clips = ClipDataModule(
        str(shards), resolution, preparation or numbered.Preparation(), **options
    ).dataset("train")
    return clips.sample(0, FrameWindow(np.array(FRAMES), np.array([REFERENCE]), "target"))


@pytest.fixture
def frames(sample, tmp_path) -> torch.Tensor:
    """All frames of the first clip, float [n, 3, 512, 512] in [0, 1]."""
    (tmp_path / "a.mp4").write_bytes(
        next(fields["mp4"] for fields in faults.samples(sample).values())
    )
    return (
        torch.from_numpy(np.stack(list(video.frames(tmp_path / "a.mp4"))))
        .permute(0, 3, 1, 2)
        .float()
        / 255
    )


def test_floats_are_exactly_those_of_the_films_frames(sample, frames):
    shown = batch(sample, 512)
    assert torch.equal(to_floats(shown.target)[0].transpose(0, 1), frames[FRAMES])
    assert torch.equal(to_floats(shown.reference)[0], frames[REFERENCE])
    coloured = to_floats(batch(sample, 512, grey=False).driving)[0].transpose(0, 1)
    inside = coloured.amax(dim=1, keepdim=True) > 0
    assert 0.1 < inside.float().mean() < 0.9
    assert torch.equal(coloured, frames[FRAMES] * inside)


def test_grey_is_one_channel_of_the_nearest_levels_and_shown_thrice(sample, frames):
    driving = batch(sample, 512).driving
    assert driving.shape == (1, 1, 4, 512, 512)
    shown = to_floats(driving)
    assert shown.shape == (1, 3, 4, 512, 512)
    assert torch.equal(shown[:, 0], shown[:, 1]) and torch.equal(shown[:, 0], shown[:, 2])
    inside = shown[0].transpose(0, 1) > 0
    apart = (shown[0].transpose(0, 1) - drive.grey(frames[FRAMES])) * inside * 255
    assert apart.abs().max() < 0.53


def test_levels_come_back_and_other_numbers_are_refused():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_levels(to_floats(levels))[:, :1], levels)
    with pytest.raises(TypeError, match=r"pictures are torch.float32, uint8 is expected"):
        to_floats(levels.float())


def test_a_batch_may_hold_changed_and_unchanged_samples(sample):
    plain, changed = (
        batch(sample, 64),
        batch(sample, 64, jitter=1.0, warp_probability=1.0, reshape=1.0),
    )
    both = joined([plain, changed])
    assert torch.equal(to_floats(both.target)[:1], to_floats(plain.target))
    assert both.target.dtype == both.driving.dtype == torch.uint8


class Seen(Exception):
    """Ends a step where the models would be called."""


def test_the_models_are_given_floats_and_the_loader_none(sample):
    """The step's frozen parts, its animator, and those of the cache."""
    pipeline, asked = tiny(), []
    pictures = batch(sample, pipeline.side, pipeline.feature_extractor)
    told = SimpleNamespace(
        sample=lambda clip, generator: (
            asked.append(clip) or pipeline.latents.sample(clip, generator)
        ),
        mean=lambda clip: asked.append(clip) or pipeline.latents.mean(clip),
    )
    models = SimpleNamespace(latents=told, vae=pipeline.vae, background=pipeline.background)

    def animator(noisy, timesteps, driving, reference, without):
        asked.extend([driving, reference.picture])
        raise Seen

    with pytest.raises(Seen):
        DiffusionTask(
            FrozenEncoders(models), DenoisingLoss(NoiseSampler(pipeline.scheduler))
        ).losses(animator, pictures)
    Asked(told, pipeline.background, None, "", torch.device("cpu")).encode(pictures)
    assert len(asked) == 6
    for given in asked:
        assert given.dtype == torch.float32
        assert 0.3 < given.max() <= 1
