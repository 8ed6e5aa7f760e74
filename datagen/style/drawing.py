"""The hand of the draughtsman: smooth, line, tone and paper, all soft, so that a drawing is as
steady as its clip.

After Winnemoeller, Olsen and Gooch 2006, "Real-time video abstraction" (edge-preserving smoothing,
soft luminance quantisation), Winnemoeller, Kyprianidis and Olsen 2012, "XDoG" (line drawing by an
extended difference of Gaussians), and Kang, Lee and Chui 2007, "Coherent line drawing" (lines
smoothed along their own direction). Planes are float32 [H, W] in 0..1, colours RGB. Lengths are px
of a picture of about 512 x 512.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

Values = np.ndarray | float
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FILM = np.array(
    [[-0.2, 0.95, 0.4]], np.float32
)  # sees red as dark, so that pale lips stand out from skin
LIFT = (np.arange(256, dtype=np.float32) / 255) ** np.float32(0.7)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """RGB uint8 [H, W, 3] -> luma float32 [H, W] in 0..1."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def orthochrome(rgb: np.ndarray) -> np.ndarray:
    """RGB uint8 -> float32 [H, W] in 0..1 as film blind to red sees it: dark lips, clear lids and
    irises.

    Shadows are lifted, and the finest texture is smoothed away.
    """
    calm = cv2.bilateralFilter(rgb, 5, 16, 2)
    plane = cv2.transform(calm, FILM)
    return LIFT[plane]


def blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    size = 2 * math.ceil(2.5 * sigma) + 1
    return cv2.GaussianBlur(plane, (size, size), sigma)


