"""Different people from one picture: the shape of the face by a smooth warp, the colours region by
region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from datagen.core.seeds import seed_of
from datagen.sources.rendering.astronaut import SIZE, Base, base
from datagen.vision.geometry import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
)

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Person:
    """Shape in shares of the base's own (0 = as she is), colours as CIE Lab or RGB 0..255."""

    name: str
    width: float = 0.0  # of the face
    jaw: float = 0.0  # width of the lower face
    chin: float = 0.0  # its length
    cheeks: float = 0.0  # fullness
    nose: float = 0.0  # width
    mouth: float = 0.0  # width
    lips: float = 0.0  # fullness
    brows: float = 0.0  # height
    eyes: float = 0.0  # spacing
    hair_volume: float = 0.0
    skin: tuple[float, float, float] = (76.0, 13.0, 20.0)  # Lab of the cheeks
    hair: tuple[float, float, float] = (46.0, 6.0, 26.0)  # Lab of its mean
    suit: tuple[float, float, float] = (0.0, 0.0, 0.0)  # added to Lab
    lip_red: float = 0.0  # added to Lab's a
    brow_dark: float = 0.0  # 0..1
    stubble: float = 0.0  # 0..1
    iris: RGB = (96, 62, 38)
    background: RGB = (150, 158, 168)


@dataclass(frozen=True)
class Look:
    """A person ready to be animated: colours continue behind the soft edge of `alpha`."""

    person: Person
    rgb: np.ndarray  # float32 [512, 512, 3] in 0..255
    alpha: np.ndarray  # float32 [512, 512] in 0..1
    background: np.ndarray  # float32 [512, 512, 3]
    points: np.ndarray  # float32 [478, 3] px


PEOPLE = (
    Person(
        "person00", width=-0.02, iris=(92, 104, 96), background=(142, 156, 176), suit=(8, 2, -18)
    ),
    Person(
        "person01",
        width=0.09,
        jaw=0.13,
        chin=0.12,
        cheeks=-0.02,
        nose=0.18,
        mouth=0.06,
        brows=-0.10,
        eyes=0.02,
        hair_volume=-0.16,
        skin=(54, 16, 24),
        hair=(15, 2, 4),
        suit=(12, 14, 10),
        lip_red=3,
        brow_dark=0.7,
        stubble=0.5,
        iris=(52, 32, 22),
        background=(196, 178, 150),
    ),
    Person(
        "person02",
        width=-0.09,
        jaw=-0.10,
        chin=-0.09,
        nose=-0.12,
        mouth=-0.08,
        lips=0.25,
        brows=0.14,
        eyes=0.03,
        hair_volume=0.07,
        skin=(80, 9, 15),
        hair=(30, 24, 26),
        suit=(14, -18, 4),
        lip_red=14,
        iris=(70, 110, 80),
        background=(96, 120, 116),
    ),
    Person(
        "person03",
        width=0.06,
        jaw=-0.09,
        chin=0.07,
        cheeks=0.05,
        nose=0.26,
        mouth=0.10,
        lips=0.22,
        brows=0.06,
        eyes=0.01,
        hair_volume=-0.05,
        skin=(37, 14, 20),
        hair=(9, 1, 2),
        suit=(26, 8, 34),
        lip_red=15,
        brow_dark=0.5,
        iris=(40, 24, 16),
        background=(204, 200, 194),
    ),
    Person(
        "person04",
        width=0.12,
        jaw=0.07,
        chin=-0.10,
        cheeks=0.12,
        nose=0.08,
        mouth=-0.05,
        brows=0.05,
        eyes=-0.02,
        hair_volume=0.03,
        skin=(79, 15, 14),
        hair=(74, 2, 22),
        suit=(6, 22, -16),
        lip_red=6,
        iris=(86, 120, 150),
        background=(120, 96, 104),
    ),
    Person(
        "person05",
        width=-0.07,
        jaw=0.03,
        chin=0.07,
        cheeks=-0.05,
        nose=0.02,
        mouth=0.04,
        lips=0.05,
        brows=-0.12,
        eyes=-0.03,
        hair_volume=-0.18,
        skin=(69, 12, 25),
        hair=(60, 0, 2),
        suit=(16, 0, 2),
        lip_red=9,
        brow_dark=0.4,
        stubble=0.3,
        iris=(110, 124, 134),
        background=(70, 78, 92),
    ),
    Person(
        "person06",
        width=0.05,
        jaw=-0.10,
        chin=-0.04,
        cheeks=0.03,
        nose=-0.04,
        mouth=-0.10,
        lips=0.15,
        brows=0.20,
        eyes=0.05,
        hair_volume=-0.06,
        skin=(73, 9, 28),
        hair=(13, 0, 0),
        suit=(10, 26, 14),
        lip_red=10,
        brow_dark=0.4,
        iris=(46, 30, 22),
        background=(176, 190, 178),
    ),
    Person(
        "person07",
        width=-0.03,
        jaw=0.14,
        chin=0.06,
        cheeks=0.04,
        nose=0.12,
        mouth=0.12,
        lips=-0.1,
        brows=-0.06,
        eyes=0.0,
        hair_volume=0.02,
        skin=(62, 18, 22),
        hair=(34, 12, 18),
        suit=(18, -6, -28),
        brow_dark=0.5,
        stubble=0.7,
        iris=(74, 92, 60),
        background=(132, 140, 120),
    ),
)
_BRIDGE = 6  # on the nose between the eyes, the still middle of the face


