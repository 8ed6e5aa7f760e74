"""The equation, and what chance adds: the same for a sample in whatever batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers.training_utils import compute_snr
from torch import Tensor

from model.schedule import ddim, official_training
from tests.training import fits
from training.objective.denoise import DenoisingLoss
from training.objective.noise import NoiseSample, NoiseSampler

SHAPE = (4, 3, 8, 8)
BATCH = SimpleNamespace()  # which the usual loss does not look at


def sampler(prediction="epsilon", zero_snr=False, **options) -> NoiseSampler:
    return NoiseSampler(ddim(zero_snr=zero_snr, prediction=prediction), seed=3, **options)


def latents(count: int, shape=SHAPE) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def at(own: NoiseSampler, timesteps: list[int], target: float = 0.0) -> NoiseSample:
    """Of clean latents 0 and noise `target`."""
    noise = torch.full((len(timesteps), *SHAPE), target)
    never = (False,) * len(timesteps)
    return own.at(torch.zeros_like(noise), noise, torch.tensor(timesteps), never, never)


def loss(own: DenoisingLoss, prediction: Tensor, noise: NoiseSample) -> Tensor:
    return own(prediction, BATCH, noise)[0]


def test_a_sample_meets_the_same_chance_in_every_batch():
    own, clips = sampler(noise_offset=0.1, drop_reference=0.5, drop_driving=0.5), latents(3)
    joint = own(clips, [7, 8, 9])
    for n, position in enumerate([7, 8, 9]):
        alone = own(clips[n : n + 1], [position])
        assert torch.equal(alone.noisy[0], joint.noisy[n])
        assert alone.timesteps[0] == joint.timesteps[n]
        assert alone.without_reference[0] is joint.without_reference[n]
    other = NoiseSampler(ddim(), seed=4)(clips[:1], [7])
    assert not torch.equal(other.noise[0], joint.noise[0])


def test_shares_are_dropped_and_timesteps_are_spread():
    clips = torch.zeros(2000, 1, 1, 1, 1)
    noise = sampler(drop_reference=0.3, drop_driving=0.1)(clips, range(2000))
    assert sum(noise.without_reference) / 2000 == pytest.approx(0.3, abs=0.03)
    assert sum(noise.without_driving) / 2000 == pytest.approx(0.1, abs=0.03)
    assert noise.timesteps.min() < 10 and noise.timesteps.max() > 989
    assert noise.timesteps.float().mean() == pytest.approx(500, abs=20)
    high = sampler(high_noise=3.0)(clips, range(2000))
    assert high.timesteps.float().mean() == pytest.approx(750, abs=20)


def test_the_offset_is_shared_by_frames_and_pixels():
    """Variance 1 + s^2, covariance of two pixels of a channel s^2."""
    noise = sampler(noise_offset=0.5)(torch.zeros(3000, 1, 1, 2, 1), range(3000)).noise
    first, second = noise.flatten(1).T
    assert first.var() == pytest.approx(1.25, abs=0.1)
    assert (first * second).mean() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noisy_and_target_are_those_of_the_scheduler(prediction):
    schedule, clips = ddim(prediction=prediction), latents(2)
    noise = sampler(prediction)(clips, [0, 1])
    noisy = schedule.add_noise(clips, noise.noise, noise.timesteps)
    assert torch.allclose(noise.noisy, noisy, atol=1e-6)
    velocity = schedule.get_velocity(clips, noise.noise, noise.timesteps)
    target = {"epsilon": noise.noise, "v_prediction": velocity, "sample": clips}[prediction]
    assert torch.allclose(noise.target, target, atol=1e-6)


def test_official_noise_ends_without_signal():
    own = NoiseSampler(official_training(), seed=0, noise_offset=0.1)
    clips, half = torch.ones(1, *SHAPE), torch.full((1, *SHAPE), 0.5)
    assert torch.equal(own.at(clips, half, torch.tensor([999]), (False,), (False,)).noisy, half)


def test_the_loss_is_the_mean_of_squares_of_each_clip():
    own = DenoisingLoss(sampler())
    prediction = torch.stack([torch.full(SHAPE, 2.0), torch.full(SHAPE, 3.0)])
    losses, values = own(prediction, BATCH, at(own.sampler, [3, 700]))
    assert losses.tolist() == values["mse"].tolist() == [4.0, 9.0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weighs_as_its_authors_do(prediction):
    """min(snr, 5) / snr for noise, / (snr + 1) for velocity, and itself for latents (arXiv
    2303.09556).
    """
    own, timesteps = DenoisingLoss(sampler(prediction), min_snr=5.0), [10, 500, 990]
    snr = compute_snr(ddim(prediction=prediction), torch.tensor(timesteps))
    weights = {"epsilon": snr.clamp(max=5) / snr, "v_prediction": snr.clamp(max=5) / (snr + 1)}
    found = loss(own, torch.ones(3, *SHAPE), at(own.sampler, timesteps))
    assert torch.allclose(found, weights.get(prediction, snr.clamp(max=5)).float(), rtol=1e-4)


def test_errors_of_velocity_weighed_as_those_of_latents():
    own = DenoisingLoss(sampler("v_prediction", zero_snr=True), of_latents=True)
    clips, error = latents(6), torch.randn(6, *SHAPE)
    noise = own.sampler(clips, range(6))
    prediction = noise.target + error
    signal = noise.signal.view(-1, 1, 1, 1, 1)
    meant = signal.sqrt() * noise.noisy - (1 - signal).sqrt() * prediction
    found = loss(own, prediction, noise)
    assert torch.allclose(found, (meant - clips).square().flatten(1).mean(1), rtol=1e-4)


@pytest.mark.parametrize(("prediction", "min_snr"), [("epsilon", None), ("v_prediction", 5.0)])
def test_errors_of_latents_are_for_velocity_alone(prediction, min_snr):
    with pytest.raises(ValueError, match="objective.of_latents"):
        DenoisingLoss(sampler(prediction), min_snr, of_latents=True)


def test_no_signal_is_no_division_by_nothing():
    own = DenoisingLoss(NoiseSampler(ddim(zero_snr=True), seed=0), min_snr=5.0)
    assert loss(own, torch.ones(1, *SHAPE), at(own.sampler, [999])).tolist() == [1.0]


def test_a_loss_that_reads_the_mask_gets_it_and_logs_what_it_names(small, tmp_path):
    fits.fit(small, tmp_path / "run", *fits.FACE_LOSS, "data.extras=[mask]", "max_steps=2")
    log = fits.logged(tmp_path / "run")
    assert [step for step, _ in log["loss/face"]] == [0, 1] and "loss/mse" in log
    assert log["loss/train"][0][1] > log["loss/mse"][0][1]


def test_a_loss_that_lacks_the_mask_says_how_to_get_it(small, tmp_path):
    ended = fits.fit(small, tmp_path / "run", *fits.FACE_LOSS, "max_steps=2", code=2)
    assert "FaceLoss reads mask of the clips: say data.extras=[mask]" in ended.sentence
