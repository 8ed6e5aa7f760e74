"""Pictures against pictures: closed forms, other libraries' numbers, and what flicker sees."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from tests.faults import head, poses
from training.metrics import pixels
from training.metrics.flicker import flicker


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """A turning, talking head of 128 px."""
    step = np.linspace(0, 1, 8)
    large = np.stack(
        list(head(2).frames(poses(8, head_yaw=8 * step, mouth=0.5 * step, shift_x=10 * step)))
    )
    return pixels.area(large, 128)


def test_l1_and_psnr_of_a_known_difference():
    black, grey = np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), 51, np.uint8)
    assert pixels.l1(grey, black) == pytest.approx(0.2)
    assert pixels.psnr(grey, black) == pytest.approx(10 * np.log10(1 / 0.04))
    assert pixels.psnr(grey, grey) == pixels.BEST


def test_psnr_is_the_mean_of_the_frames_not_of_their_errors():
    truth = np.zeros((2, 8, 8, 3), np.uint8)
    output = truth.copy()
    output[1] = 255
    assert pixels.psnr(output, truth) == pytest.approx((pixels.BEST + 0) / 2)


def test_ssim_is_that_of_scikit_image(frames):
    rng = np.random.default_rng(0)
    noisy = np.clip(frames + rng.normal(0, 20, frames.shape), 0, 255).astype(np.uint8)
    settings = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
    }
    others = [
        structural_similarity(a, b, channel_axis=2, **settings)
        for a, b in zip(noisy, frames, strict=True)
    ]
    assert pixels.ssim(noisy, frames) == pytest.approx(np.mean(others), abs=1e-9)
    assert pixels.ssim(frames, frames) == pytest.approx(1)


def test_area_averages():
    fine = np.zeros((1, 4, 4, 3), np.uint8)
    fine[:, ::2] = 200
    assert (pixels.area(fine, 2) == 100).all()


def test_flicker_sees_brightness_that_jumps_and_not_motion(frames):
    assert flicker(np.repeat(frames[:1], 4, axis=0)) == 0
    jumping = frames.astype(int) + np.where(np.arange(len(frames)) % 2, 8, -8)[:, None, None, None]
    jumps = flicker(np.clip(jumping, 0, 255).astype(np.uint8))
    moved = (
        float(np.mean([cv2.absdiff(a, b).mean() for a, b in zip(frames, frames[1:], strict=False)]))
        / 255
    )
    assert flicker(frames) < 0.5 * moved
    assert jumps > flicker(frames) + 0.03
