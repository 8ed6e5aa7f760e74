"""People drawn by lot: every trait clearly to one side, moved by what goes together in nature."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from datagen.core.seeds import seed_of
from datagen.sources.rendering.hair import Cut
from datagen.sources.rendering.person import RGB, Person, Triple
from datagen.sources.rendering.relief import Relief
from datagen.sources.rendering.skull import Shape
from datagen.sources.rendering.spectacles import Spectacles

_SKINS = (
    (80, 10, 14),
    (78, 14, 17),
    (76, 12, 20),
    (74, 9, 25),
    (71, 13, 22),
    (54, 16, 25),
    (47, 16, 24),
    (41, 16, 22),
    (36, 14, 19),
    (31, 12, 16),
)
_DARK_HAIR = ((9, 1, 2), (13, 1, 3), (18, 4, 7), (24, 7, 11))
_FAIR_HAIR = ((13, 1, 3), (28, 8, 14), (38, 10, 22), (50, 6, 28), (72, 2, 26), (36, 26, 30))
_IRISES = (
    (26, 17, 12),
    (40, 24, 16),
    (62, 40, 25),
    (126, 154, 178),
    (112, 138, 108),
    (142, 152, 158),
)
_FRAMES = ((24, 22, 22), (70, 42, 26), (120, 36, 34), (150, 132, 90), (40, 52, 84), (120, 120, 124))
_WEARERS = 0.3  # share of people with spectacles
_RANGES = {  # from the least to the most; the base is slight in nose, lips and brows
    "width": (-0.07, 0.10),
    "temples": (-0.09, 0.09),
    "cheeks": (-0.08, 0.10),
    "jaw": (-0.11, 0.14),
    "chin": (-0.12, 0.13),
    "point": (-0.11, 0.11),
    "nose": (-0.12, 0.5),
    "nose_length": (-0.085, 0.12),
    "bridge": (-0.2, 0.4),
    "mouth": (-0.16, 0.16),
    "mouth_drop": (-0.04, 0.065),
    "lips": (-0.3, 0.8),
    "brows": (-0.28, 0.17),
    "brow_tilt": (-4.0, 3.5),
    "eyes": (-0.075, 0.075),
    "eye_size": (-0.14, 0.14),
    "eye_open": (-0.18, 0.14),
    "eye_tilt": (-4.0, 5.0),
    "brow_gap": (-0.05, 0.05),
    "nose_tip": (-0.025, 0.03),
    "crook": (-0.013, 0.013),
    "uneven": (-0.03, 0.03),
    "skew": (-0.018, 0.018),
}
# What goes together in nature, in halves of a range: men against women, old against young,
# dark skin against light.
_LOADS = {
    "man": {
        "jaw": 0.4,
        "chin": 0.25,
        "brows": -0.35,
        "lips": -0.3,
        "eye_size": -0.3,
        "nose": 0.2,
        "ridge": 0.5,
        "point": -0.3,
        "bones": -0.2,
        "nose_length": 0.2,
    },
    "age": {
        "lips": -0.25,
        "eye_open": -0.3,
        "jowls": 0.4,
        "pouches": 0.4,
        "nose_tip": 0.4,
        "hollows": -0.3,
        "nose_length": 0.2,
        "brow_tilt": -0.3,
    },
    "dark": {
        "nose": 0.3,
        "lips": 0.4,
        "bridge": 0.3,
        "mouth": 0.2,
        "nose_length": -0.2,
        "eyes": 0.2,
    },
}
_PARTS = tuple(f.name for f in fields(Relief))
_TRAITS = (
    *_RANGES,
    *_PARTS,
    "man",
    "age",
    "dark",
    "thick",
    "brow_dark",
    "rough",
    "light",
    "beard",
    "lip_red",
    "iris",
    "lid",
    "hairline",
)


@dataclass(frozen=True)
class _Draw:
    """The random numbers of one person."""

    rng: np.random.Generator
    sides: dict[str, int]  # -1 or 1 for each trait

    @staticmethod
    def of(rng: np.random.Generator) -> _Draw:
        return _Draw(
            rng, dict(zip(_TRAITS, rng.choice([-1, 1], len(_TRAITS)).tolist(), strict=True))
        )

    def trait(self, name: str) -> float:
        """Clearly to one side, in -1..-0.7 or 0.7..1, moved by what goes together with it."""
        own = self.sides[name] * float(self.rng.uniform(0.7, 1))
        moved = own + sum(self.sides[cause] * loads.get(name, 0) for cause, loads in _LOADS.items())
        return float(np.clip(moved, -1.2, 1.2))

    def between(self, least: float, most: float) -> float:
        return round(float(self.rng.uniform(least, most)), 2)


def drawn(name: str, family: str, index: int) -> Person:
    """Number `index` of a family of people that no other family shares, called `name`."""
    draw = _Draw.of(np.random.default_rng(seed_of(family, index)))
    man, age = draw.sides["man"] > 0, max(draw.trait("age"), 0.0)
    skin, hair = _drawn_colours(draw, age)
    bearded = man and draw.sides["beard"] > 0
    return Person(
        name=name,
        shape=_drawn_shape(draw),
        cut=_drawn_cut(draw, man, skin[0] < 50, age),
        skin=skin,
        hair=hair,
        suit=(draw.between(0, 26), draw.between(-18, 26), draw.between(-28, 34)),
        beard=str(draw.rng.choice(["full", "goatee", "moustache", "full"])) if bearded else "",
        beard_dense=draw.between(0.65, 0.95),
        stubble=draw.between(0, 1) if man and not bearded else 0.0,
        freckles=draw.between(0.4, 1) if skin[0] > 70 and draw.rng.random() < 0.3 else 0.0,
        age=round(age, 2),
        crease=draw.between(4, 11),
        crease_dark=draw.between(0, 1),
        lid=round(0.07 + 0.09 * draw.trait("lid"), 2),
        elder=draw.between(0.35, 1) if age > 0 and draw.rng.random() < 0.8 else 0.0,
        spectacles=_drawn_spectacles(draw),
        rough=round(1 + 0.25 * draw.trait("rough") + 0.1 * age, 2),
        light=round(draw.trait("light"), 2),
        lamp=(draw.between(-0.3, 0.3), draw.between(-0.25, 0.2)),
        tint=(draw.between(-4, 4), draw.between(-8, 8)),
        relief=Relief(**{name: round(draw.trait(name), 2) for name in _PARTS}),
        iris=_IRISES[draw.rng.integers(3) + (3 if draw.sides["iris"] > 0 and skin[0] > 55 else 0)],
        background=_drawn_wall(draw),
        **_drawn_paint(draw, man),
    )


def _drawn_spectacles(draw: _Draw) -> Spectacles:
    """None for most, else frames of any form."""
    if draw.rng.random() > _WEARERS:
        return Spectacles()
    return Spectacles(
        thick=float(draw.rng.choice([2, 3, 4])),
        wide=draw.between(34, 39),
        high=draw.between(24, 31),
        square=draw.between(2, 4.5),
        wing=draw.between(0, 8) if draw.sides["man"] < 0 else 0.0,
        colour=_FRAMES[draw.rng.integers(len(_FRAMES))],
    )


def _drawn_shape(draw: _Draw) -> Shape:
    values = {}
    for name, (least, most) in _RANGES.items():
        values[name] = round((least + most) / 2 + (most - least) / 2 * draw.trait(name), 3)
    return Shape(**values)


def _drawn_colours(draw: _Draw, age: float) -> tuple[Triple, Triple]:
    """Skin and hair, CIE Lab."""
    half = len(_SKINS) // 2
    tone = _SKINS[draw.rng.integers(half) + (half if draw.sides["dark"] > 0 else 0)]
    shades = _FAIR_HAIR if tone[0] > 66 else _DARK_HAIR
    hair: Triple = shades[draw.rng.integers(len(shades))]
    if age > 0.6 and draw.rng.random() < 0.7:
        hair = (float(draw.rng.uniform(45, 74)), 0.5, 3.0)
    skin = np.add(tone, draw.rng.normal(0, (1.5, 1.0, 1.5))).round(1)
    tinted = np.clip(
        np.add(hair, draw.rng.normal(0, (1.5, 0.7, 1.2))), (7, -2, -2), (80, 30, 34)
    ).round(1)
    return (float(skin[0]), float(skin[1]), float(skin[2])), (
        float(tinted[0]),
        float(tinted[1]),
        float(tinted[2]),
    )


def _drawn_paint(draw: _Draw, man: bool) -> dict[str, float]:
    """Brows, lips and lids."""
    thick = draw.trait("thick")
    red = draw.trait("lip_red")
    paint = {
        "brow_thick": (10 + 4 * thick) if man else (6.5 + 3.5 * thick),
        "brow_dark": 0.55 + 0.45 * draw.trait("brow_dark"),
    }
    if man:
        return paint | {
            "lip_red": 2 * red,
            "brow_arch": draw.between(-1, 1.5),
            "lashes": draw.between(0.35, 0.6),
        }
    paint |= {
        "lip_red": 9 + 9 * red,
        "lip_dark": max(red, 0) * draw.between(0, 0.8),
        "shadow": draw.between(-0.3, 0.9),
    }
    return paint | {
        "brow_arch": draw.between(0, 4),
        "lashes": draw.between(0.5, 1),
        "blush": draw.between(0, 0.6),
    }


def _drawn_cut(draw: _Draw, man: bool, dark: bool, age: float) -> Cut:
    kinds = ["curly", "back", "bald"] if dark else ["parted", "back", "parted", "curly"]
    style = str(draw.rng.choice(kinds))
    if man:
        length, top, side = draw.between(198, 220), draw.between(4, 34), draw.between(1, 12)
        style = "bald" if draw.rng.random() < 0.1 + 0.2 * age else style
    else:
        style = "back" if style == "bald" else style
        length = float(draw.rng.choice([215, 255, 290, 345, 400]))
        top, side = draw.between(10, 46), draw.between(4, 36)
    low = draw.trait("hairline")
    hairline = round(128 + 20 * low - (8 * age if man else 0), 1)
    fringe, sweep, curtain, part = 0.0, 0.0, 0.0, float(draw.rng.choice([-45, -25, 0, 25, 45]))
    if style == "parted" and low > 0:
        fringe, sweep = round(min(draw.between(8, 34), 166 - hairline), 1), draw.between(-14, 14)
    elif style == "parted":
        curtain = draw.between(0.2, 1) * (0.5 if man else 1)
    elif style == "curly":
        sweep = draw.between(-8, 8)
    recess = draw.between(0, 26) if man and low < 0 else draw.between(0, 5)
    return Cut(style, top, side, length, hairline, fringe, part, recess, round(curtain, 2), sweep)


def _drawn_wall(draw: _Draw) -> RGB:
    """A colour of little chroma, RGB 0..255."""
    wall = np.clip(draw.rng.integers(60, 205) + draw.rng.integers(-24, 25, 3), 0, 255)
    return int(wall[0]), int(wall[1]), int(wall[2])