def smoothstep(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a soft S between (falling where low > high)."""
    t = np.clip((plane - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Values, b: Values, share: Values) -> Any:
    """From `a` where the share is 0 to `b` where it is 1."""
    return a + (b - a) * share


def abstract(rgb: np.ndarray, rounds: int = 5, contrast: float = 22) -> np.ndarray:
    """Skin and cloth without their texture, edges kept: RGB uint8 -> RGB float32 [H, W, 3] in 0..1.

    An iterated bilateral filter at half size (Winnemoeller 2006), enlarged along the edges of the
    full picture by a guided filter (He and Sun 2015), so that eyes and lips stay sharp.
    """
    small = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    guide = luminance(small)
    for _ in range(rounds):
        small = cv2.bilateralFilter(small, 5, contrast, 3)
    return _enlarge(small.astype(np.float32) / 255, guide, luminance(rgb))


def _enlarge(
    small: np.ndarray, guide: np.ndarray, full: np.ndarray, size: int = 5, eps: float = 4e-4
) -> np.ndarray:
    """Colours [h, w, 3] as local linear functions of their luma `guide` [h, w], applied to the luma
    `full` [H, W].
    """
    side, large = (size, size), full.shape[::-1]
    mean, mean_of = cv2.blur(guide, side), cv2.blur(small, side)
    variance = cv2.blur(guide * guide, side) - mean * mean
    slope = cv2.blur(small * spread(guide), side) - mean_of * spread(mean)
    slope /= spread(variance + np.float32(eps))
    offset = mean_of - slope * spread(mean)
    slope, offset = (cv2.resize(cv2.blur(p, side), large) for p in (slope, offset))
    slope *= spread(full)
    slope += offset
    return np.clip(slope, 0, 1, out=slope)


def lines(
    plane: np.ndarray, sigma: float, strength: float, tone: float, slope: float
) -> np.ndarray:
    """XDoG line drawing of a plane: 1 = paper, 0 = ink.

    Differences of Gaussians of `sigma` and 1.6 `sigma`, smoothed along the flow of the picture and
    `strength` times enlarged, darken white paper, or with `tone` 1 the picture itself, so that its
    dark parts are filled. The threshold is a tanh, the softer the smaller `slope`.
    """
    near, far = blur(plane, sigma), blur(plane, 1.6 * sigma)
    sharp = along_flow(mix(1, near, tone) + strength * (near - far), plane) - np.float32(0.62)
    return 2 / (
        1 + cv2.exp(np.minimum(sharp, 0) * np.float32(-2 * slope))
    )  # 1 + tanh(slope * sharp) below 0


def detail(plane: np.ndarray) -> np.ndarray:
    """How much fine drawing [H, W] is about, 0..1: high around eyes, nostrils and lips, low on
    cheeks and in shadow.
    """
    return np.clip(8 * blur(np.abs(plane - blur(plane, 3)), 5), 0, 1)


def along_flow(plane: np.ndarray, guide: np.ndarray, reach: int = 3) -> np.ndarray:
    """`plane` averaged over +-`reach` px along the edges of `guide`, less where they have no clear
    direction.
    """
    y, x = _grid(*plane.shape)
    small = cv2.resize(guide, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    # nearest, for opposite directions are the same and must not be averaged
    dx, dy = (
        cv2.resize(p, plane.shape[::-1], interpolation=cv2.INTER_NEAREST) for p in flow(small)
    )
    total, weights = plane.copy(), 1.0
    for step in [s for k in range(1, reach + 1) for s in (-k, k)]:
        weight = math.exp(-0.5 * (2 * step / reach) ** 2)
        moved = cv2.remap(
            plane, x + step * dx, y + step * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.scaleAdd(moved, weight, total, dst=total)
        weights += weight
    total /= weights
    return total


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> np.ndarray:
    """Row and column of every pixel, float32 [2, H, W]."""
    return np.mgrid[:height, :width].astype(np.float32)


def flow(plane: np.ndarray, sigma: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the edge direction at each pixel, as long (0..1) as it is clear.  (Structure
    tensor)
    """
    gx, gy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    xx, yy, xy = blur(gx * gx, sigma), blur(gy * gy, sigma), blur(gx * gy, sigma)
    total, xx = xx + yy, xx - yy
    apart = cv2.magnitude(xx, 2 * xy)
    half = (
        np.clip(xx / (apart + np.float32(1e-6)), -1, 1) * 0.5
    )  # half the cosine of twice the gradient's angle
    apart /= total + np.float32(1e-3)
    return np.copysign(np.sqrt(0.5 - half), -xy) * apart, np.sqrt(0.5 + half) * apart


def soft_levels(plane: np.ndarray, count: int, slope: float) -> np.ndarray:
    """Tones drawn together to `count` + 1 levels with soft steps between them (Winnemoeller 2006,
    eq. 5).
    """
    nearest = np.round(plane * count)
    step = np.tanh(2 * slope * (plane * count - nearest)) / math.tanh(
        slope
    )  # -1..1 from one border to the next
    return (nearest + 0.5 * step) / count


def spread(plane: np.ndarray) -> np.ndarray:
    """[H, W] -> [H, W, 3]: NumPy is many times faster on equal shapes than on a last axis of
    three.
    """
    return cv2.merge([plane, plane, plane])


def saturate(rgb: np.ndarray, gain: float) -> np.ndarray:
    """RGB float32 with its distance from grey multiplied by `gain`."""
    return cv2.transform(
        rgb, mix(np.ones((3, 1), np.float32) * LUMA, np.eye(3, dtype=np.float32), gain)
    )


def retone(rgb: np.ndarray, luma: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """RGB float32 of brightness `luma` brought to `tone`; by a sum, for a product would colour the
    noise of shadows.
    """
    return rgb + spread(tone - luma)


def veil(rgb: np.ndarray, name: str, share: float) -> np.ndarray:
    """RGB float32 under a thin layer of one colour."""
    return cv2.transform(
        rgb, np.column_stack([np.eye(3, dtype=np.float32) * (1 - share), share * colour(name)])
    )


def between(dark: str, light: str, plane: np.ndarray) -> np.ndarray:
    """RGB float32 [H, W, 3] from the colour `dark` where the plane is 0 to `light` where it is
    1.
    """
    first, last = colour(dark), colour(light)
    return cv2.transform(plane, np.stack([last - first, first], axis=1))


def over(ink: str, line: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """Lines [H, W] (0 = ink) of one colour drawn over paint, RGB float32."""
    return paint * spread(line) + between("#000000", ink, 1 - line)


def tone_of(rgb: np.ndarray) -> np.ndarray:
    """RGB float32 [H, W, 3] -> its luma [H, W]."""
    return cv2.transform(rgb, LUMA[None])


def film(rgb: np.ndarray) -> np.ndarray:
    """RGB float32 [H, W, 3] -> its brightness [H, W] on orthochromatic film."""
    return np.clip(cv2.transform(rgb, FILM), 0, 1)


def ramp(stops: Sequence[tuple[float, str]], softness: float) -> np.ndarray:
    """Table [256, 3] float32 luma -> RGB in 0..1: flat colours, each from its tone on, with steps
    +-`softness` wide.
    """
    tones = np.linspace(0, 1, 256, dtype=np.float32)
    table = np.broadcast_to(colour(stops[0][1]), (256, 3))
    for tone, name in stops[1:]:
        table = mix(
            table, colour(name), smoothstep(tones, tone - softness, tone + softness)[:, None]
        )
    return table.astype(np.float32)


def colour(name: str) -> np.ndarray:
    """RGB float32 [3] in 0..1 of a "#rrggbb"."""
    return np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255


def tabled(luma: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The colours [H, W, 3] of a luma plane in a table [256, 3]."""
    return cv2.LUT(spread(cv2.convertScaleAbs(luma, alpha=255)), table[None])


@lru_cache(maxsize=4)
def paper(height: int, width: int) -> np.ndarray:
    """The grain of paper [H, W], mean 0, about -1..1; always the same, for grain that changes would
    flicker.
    """
    noise = np.random.default_rng(0).standard_normal((height, width), np.float32)
    grain = 1.2 * blur(noise, 0.8) + 4 * blur(noise, 4)
    return grain / np.float32(2 * grain.std())


@lru_cache(maxsize=8)
def strokes(height: int, width: int, period: float, degrees: float) -> np.ndarray:
    """Parallel strokes [H, W]: 0 in the middle of a stroke, 1 between two, wavering a little as a
    hand does.
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = np.deg2rad(degrees)
    across = (
        np.float32(np.cos(angle)) * x
        + np.float32(np.sin(angle)) * y
        + 1.5 * blur(paper(height, width), 6)
    )
    return (0.5 - 0.5 * np.cos(2 * np.pi / period * across)).astype(np.float32)


def hatch(tone: np.ndarray, below: float, period: float, degrees: float) -> np.ndarray:
    """Strokes [H, W], 1 = paper, that come in where the tone falls `below` and grow wider as it
    darkens.
    """
    darkness = np.clip((below - tone) / below, 0, 1)
    stroke = strokes(*tone.shape, period, degrees)
    return 1 - smoothstep(1.3 * darkness - stroke, -0.3, 0.3) * smoothstep(darkness, 0.0, 0.15)


def finish(rgb: np.ndarray) -> np.ndarray:
    """RGB float32 in 0..1 -> uint8."""
    return cv2.convertScaleAbs(np.clip(rgb, 0, 1), alpha=255)
