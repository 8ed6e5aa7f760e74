"""What a made-up person is: proportions, hair, colours and marks, all as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from datagen.sources.rendering.hair import Cut
from datagen.sources.rendering.relief import Relief
from datagen.sources.rendering.skull import Shape
from datagen.sources.rendering.spectacles import Spectacles

Triple = tuple[float, float, float]
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Person:
    """Colours as CIE Lab or RGB 0..255, amounts 0..1."""

    name: str
    shape: Shape = field(default_factory=Shape)
    cut: Cut = field(default_factory=Cut)
    skin: Triple = (76.0, 13.0, 20.0)  # Lab of the cheeks
    hair: Triple = (46.0, 6.0, 26.0)  # Lab of its mean
    suit: Triple = (0.0, 0.0, 0.0)  # added to Lab
    lip_red: float = 0.0  # added to Lab's a
    brow_thick: float = 6.0  # px at the middle of the brow
    brow_arch: float = 0.0  # px
    brow_dark: float = 0.5
    beard: str = ""  # moustache, goatee, full
    beard_dense: float = 0.8
    stubble: float = 0.0
    freckles: float = 0.0
    age: float = 0.0  # folds beside the mouth, lines on the forehead
    blush: float = 0.0
    crease: float = 6.0  # px from the eye to the fold of its lid
    crease_dark: float = 0.0
    shadow: float = 0.0  # colour on the lids
    lashes: float = 0.7
    lid: float = 0.0  # share of the eye by which the upper lid hangs lower
    rough: float = 1.0  # of the skin: pores, spots and lines against the base's
    light: float = 1.0  # from the left as in the base 1, from the right -1
    lamp: tuple[float, float] = (0.0, 0.0)  # more light from the right and from below, shares
    tint: tuple[float, float] = (0.0, 0.0)  # of the lamp, added to Lab's a and b
    lip_dark: float = 0.0
    relief: Relief = field(default_factory=Relief)
    elder: float = 0.0  # share of the second portrait's skin in the lower face
    spectacles: Spectacles = field(default_factory=Spectacles)
    iris: RGB = (96, 62, 38)
    background: RGB = (150, 158, 168)
