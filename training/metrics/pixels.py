"""Pictures against pictures, RGB uint8 [f, S, S, 3] of the same side, frames matched by index."""

from __future__ import annotations

import cv2
import numpy as np

BEST = 100.0  # dB of a frame that is equal: PSNR has no bound there, and a mean needs one
WINDOW, SD, K1, K2 = 11, 1.5, 0.01, 0.03


def l1(output: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference, RGB in [0, 1]."""
    return float(np.abs(output.astype(np.float64) - truth).mean() / 255)


def psnr(output: np.ndarray, truth: np.ndarray) -> float:
    """dB: 10 log10(1 / MSE) of each frame in [0, 1], at most BEST, then the mean over frames."""
    errors = ((output.astype(np.float64) - truth) ** 2).mean((1, 2, 3)) / 255**2
    return float(np.mean(-10 * np.log10(np.maximum(errors, 10 ** (-BEST / 10)))))


def ssim(output: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity of Wang et al. 2004: Gaussian window of 11 px and sd 1.5, K1 0.01, K2
    0.03, data range 1, each RGB channel by itself, the mean over windows that lie inside
    (scikit-image with gaussian_weights and population covariances; torchmetrics also counts windows
    that reach over the border).
    """
    return float(np.mean([_ssim(a, b) for a, b in zip(output, truth, strict=True)]))


def area(pictures: np.ndarray, side: int) -> np.ndarray:
    """Pictures [f, H, H, 3] shrunk to `side` px by area averaging, enlarged by Lanczos; the same if
    they have it.
    """
    if pictures.shape[1] == side:
        return pictures
    kernel = cv2.INTER_AREA if pictures.shape[1] > side else cv2.INTER_LANCZOS4
    return np.stack([cv2.resize(rgb, (side, side), interpolation=kernel) for rgb in pictures])


def _ssim(output: np.ndarray, truth: np.ndarray) -> float:
    x, y = (picture.astype(np.float64) / 255 for picture in (output, truth))
    mx, my, xx, yy, xy = (_mean(value) for value in (x, y, x * x, y * y, x * y))
    c1, c2 = K1**2, K2**2
    likeness = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    return float((likeness / ((mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2))).mean())


def _mean(value: np.ndarray) -> np.ndarray:
    """Gaussian means where the window lies inside."""
    edge = WINDOW // 2
    return cv2.GaussianBlur(value, (WINDOW, WINDOW), SD)[edge:-edge, edge:-edge]