def person(index: int) -> Person:
    """The person of the sample with this number: the first by hand, the others varied from them."""
    return PEOPLE[index] if index < len(PEOPLE) else _varied("person", index)


def donor(index: int) -> Person:
    """Somebody who is no `person`, whatever the number: donors are nobody of the sample."""
    return _varied("donor", index)


def _varied(family: str, index: int) -> Person:
    """Number `index` of a family of people that no other family shares."""
    rng = np.random.default_rng(seed_of(family, index))
    shape, colours, scene = (PEOPLE[i] for i in rng.integers(len(PEOPLE), size=3))
    changes: dict[str, Any] = {"name": f"{family}{index:02d}", "suit": scene.suit}
    for name in ("width", "jaw", "chin", "nose", "mouth"):
        changes[name] = float(np.clip(getattr(shape, name) + rng.normal(0, 0.035), -0.15, 0.25))
    for name in ("skin", "hair", "iris", "lip_red", "brow_dark", "stubble"):
        changes[name] = getattr(colours, name)
    wall = np.clip(np.add(scene.background, rng.integers(-16, 17, 3)), 40, 220)
    return replace(shape, **changes, background=(int(wall[0]), int(wall[1]), int(wall[2])))


def portrait(person: Person) -> np.ndarray:
    """Head and shoulders from the front, RGB uint8 [512, 512, 3]."""
    look = look_of(person)
    alpha = look.alpha[..., None]
    return np.rint(np.clip(look.rgb * alpha + look.background * (1 - alpha), 0, 255)).astype(
        np.uint8
    )


