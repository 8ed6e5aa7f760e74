"""A second portrait, of an old face at rest: what below its spectacles can be lent to others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.blank import blank, dense, filled
from datagen.vision.geometry import INNER_LIPS, OVAL
from datagen.vision.landmarks import FaceMesh

_BRIDGE = 24.0  # px below the eyes where the bridge of her spectacles is past
_WIDE = 16.0  # px: what is wider than that is the light in the room rather than the skin


@dataclass(frozen=True)
class Elder:
    """Grace Hopper's face in the place of the base's points."""

    lab: np.ndarray  # float32 [512, 512, 3]: CIE Lab in the light of the base
    share: np.ndarray  # float32 [512, 512] in 0..1: where it can be shown


@cache
def elder() -> Elder:
    """Computed once in a process, from the picture in matplotlib's wheel."""
    source = blank()
    picture, points = _picture()
    warped = _warped(picture, points, source.points)
    share = _shown(source.points) * source.skin
    lab = cv2.cvtColor(warped / 255, cv2.COLOR_RGB2LAB)
    own = cv2.cvtColor(source.rgb / 255, cv2.COLOR_RGB2LAB)
    light = _wide(own, share) - _wide(lab, share)
    return Elder(lab + light * np.array([0.6, 1, 1], np.float32), share)


def _wide(lab: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The mean of what is shown round about, float32 [512, 512, 3]."""
    weight = cv2.GaussianBlur(share, (0, 0), _WIDE)[..., None] + 1e-3
    return cv2.GaussianBlur(lab * share[..., None], (0, 0), _WIDE) / weight


def _picture() -> tuple[np.ndarray, np.ndarray]:
    """The portrait, RGB uint8 [H, W, 3], and its points [478, 2] px."""
    from matplotlib import get_data_path

    bgr = cv2.imread(f"{get_data_path()}/sample_data/grace_hopper.jpg")
    assert bgr is not None
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    points = FaceMesh()(rgb)
    assert points is not None
    return rgb, points[:, :2]


def _warped(picture: np.ndarray, points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The picture with its points where the base has them, float32 RGB [512, 512, 3]."""
    from scipy.interpolate import RBFInterpolator

    y, x = np.mgrid[0:SIZE:8, 0:SIZE:8]
    grid = np.stack([x.ravel(), y.ravel()], -1).astype(float)
    field = RBFInterpolator(onto[:468:2, :2], points[:468:2] - onto[:468:2, :2], smoothing=2.0)
    back = dense(field(grid).reshape(*x.shape, 2).astype(np.float32))
    return cv2.remap(picture, back, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32
    )


def _shown(points: np.ndarray) -> np.ndarray:
    """Cheeks, nose, mouth and chin, without what is between the lips, [512, 512] in 0..1."""
    oval, eyes = points[OVAL, :2], points[[468, 473], :2]
    middle = points[195, :2]
    face = filled(middle + (oval - middle) * 0.93, 5.0)
    low = float(eyes[:, 1].mean()) + _BRIDGE
    face *= np.clip((np.arange(SIZE) - low) / 16 + 0.5, 0, 1).astype(np.float32)[:, None]
    lenses = np.zeros((SIZE, SIZE), np.float32)
    for x, y in eyes:
        cv2.ellipse(lenses, ((float(x) - 2, float(y) + 12), (96.0, 80.0), 0.0), 1.0, -1)
    lenses = cv2.GaussianBlur(lenses, (0, 0), 3.5)
    nose = filled(points[[6, 198, 129, 98, 327, 358, 420], :2], 4.0)
    return face * np.maximum(1 - lenses, nose) * (1 - filled(points[INNER_LIPS, :2], 1.5))
