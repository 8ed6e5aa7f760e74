"""Noise schedules: one for training and inference, and the official pair, which differ."""

from __future__ import annotations

from typing import Any

from diffusers import DDIMScheduler

COMMON: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "clip_sample": False,
}


def ddim(zero_snr: bool = False, prediction: str = "epsilon") -> DDIMScheduler:
    """Stable Diffusion's own schedule, for training and for inference."""
    options = {
        "beta_schedule": "scaled_linear",
        "rescale_betas_zero_snr": zero_snr,
        "prediction_type": prediction,
    }
    # a schedule that ends in noise alone must be sampled from its end on (arXiv 2305.08891)
    spacing = "leading" if prediction == "epsilon" else "trailing"
    return DDIMScheduler(**COMMON, **options, timestep_spacing=spacing)


def official_training() -> DDIMScheduler:
    """scaled_linear, rescaled to zero terminal signal, though the prediction is epsilon
    (docs/model.md, 5).
    """
    return ddim(zero_snr=True)


def official_inference() -> DDIMScheduler:
    """linear: not what was trained with; `official=true` reproduces published videos with it."""
    return DDIMScheduler(**COMMON, beta_schedule="linear")
