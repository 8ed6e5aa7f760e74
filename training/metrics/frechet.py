"""Frechet distance between the features of two sets: FID of pictures, FVD of clips, by a network
that the user names.

No network comes with the toolkit, so that a number is never taken for another's: FID is usual with
the 2048 pool features of Inception (pt_inception-2015-12-05), FVD with the 400 outputs of I3D for
clips of 16 frames of 224 px.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import linalg

from datagen.core.errors import UserError
from datagen.core.files import file_sha256

CLIP = 16  # frames of a piece for a network of clips
AT_ONCE = 32  # pictures


class Features:
    """A TorchScript file from pictures float32 [n, 3, S, S], or clips [n, 3, 16, S, S], RGB in [0,
    1] to [n, d].
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise UserError(
                f"there is no file {path}: --features names a TorchScript file (torch.jit.save)."
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # it is still what such networks are shared in
                self.network = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"{path} is no TorchScript file ({why}): save the network with torch.jit.save."
            ) from None
        self.metadata = {"file": path.name, "sha256": file_sha256(path)}
        self.of_clips = False

    @torch.no_grad()
    def __call__(self, videos: Iterable[np.ndarray]) -> np.ndarray:
        """[n, d] of videos RGB uint8 [f, S, S, 3]: a row for each frame, or for each piece of 16
        frames.
        """
        rows = [
            self._rows(torch.from_numpy(video).permute(3, 0, 1, 2).float() / 255)
            for video in videos
        ]
        return np.concatenate(rows) if rows else np.empty((0, 1))

    def _rows(self, video: torch.Tensor) -> np.ndarray:
        """Of [3, f, S, S]; a network that refuses single pictures is one of clips."""
        if not self.of_clips:
            try:
                return np.concatenate(
                    [_flat(self.network(part)) for part in video.transpose(0, 1).split(AT_ONCE)]
                )
            except RuntimeError:
                self.of_clips = True
        pieces = [piece for piece in video.split(CLIP, dim=1) if piece.shape[1] == CLIP]
        try:
            found = [_flat(self.network(piece[None])) for piece in pieces]
        except RuntimeError as error:
            why = str(error).strip().splitlines()[-1]
            raise UserError(
                f"{self.metadata['file']} takes neither pictures [n, 3, S, S] nor clips [n, "
                f"3, {CLIP}, S, S] ({why}): give "
                "--features a network that takes one of them."
            ) from None
        return np.concatenate(found) if found else np.empty((0, 1))


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    """|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of features [n, d] (Heusel et al. 2017), unbiased
    covariances.
    """
    if min(len(real), len(made)) < 2:
        return float("nan")
    means = real.mean(0), made.mean(0)
    one, other = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (real, made))
    values = linalg.eigvals(one @ other)  # of S1 S2, whose root's trace is the sum of their roots
    root = np.sqrt(np.maximum(values.real, 0)).sum()
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * root)


def _flat(features: Any) -> np.ndarray:
    return features.reshape(len(features), -1).double().numpy()
