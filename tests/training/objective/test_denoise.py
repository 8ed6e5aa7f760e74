"""The equation, and what chance adds: the same for a sample in whatever batch."""

from __future__ import annotations

import pytest
import torch
from diffusers.training_utils import compute_snr

from model.schedule import ddim, official_training
from training.objective.denoise import DenoisingLoss, NoiseSample

SHAPE = (4, 3, 8, 8)
CPU = torch.device("cpu")


def objective(prediction="epsilon", zero_snr=False, **options) -> DenoisingLoss:
    return DenoisingLoss(ddim(zero_snr=zero_snr, prediction=prediction), seed=3, **options)


def test_a_sample_meets_the_same_chance_in_every_batch():
    own = objective(noise_offset=0.1, drop_reference=0.5, drop_driving=0.5)
    joint = own.draw([7, 8, 9], SHAPE, CPU)
    for n, position in enumerate([7, 8, 9]):
        alone = own.draw([position], SHAPE, CPU)
        assert (
            torch.equal(alone.noise[0], joint.noise[n]) and alone.timesteps[0] == joint.timesteps[n]
        )
        assert alone.without_reference[0] is joint.without_reference[n]
    other = DenoisingLoss(ddim(), seed=4).draw([7], SHAPE, CPU)
    assert not torch.equal(other.noise[0], joint.noise[0])


def test_shares_are_dropped_and_timesteps_are_spread():
    draw = objective(drop_reference=0.3, drop_driving=0.1).draw(range(2000), (1, 1, 1, 1), CPU)
    assert sum(draw.without_reference) / 2000 == pytest.approx(0.3, abs=0.03)
    assert sum(draw.without_driving) / 2000 == pytest.approx(0.1, abs=0.03)
    assert draw.timesteps.min() < 10 and draw.timesteps.max() > 989
    assert draw.timesteps.float().mean() == pytest.approx(500, abs=20)
    high = objective(high_noise=3.0).draw(range(2000), (1, 1, 1, 1), CPU)
    assert high.timesteps.float().mean() == pytest.approx(750, abs=20)


def test_the_offset_is_shared_by_frames_and_pixels():
    """Variance 1 + s^2, covariance of two pixels of a channel s^2."""
    draw = objective(noise_offset=0.5).draw(range(3000), (1, 1, 2, 1), CPU)
    first, second = draw.noise.flatten(1).T
    assert first.var() == pytest.approx(1.25, abs=0.1)
    assert (first * second).mean() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noisy_and_wanted_are_those_of_the_scheduler(prediction):
    own, schedule = objective(prediction), ddim(prediction=prediction)
    latents = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    draw = own.draw([0, 1], SHAPE, CPU)
    noisy = own.noisy(latents, draw)
    assert torch.allclose(noisy, schedule.add_noise(latents, draw.noise, draw.timesteps), atol=1e-6)
    velocity = schedule.get_velocity(latents, draw.noise, draw.timesteps)
    target = {"epsilon": draw.noise, "v_prediction": velocity, "sample": latents}[prediction]
    assert torch.allclose(own.target(latents, draw), target, atol=1e-6)


def test_official_noise_ends_without_signal():
    schedule = official_training()
    own = DenoisingLoss(schedule, seed=0, noise_offset=0.1)
    latents = torch.ones(1, *SHAPE)
    draw = NoiseSample(torch.full((1, *SHAPE), 0.5), torch.tensor([999]), (False,), (False,))
    assert torch.equal(own.noisy(latents, draw), draw.noise)


def test_the_loss_is_the_mean_of_squares_of_each_clip():
    own, draw = objective(), objective().draw([0, 1], SHAPE, CPU)
    prediction, target = (
        torch.zeros(2, *SHAPE),
        torch.stack([torch.full(SHAPE, 2.0), torch.full(SHAPE, 3.0)]),
    )
    assert own.loss(prediction, target, draw).tolist() == [4.0, 9.0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weighs_as_its_authors_do(prediction):
    """min(snr, 5) / snr for noise, / (snr + 1) for velocity, and itself for latents (arXiv
    2303.09556).
    """
    own, timesteps = objective(prediction, min_snr=5.0), torch.tensor([10, 500, 990])
    snr = compute_snr(ddim(prediction=prediction), timesteps)
    weights = {"epsilon": snr.clamp(max=5) / snr, "v_prediction": snr.clamp(max=5) / (snr + 1)}
    draw = NoiseSample(torch.zeros(3, *SHAPE), timesteps, (False,) * 3, (False,) * 3)
    found = own.loss(torch.ones(3, *SHAPE), torch.zeros(3, *SHAPE), draw)
    assert torch.allclose(found, weights.get(prediction, snr.clamp(max=5)).float(), rtol=1e-4)


def test_errors_of_velocity_weighed_as_those_of_latents():
    own = objective("v_prediction", zero_snr=True, of_latents=True)
    draw = own.draw(range(6), SHAPE, CPU)
    latents, error = torch.randn(6, *SHAPE), torch.randn(6, *SHAPE)
    noisy, prediction = own.noisy(latents, draw), own.target(latents, draw) + error
    signal = own.signal[draw.timesteps].view(-1, 1, 1, 1, 1)
    meant = signal.sqrt() * noisy - (1 - signal).sqrt() * prediction
    found = own.loss(prediction, own.target(latents, draw), draw)
    assert torch.allclose(found, (meant - latents).square().flatten(1).mean(1), rtol=1e-4)


@pytest.mark.parametrize(
    "options", [{"prediction": "epsilon"}, {"prediction": "v_prediction", "min_snr": 5.0}]
)
def test_errors_of_latents_are_for_velocity_alone(options):
    with pytest.raises(ValueError, match="objective.of_latents"):
        objective(of_latents=True, **options)


def test_no_signal_is_no_division_by_nothing():
    own = DenoisingLoss(ddim(zero_snr=True), seed=0, min_snr=5.0)
    draw = NoiseSample(torch.zeros(1, *SHAPE), torch.tensor([999]), (False,), (False,))
    assert own.loss(torch.ones(1, *SHAPE), torch.zeros(1, *SHAPE), draw).tolist() == [1.0]