@lru_cache(maxsize=16)
def look_of(person: Person) -> Look:
    """Colours first, in the base's own shape where the masks lie, then the warp."""
    source = base()
    painted = _painted(source, person)
    points, field = _shape(source, person)
    rgb = cv2.remap(painted, field, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(source.alpha, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Look(person, np.clip(rgb, 0, 255), np.clip(alpha, 0, 1), _background(person), points)


def _painted(source: Base, person: Person) -> np.ndarray:
    """The base in this person's colours, float32 RGB [512, 512, 3]."""
    lab = cv2.cvtColor(source.rgb / 255, cv2.COLOR_RGB2LAB)
    points = source.points
    skin, hair, suit = (mask[..., None] for mask in _regions(source))
    toned = _toned(lab, _mean(lab, source.skin), np.array(person.skin, np.float32), chroma=0.8)
    lab = lab + skin * (toned - lab)
    toned = _toned(lab, _mean(lab, source.hair), np.array(person.hair, np.float32), chroma=0.6)
    lab = lab + hair * (toned - lab)
    lab = lab + suit * np.array(person.suit, np.float32)
    lips = _filled(points[OUTER_LIPS, :2], 2.0) - _filled(points[INNER_LIPS, :2], 1.5)
    lips = np.clip(lips, 0, 1)
    lab[..., 1] += lips * person.lip_red
    lab[..., 0] -= (
        lips * 0.7 * np.maximum(lab[..., 0] - person.skin[0], 0)
    )  # gloss, glaring on dark skin
    brows = np.maximum(_filled(points[RIGHT_BROW, :2], 3.0), _filled(points[LEFT_BROW, :2], 3.0))
    lab[..., 0] *= 1 - 0.45 * person.brow_dark * brows
    lab[..., 0] *= 1 - 0.26 * person.stubble * _beard(source)
    lab[..., 1:] *= 1 - 0.35 * person.stubble * _beard(source)[..., None]
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255


def _regions(source: Base) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skin without eyes and teeth, hair, suit; carried on over the edge of the person, as the
    colours are.
    """
    holes = [_filled(source.points[index, :2], 0.8) for index in (LEFT_EYE, RIGHT_EYE, INNER_LIPS)]
    skin = source.skin * (1 - np.maximum.reduce(holes))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
    outside = 1 - source.alpha
    return skin, np.maximum(source.hair, outside * cv2.dilate(source.hair, kernel)), source.suit


def _toned(lab: np.ndarray, mean: np.ndarray, wanted: np.ndarray, chroma: float) -> np.ndarray:
    """Lightness by a power curve (black and highlights stay), hue moved, variation of hue
    damped.
    """
    power = np.log(wanted[0] / 100) / np.log(mean[0] / 100)
    lightness = 100 * (np.clip(lab[..., :1], 0.5, 100) / 100) ** power
    was, now = (
        np.clip(lab[..., :1] / mean[0], 0, 1),
        np.clip(lightness / wanted[0], 0, 1),
    )  # shadows have less colour
    return np.concatenate(
        [lightness, (lab[..., 1:] - mean[1:] * was) * chroma + wanted[1:] * now], axis=-1
    )


def _mean(lab: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weight = (mask > 0.8).astype(np.float32)[..., None]
    return (lab * weight).sum((0, 1)) / weight.sum()


def _filled(polygon: np.ndarray, blur: float) -> np.ndarray:
    """Mask [512, 512] of the convex hull of the polygon [N, 2] px, softened."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(polygon).astype(np.int32)), 1.0)
    return cv2.GaussianBlur(mask, (0, 0), blur)


def _beard(source: Base) -> np.ndarray:
    """Where stubble grows: lower face and upper lip, without lips."""
    p = source.points[:, :2]
    lower = _filled(
        np.concatenate([p[[205, 425, 2]] + [0, 6], p[[132, 361, 58, 288, 172, 397, 152]]]), 9.0
    )
    return lower * source.skin * (1 - _filled(p[OUTER_LIPS], 2.5))


def _background(person: Person) -> np.ndarray:
    """A studio wall: one colour, lit from behind the head, darker to the corners; float32 RGB [512,
    512, 3].
    """
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    light = 1.12 - 0.5 * ((x - 0.42) ** 2 + (y - 0.4) ** 2)
    return np.clip(np.array(person.background, np.float32) * light[..., None], 0, 255).astype(
        np.float32
    )


def _shape(source: Base, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """The person's points [478, 3] and the map [512, 512, 2] from each pixel back into the base."""
    from scipy.interpolate import RBFInterpolator

    points = source.points.copy()
    points[:, :2] += _displacement(source.points, person)
    rim = outline(source.alpha, points[_BRIDGE, :2])
    away = rim - source.points[_BRIDGE, :2]
    high = np.clip(-away[:, 1:] / 60, 0, 1)  # beside the cheeks the hair follows the face
    hair = rim + away * [1, 0] * person.width + away * person.hair_volume * high * [0.6, 0.6]
    corners = [[x, y] for x in (0, 171, 341, 511) for y in (0, 511)]
    frame = np.array(
        [*corners, [0, 400], [511, 400], [60, 350], [440, 350]]
    )  # and the shoulders stay
    inner = np.unique([*OVAL, *OUTER_LIPS, *RIGHT_BROW, *LEFT_BROW, *range(0, 468, 9)])
    here = np.concatenate([points[inner, :2], hair, frame])
    there = np.concatenate([source.points[inner, :2], rim, frame])
    y, x = np.mgrid[0:SIZE:8, 0:SIZE:8]
    coarse = RBFInterpolator(here, there - here, smoothing=2.0)(
        np.stack([x.ravel(), y.ravel()], -1).astype(float)
    )
    return points, _dense(coarse.reshape(*x.shape, 2).astype(np.float32))


def _dense(coarse: np.ndarray) -> np.ndarray:
    """Displacement [64, 64, 2] at every eighth pixel -> absolute map [512, 512, 2]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    step = SIZE // coarse.shape[0]
    field = cv2.remap(coarse, x / step, y / step, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return field + np.stack([x, y], axis=-1)


def outline(alpha: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Where rays from the middle of the face upwards and sideways leave the hair, px [N, 2]."""
    angle = np.deg2rad(np.arange(-200, 21, 10))
    ray = centre + np.arange(60, 240)[:, None, None] * np.stack(
        [np.cos(angle), np.sin(angle)], -1
    )  # [R, N, 2]
    inside = cv2.remap(alpha, ray.astype(np.float32), None, cv2.INTER_LINEAR) > 0.5
    return ray[np.argmin(inside, axis=0), np.arange(len(angle))]


def _displacement(points: np.ndarray, person: Person) -> np.ndarray:
    """What the shape does to the points [478, 3] of the base, px [478, 2]."""
    middle, xy = points[_BRIDGE, :2], points[:, :2]
    dx, height = xy[:, 0] - middle[0], points[152, 1] - middle[1]
    down = np.clip((xy[:, 1] - middle[1]) / height, 0, 1)
    move = np.zeros_like(xy)
    move[:, 0] += dx * (
        person.width + person.jaw * _bump(down, 0.85, 0.35) + person.cheeks * _bump(down, 0.5, 0.25)
    )
    move[:, 1] += person.chin * height * np.clip((down - 0.62) / 0.38, 0, 1) ** 1.5
    nose, lips = xy[2], xy[[13, 14]].mean(0)
    move[:, 0] += person.nose * (xy[:, 0] - nose[0]) * _near(xy, nose - [0, 8], 22, 20)
    move[:, 0] += person.mouth * (xy[:, 0] - lips[0]) * _near(xy, lips, 52, 22)
    move[:, 1] += person.lips * (xy[:, 1] - lips[1]) * _near(xy, lips, 44, 14) * 0.8
    for eye, brow in ((468, 105), (473, 334)):
        away = _near(xy, xy[eye], 30, 22)
        move[:, 0] += person.eyes * 88 * np.sign(xy[eye, 0] - middle[0]) * away
        move[:, 1] -= person.brows * 45 * _near(xy, xy[brow], 34, 13)
    return move


def _bump(value: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.exp(-(((value - middle) / width) ** 2))


def _near(xy: np.ndarray, place: np.ndarray, across: float, down: float) -> np.ndarray:
    """1 at `place`, falling off with the given widths, [N]."""
    return np.exp(-((((xy - place) / [across, down]) ** 2).sum(-1)))
