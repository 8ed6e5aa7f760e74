"""Measures of networks: the Frechet distance by its closed form, LPIPS and csim with small weights
in their place.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datagen.core.errors import UserError
from datagen.vision.drift import watched
from datagen.vision.landmarks import FaceMesh
from tests.faults import head, poses
from training.metrics import perceptual
from training.metrics.frechet import Features, frechet
from training.metrics.identity import PLACES, Recogniser, aligned
from training.metrics.perceptual import Lpips


class Means(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class ClipMeans(torch.nn.Module):
    def forward(self, x):
        return F.conv3d(x, torch.ones(4, 3, 1, 1, 1)).mean((2, 3, 4))


def saved(module: torch.nn.Module, path, shape: tuple[int, ...]):
    torch.jit.trace(module, torch.rand(shape)).save(str(path))
    return path


def test_frechet_of_gaussians_has_its_closed_form():
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, (4000, 3)) @ np.diag([1, 2, 3])
    other = one * 2 + [1, 0, 0]
    c1, c2 = (np.cov(each, rowvar=False) for each in (one, other))
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * 2 * c1)
    assert frechet(one, other) == pytest.approx(expected)
    assert np.isnan(frechet(one[:1], other))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_features_of_pictures_and_of_clips(tmp_path):
    film = np.random.default_rng(0).integers(0, 256, (35, 8, 8, 3), np.uint8)
    pictures = Features(saved(Means(), tmp_path / "a.pt", (1, 3, 8, 8)))([film])
    np.testing.assert_allclose(pictures, film.mean((1, 2)) / 255, atol=1e-6)
    clips = Features(saved(ClipMeans(), tmp_path / "b.pt", (1, 3, 16, 8, 8)))([film])
    assert clips.shape == (2, 4)


def test_features_must_be_torchscript(tmp_path):
    (tmp_path / "c.pt").write_text("no network")
    with pytest.raises(UserError, match="no TorchScript"):
        Features(tmp_path / "c.pt")
    with pytest.raises(UserError, match="there is no file"):
        Features(tmp_path / "d.pt")


def test_lpips_is_absent_with_a_reason_or_there(tmp_path):
    assert perceptual.BACKBONE in str(Lpips.here(tmp_path))
    torch.manual_seed(0)
    shapes = {
        0: (64, 3, 11),
        3: (192, 64, 5),
        6: (384, 192, 3),
        8: (256, 384, 3),
        10: (256, 256, 3),
    }
    weights = {
        f"features.{n}.weight": torch.randn(o, i, k, k) / (i * k * k) ** 0.5
        for n, (o, i, k) in shapes.items()
    }
    weights |= {f"features.{n}.bias": torch.zeros(o) for n, (o, _, _) in shapes.items()}
    torch.save(weights, tmp_path / perceptual.BACKBONE)
    lpips = Lpips.here(tmp_path)
    assert isinstance(lpips, Lpips)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    near = np.clip(truth + rng.normal(0, 10, truth.shape), 0, 255).astype(np.uint8)
    far = rng.integers(0, 256, truth.shape, np.uint8)
    assert lpips(truth, truth) == 0
    assert 0 < lpips(near, truth) < lpips(far, truth)


def test_lpips_is_the_weighted_distance_of_unit_features(monkeypatch):
    heads = {f"lin{i}.model.1.weight": torch.ones(1, 2, 1, 1) for i in range(5)}
    lpips = Lpips({}, heads)
    monkeypatch.setattr(lpips, "_layer", lambda x, *_: x[:, :2])
    x, y = (
        torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1),
        torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1),
    )
    assert float(lpips._distance(x, y)) == pytest.approx(5 * ((0.6 - 1) ** 2 + 0.8**2), rel=1e-6)


@pytest.fixture(scope="module")
def film() -> tuple[np.ndarray, np.ndarray]:
    pictures = np.stack(list(head(2).frames(poses(7, head_roll=np.linspace(-8, 8, 7)))))
    return pictures, watched(FaceMesh(), pictures)


def test_faces_are_aligned_for_the_recogniser(film):
    pictures, points = film
    found = [FaceMesh()(aligned(pictures[i], points[i]).repeat(4, 0).repeat(4, 1)) for i in (0, 6)]
    for each in found:
        assert each is not None
        eyes = each[[33, 133, 263, 362], :2].reshape(2, 2, 2).mean(1) / 4
        assert np.abs(eyes - PLACES[:2]).max() < 5


def test_csim_is_the_cosine_of_what_the_network_says(film):
    def embed(crops: np.ndarray) -> np.ndarray:
        return np.stack([crops.mean((1, 2))[:, 0], np.full(len(crops), 100.0)], axis=1)

    pictures, points = film
    recogniser = Recogniser(embed, {})
    assert recogniser.csim(pictures, points, pictures, points) == pytest.approx(1)
    assert recogniser.csim(pictures, points, pictures[:1] // 4, points[:1]) < 0.97
    assert recogniser.csim(pictures, np.full_like(points, np.nan), pictures, points) is None


def test_no_recogniser_without_weights(tmp_path):
    assert "w600k_r50.onnx" in str(Recogniser.here(tmp_path))
