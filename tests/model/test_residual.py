"""The velocity that needs no learning is the best linear guess; the network's word is scaled by
what it leaves open.
"""

from __future__ import annotations

import pytest
import torch

from model.dct import DctAutoencoder
from model.residual import Residual
from model.schedule import ddim

VARIANCES = (0.02, 0.5)


def drawn(steps, count=4000):
    """(latents, noisy, reference, velocity, timesteps), one clip of `count` frames of one px for
    each step.
    """
    draw = torch.Generator().manual_seed(0)
    shape = (len(steps), len(VARIANCES), count, 1, 1)
    deviations = torch.tensor(VARIANCES).sqrt().view(-1, 1, 1, 1)
    reference = torch.randn(len(steps), len(VARIANCES), 1, 1, 1, generator=draw).expand(shape)
    latents = reference + deviations * torch.randn(shape, generator=draw)
    noise, timesteps = torch.randn(shape, generator=draw), torch.tensor(steps)
    schedule = ddim(zero_snr=True, prediction="v_prediction")
    noisy = schedule.add_noise(latents, noise, timesteps)
    return latents, noisy, reference, schedule.get_velocity(latents, noise, timesteps), timesteps


@pytest.mark.parametrize("step", [0, 100, 500, 900, 999])
def test_what_the_guess_leaves_open_has_unit_variance(step):
    _, noisy, reference, velocity, timesteps = drawn([step])
    residual = Residual(VARIANCES)
    zero = torch.zeros_like(noisy)
    guess = residual(zero, noisy, reference, timesteps)
    scale = residual(zero + 1, noisy, reference, timesteps) - guess
    left = ((velocity - guess) / scale).square().mean(dim=(0, 2, 3, 4))
    assert left == pytest.approx(torch.ones(2), abs=0.1)


def test_what_it_hears_is_the_guess_in_deviations():
    steps = [0, 700, 999]
    latents, noisy, reference, velocity, timesteps = drawn(steps)
    residual = Residual(VARIANCES)
    signal = residual.signal[timesteps].view(-1, 1, 1, 1, 1)
    output = residual(torch.zeros_like(noisy), noisy, reference, timesteps)
    guess = signal.sqrt() * noisy - (1 - signal).sqrt() * output
    network_input = residual.network_input(noisy, reference, timesteps)
    deviations = torch.tensor(VARIANCES).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(network_input, (guess - reference) / deviations, atol=1e-3)
    assert not network_input[2].any()  # all is noise: nothing to hear


def test_no_other_linear_guess_is_better():
    _, noisy, reference, velocity, timesteps = drawn([700])
    guess = Residual(VARIANCES)(torch.zeros_like(noisy), noisy, reference, timesteps)
    best = (velocity - guess).square().mean()
    for change in (0.1 * noisy, -0.1 * noisy, 0.1 * reference, -0.1 * reference):
        assert (velocity - guess - change).square().mean() > best


def test_clips_of_a_batch_have_their_own_timestep():
    _, noisy, reference, _, timesteps = drawn([3, 800])
    together = Residual(VARIANCES)(noisy, noisy, reference, timesteps)
    for n in range(2):
        own = slice(n, n + 1)
        assert torch.equal(
            together[own],
            Residual(VARIANCES)(noisy[own], noisy[own], reference[own], timesteps[own]),
        )


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_whitening_changes_weights_not_pictures(whitening):
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    plain, other = (DctAutoencoder(8, 64, 64, whitening=w) for w in (0.3, whitening))
    latents = [own.encode(pictures).latent_dist.mode() for own in (plain, other)]
    assert torch.allclose(other.decode(latents[1]).sample, pictures, atol=1e-5)
    assert not torch.allclose(*latents)
