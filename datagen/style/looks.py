"""The looks: each turns one RGB uint8 frame [H, W, 3] into a drawing of it, with a palette that
never changes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datagen.style.drawing import (
    abstract,
    between,
    blur,
    detail,
    film,
    finish,
    hatch,
    lines,
    mix,
    orthochrome,
    over,
    paper,
    ramp,
    retone,
    saturate,
    smoothstep,
    soft_levels,
    spread,
    strokes,
    tabled,
    tone_of,
    veil,
)

Look = Callable[[np.ndarray], np.ndarray]


def ink(rgb: np.ndarray) -> np.ndarray:
    """Pen and grey wash on cream paper; broad shadows are hatched, eyes and lips drawn by the pen
    alone.
    """
    plane = orthochrome(rgb)
    shade = blur(plane, 6) + 2 * detail(plane)
    hatching = hatch(shade, 0.6, 5.0, 45) * hatch(shade, 0.36, 5.0, -45)
    wash = smoothstep(film(abstract(rgb)), -0.1, 0.82)
    pen = lines(plane, sigma=0.9, strength=16, tone=0.45, slope=2.6)
    return finish(between("#14121d", "#f6efdf", pen * mix(1, hatching, 0.4) * mix(1, wash, 0.65)))


def pencil(rgb: np.ndarray) -> np.ndarray:
    """Graphite: grey strokes that catch on the grain of white paper, under darker lines."""
    plane = orthochrome(rgb)
    dark = smoothstep(film(abstract(rgb)), 0.85, 0.0)
    catch = 0.4 * (1 - 2 * strokes(*plane.shape, 4.0, 60)) + 0.25 * paper(*plane.shape)
    shade = 1 - 0.72 * dark * (1 + catch * (1 - 0.8 * dark))
    line = lines(plane, sigma=0.8, strength=26, tone=0.3, slope=2.5)
    return finish(between("#1e1e24", "#fbfaf6", shade * line))


def chalk(rgb: np.ndarray) -> np.ndarray:
    """White and warm chalk on blue paper: the paper is the shadow, the chalk catches on its
    grain.
    """
    plane = orthochrome(rgb)
    light = smoothstep(soft_levels(film(abstract(rgb, rounds=7, contrast=30)), 4, 2), 0.05, 0.95)
    catch = 0.22 * (1 - 2 * strokes(*plane.shape, 4.5, -50)) + 0.25 * paper(*plane.shape)
    cover = light * (1 + catch * (1 - light))
    line = lines(plane, sigma=0.9, strength=20, tone=0.3, slope=2.5)
    return finish(between("#1d3346", "#fbeedb", cover * mix(0.1, 1, line)))


def comic(rgb: np.ndarray) -> np.ndarray:
    """Cel shading: few flat tones in strong colour, inked outlines."""
    flat = abstract(rgb, rounds=7, contrast=30)
    luma = tone_of(flat)
    paint = saturate(retone(flat, luma, 0.06 + 0.92 * soft_levels(luma, 4, 3)), 1.9)
    outline = lines(orthochrome(rgb), sigma=1.1, strength=24, tone=0.4, slope=4)
    return finish(over("#120e1a", outline, paint))


def watercolour(rgb: np.ndarray) -> np.ndarray:
    """Thin washes: pale, pigment gathered at the edges of each wash, granulating in the paper."""
    flat = abstract(rgb, rounds=7, contrast=28)
    luma = tone_of(flat)
    level = soft_levels(luma, 4, 1.4)
    wash = veil(saturate(retone(flat, luma, level), 2.4), "#c9bfe8", 0.15)
    rim = np.clip(4 * (blur(level, 4) - level), 0, 0.7)
    density = 0.75 + rim + 0.08 * paper(*luma.shape)
    line = mix(0.2, 1, lines(orthochrome(rgb), sigma=0.8, strength=18, tone=0.3, slope=3))
    return finish(over("#3b3350", line, np.clip(wash, 0.02, 1) ** spread(density)))


INKS = ((0.0, "#142a43"), (0.13, "#93303a"), (0.26, "#d0573f"), (0.4, "#e8a75c"), (0.58, "#f6e8bd"))
POSTER = ramp(INKS, softness=0.05)


def poster(rgb: np.ndarray) -> np.ndarray:
    """Screen print in five inks by brightness."""
    tone = film(abstract(rgb, rounds=7, contrast=28))
    line = lines(orthochrome(rgb), sigma=0.9, strength=18, tone=0.4, slope=3)
    return finish(over("#142a43", line, tabled(tone, POSTER)))


def anime(rgb: np.ndarray) -> np.ndarray:
    """Bright flat paint with one soft shadow tone, thin brown lines."""
    flat = abstract(rgb, rounds=6, contrast=26)
    luma = mix(tone_of(flat), film(flat), 0.4)  # which sets lips off from bright skin
    shadow, light, shine = (
        smoothstep(luma, *step) for step in ((0.08, 0.28), (0.31, 0.48), (0.7, 0.9))
    )
    tone = mix(0.1 + 0.32 * shadow + 0.36 * light + 0.14 * shine, luma + 0.1, 0.25)
    line = lines(orthochrome(rgb), sigma=0.8, strength=20, tone=0.35, slope=3.5)
    return finish(over("#3a2118", line, saturate(retone(flat, luma, tone), 1.9)))


LOOKS: dict[str, Look] = {
    look.__name__: look for look in (ink, pencil, chalk, comic, watercolour, poster, anime)
}
