"""Hair of many cuts, drawn in strands on a bare head, and brows and beards of short ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.blank import filled
from datagen.vision.geometry import LEFT_BROW, OUTER_LIPS, RIGHT_BROW

_MIDDLE, _CROWN, _EAR = 254.0, 94.0, 228.0  # of the bare head: column, top row, row of the ears, px
_SIDE = 100.0  # half the width of the bare head, px
_UPPER = {"right": [46, 70, 63, 105, 66, 107], "left": [276, 300, 293, 334, 296, 336]}
_LOWER = {"right": [46, 53, 52, 65, 55], "left": [276, 283, 282, 295, 285]}


@dataclass(frozen=True)
class Cut:
    """A hair cut, in px of the base."""

    style: str = "parted"  # or back, curly, bald
    top: float = 30.0  # how far the hair stands above the skull
    side: float = 16.0  # and beside it
    length: float = 250.0  # the row where it ends
    hairline: float = 140.0  # the row where the forehead begins
    fringe: float = 0.0  # how far hair falls over the forehead from there
    part: float = 0.0  # column of the parting, from the middle
    recess: float = 0.0  # how far the corners of the forehead go up
    curtain: float = 0.0  # 0..1, hair that falls over the temples from a parting
    sweep: float = 0.0  # how much lower the fringe is at the right than at the left of the picture


def hair(cut: Cut, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the hair covers the head, [512, 512] in 0..1, and how light it is against its mean."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    strands = _strands(cut, x, y, seed)
    if cut.style == "bald":
        return np.zeros_like(x), strands
    rough = 4.5 if cut.style == "curly" else 2.5
    ragged = 7.0 * (_wave(seed, 0.3) - 0.5) + rough * cv2.GaussianBlur(strands - 1, (0, 0), 1.2)
    cover = _outside(cut, x, y, ragged) * _inside(cut, x, y, ragged)
    shade = _shade(cut, x, y)
    return cover.astype(np.float32), strands * shade


def brows(points: np.ndarray, thick: float, arch: float, seed: int) -> np.ndarray:
    """Darkness 0..1 [512, 512] of both brows, `thick` px high at their middle."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    for side in ("right", "left"):
        line = _brow_line(points[:, :2], side)[3:]  # the thin end of the temple left out
        share = np.linspace(0, 1, len(line))  # from the temple inwards
        line = line - np.stack([0 * share, arch * np.sin(np.pi * np.clip(share * 1.25, 0, 1))], -1)
        half = 0.5 * thick * np.clip(0.22 + 1.3 * share - 0.5 * share**4, 0, 1)
        ring = np.concatenate(
            [line - [0, 1] * half[:, None], (line + [0, 1] * half[:, None])[::-1]]
        )
        cv2.fillPoly(mask, [np.rint(ring * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.1 + 0.06 * thick)
    return np.clip(soft * (0.82 + 0.3 * _hatch(seed)), 0, 1)


def beard(points: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Density 0..1 [512, 512] of a beard: moustache, goatee or full."""
    p = points[:, :2]
    lip = p[[61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]]
    nose = 0.72 * p[2] + 0.28 * p[0]
    tache = np.concatenate([lip + [0, 2], [p[291] + [9, 8], p[423] * 0.35 + p[291] * 0.65]])
    tache = np.concatenate([tache, [nose + [14, 0], nose - [14, 0], p[203] * 0.35 + p[61] * 0.65]])
    mask = filled(np.concatenate([tache, [p[61] + [-9, 8]]]), 2.0)
    if kind != "moustache":
        chin = np.concatenate(
            [p[[57, 61]], p[[181, 17, 405]] + [0, 4], p[[291, 287, 379, 152, 150]]]
        )
        mask = np.maximum(mask, filled(chin + [0, 2], 4.0))
    if kind == "full":
        cheek = p[[93, 58, 172, 150, 176, 152, 400, 379, 397, 288, 323]]
        inner = p[[410, 287, 405, 17, 181, 57, 186]] + [0, 4]
        jaw = np.concatenate(
            [cheek + [0, 3], [0.5 * (p[323] + p[410])], inner, [0.5 * (p[93] + p[186])]]
        )
        mask = np.maximum(mask, filled(jaw, 5.0))
    lips = filled(p[OUTER_LIPS] + [0, 0.5], 1.0)
    return np.clip(mask * (0.74 + 0.26 * _hatch(seed)), 0, 1) * (1 - lips)


def _outside(cut: Cut, x: np.ndarray, y: np.ndarray, ragged: np.ndarray) -> np.ndarray:
    """1 within the outer line of the hair."""
    rx, middle = _SIDE + cut.side, 200.0
    ry = middle - _CROWN + cut.top
    up = np.hypot((x - _MIDDLE) / rx, np.minimum(y - middle, 0) / ry)
    grow = np.clip((y - middle) / 160, 0, 1) * (0.18 if cut.length > 300 else -0.1)
    round_ = (1 + grow - up) * rx + ragged
    below = cut.length - y + 1.5 * ragged + 10 * np.cos((x - _MIDDLE) / 40)
    return _soft(round_, 2.5) * _soft(below, 9.0)


def _inside(cut: Cut, x: np.ndarray, y: np.ndarray, ragged: np.ndarray) -> np.ndarray:
    """0 on the face: below the hairline and between the sides."""
    away = np.abs(x - _MIDDLE) / _SIDE
    line = cut.hairline - cut.recess * np.exp(-(((away - 0.5) / 0.22) ** 2)) + 40 * away**3.5
    line = line + cut.sweep * np.clip((x - _MIDDLE) / _SIDE, -1, 1)
    line = line + 75 * cut.curtain * np.clip(np.abs(x - _MIDDLE - cut.part) / _SIDE, 0, 1.2) ** 1.5
    if cut.fringe > 0:
        swept = np.clip(np.abs(x - _MIDDLE - cut.part) / 60, 0.35 if cut.part else 0.9, 1)
        line = line + cut.fringe * swept * (away < 1.2)
    crown = 200 - (200 - _CROWN) * np.sqrt(np.clip(1 - away**2, 0, 1))
    line = np.maximum(line, crown + 8)  # no hair hangs in the air
    above = _soft(line - y + ragged, 7.0 if cut.fringe else 10.0)
    # long hair covers the ears, short hair leaves them
    back = 5.0 * float(np.clip((cut.length - 240) / 40 + 0.5, 0, 1))
    edge = (
        _SIDE
        - 2
        - 13 * np.clip((y - 190) / 170, 0, 1)
        - back
        - 14 * cut.curtain
        - 6 * np.exp(-(((y - 190) / 25) ** 2))
    )
    beside = _soft(np.abs(x - _MIDDLE) - edge + ragged, 4.0)
    if cut.length < 240:
        burn = _soft(np.abs(x - _MIDDLE) - (_SIDE - 9) + 0.6 * ragged, 4.0)
        beside = burn * _soft(_EAR - 12 - y + ragged, 12.0)
    return np.maximum(above, beside)


def _shade(cut: Cut, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Light from above: a band of gloss, dark at the rim, under the fringe and beside the neck."""
    up = np.hypot((x - _MIDDLE) / (_SIDE + cut.side), np.minimum(y - 200, 0) / (106 + cut.top))
    gloss = 0.28 * np.exp(-(((up - 0.62) / 0.17) ** 2)) * (y < 210)
    low = 0.3 * np.clip((y - 200) / 130, 0, 1) * np.clip((1.12 - up) / 0.2, 0, 1)
    return (1.0 + gloss - 0.32 * np.clip(up, 0, 1) ** 5 - low).astype(np.float32)


def _strands(cut: Cut, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Lightness of single hairs and of locks round 1, [512, 512]."""
    if cut.style == "curly":
        bend = 7 * (_wave(seed + 1, 0.5) - 0.5), 7 * (_wave(seed + 2, 0.5) - 0.5)
        fine = _lookup(x * 2.2 + bend[0] * 6, y * 2.2 / 3 + bend[1] * 4, seed)
        return 1 + 0.26 * fine + 0.5 * (_wave(seed + 3, 0.9) - 0.5)
    dx, dy = x - _MIDDLE - cut.part, y - (_CROWN - cut.top)
    wavy = 5 * (_wave(seed + 4, 0.12) - 0.5) * np.clip(dy / 100, 0, 1)
    if cut.style == "back":
        low = np.maximum(y - 190, 0)  # there it hangs
        root = np.arctan2(x - _MIDDLE, 262 - np.minimum(y, 190)) * 190
        run = np.hypot(x - _MIDDLE, np.minimum(y, 190) - 262) + low
    else:
        root, run = dx / np.sqrt(np.maximum(dy, 0) + 26) * 13, np.hypot(dx, dy)
    root = (root + wavy).astype(np.float32)
    fine, locks = _lookup(root * 1.6, run / 14, seed), _lookup(root * 0.3, run / 40, seed + 1)
    return (1 + 0.17 * fine + 0.17 * locks).astype(np.float32)


def _lookup(u: np.ndarray, v: np.ndarray, seed: int) -> np.ndarray:
    """Noise with a spread of 1 at any place, [512, 512]."""
    return cv2.remap(
        _noise(seed % 8),
        (u % 500).astype(np.float32) + 6,
        (v % 500).astype(np.float32) + 6,
        cv2.INTER_LINEAR,
    )


@cache
def _noise(seed: int) -> np.ndarray:
    tile = np.random.default_rng(seed).normal(0, 1, (500, 500)).astype(np.float32)
    tile = cv2.GaussianBlur(np.pad(tile, 6, mode="wrap"), (0, 0), 0.9)
    return tile / tile.std()


@cache
def _wave(seed: int, rate: float) -> np.ndarray:
    """Slow noise 0..1 [512, 512], `rate` waves in 10 px."""
    noise = np.random.default_rng(seed).normal(0, 1, (SIZE // 4, SIZE // 4)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6 / rate)
    noise = cv2.resize(noise / noise.std(), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.5 + 0.25 * noise, 0, 1)


@cache
def _hatch(seed: int) -> np.ndarray:
    """Short hairs side by side, -1..1 [512, 512]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    lean = np.sign(x - _MIDDLE) * 0.7
    return np.clip(_lookup((x - lean * y) * 1.1, y / 5, seed) / 1.6, -1, 1)


def _brow_line(xy: np.ndarray, side: str) -> np.ndarray:
    """24 points on the middle of a brow from the temple inwards, px [24, 2]."""
    rows = [
        np.stack(
            [np.interp(np.linspace(0, 1, 24), np.linspace(0, 1, len(i)), xy[i, k]) for k in (0, 1)],
            -1,
        )
        for i in (_UPPER[side], _LOWER[side])
    ]
    return (rows[0] + rows[1]) / 2


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    t = np.clip(value / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


RINGS = (RIGHT_BROW, LEFT_BROW)
