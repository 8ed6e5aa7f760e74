"""How a person looks: the blank face in another form, painted anew, with hair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from datagen.core.seeds import seed_of
from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.blank import Blank, blank, filled, grain
from datagen.sources.rendering.elder import elder
from datagen.sources.rendering.hair import beard, brows, hair
from datagen.sources.rendering.person import Person
from datagen.sources.rendering.relief import shading
from datagen.sources.rendering.skull import BRIDGE, outline, warp
from datagen.sources.rendering.spectacles import wear
from datagen.vision.geometry import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE


@dataclass(frozen=True)
class Look:
    """A person ready to be animated: colours continue behind the soft edge of `alpha`."""

    person: Person
    rgb: np.ndarray  # float32 [512, 512, 3] in 0..255
    alpha: np.ndarray  # float32 [512, 512] in 0..1
    background: np.ndarray  # float32 [512, 512, 3]
    points: np.ndarray  # float32 [478, 3] px


@lru_cache(maxsize=16)
def look_of(person: Person) -> Look:
    """Colours first, in the base's own shape where the masks lie, then the warp."""
    source = blank()
    cover, light = hair(person.cut, seed_of("hair", person.name) % 1000)
    painted = _painted(source, person)
    strands = _hair_colour(person, light)
    alpha = np.maximum(source.alpha, cover)
    painted = painted + _grown(cover, source.alpha)[..., None] * (strands - painted)
    painted = _lit(painted, source, person)
    points, back = warp(source.points, outline(alpha, source.points[BRIDGE, :2]), person.shape)
    rgb = cv2.remap(painted, back, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    rgb = wear(rgb, points, person.spectacles)
    alpha = cv2.remap(alpha, back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Look(person, np.clip(rgb, 0, 255), np.clip(alpha, 0, 1), _background(person), points)


def _grown(cover: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The hair's cover, outside of the head carried on over its soft edge."""
    wide = np.clip(2 * cv2.GaussianBlur(cv2.dilate(cover, np.ones((5, 5))), (0, 0), 1.5), 0, 1)
    return cover + (1 - alpha) * (wide - cover)


def _lit(rgb: np.ndarray, source: Blank, person: Person) -> np.ndarray:
    """The head in the light of this person's room, float32 RGB [512, 512, 3]."""
    if not any((*person.lamp, *person.tint)):
        return rgb
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    (cx, cy), (right, below) = source.points[BRIDGE, :2], person.lamp
    slope = right * np.tanh((x - cx) / 70) + below * np.tanh((y - cy - 30) / 90)
    lab = cv2.cvtColor(np.clip(rgb / 255, 0, 1).astype(np.float32), cv2.COLOR_RGB2LAB)
    lab[..., 0] *= 1 + np.where(slope > 0, 0.6 * slope, slope)
    lab[..., 1:] += np.array(person.tint, np.float32)
    lab[..., 0] = np.minimum(lab[..., 0], 100)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255


def _hair_colour(person: Person, light: np.ndarray) -> np.ndarray:
    """Float32 RGB [512, 512, 3] in 0..255."""
    lab = np.empty((SIZE, SIZE, 3), np.float32)
    lab[..., 0] = np.clip(person.hair[0] * light, 2, 96)
    lab[..., 1:] = np.array(person.hair[1:], np.float32) * (0.5 + 0.5 * light)[..., None]
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255


def _painted(source: Blank, person: Person) -> np.ndarray:
    """The base in this person's colours, float32 RGB [512, 512, 3]."""
    lab = cv2.cvtColor(source.rgb / 255, cv2.COLOR_RGB2LAB)
    if person.elder:
        lab += person.elder * elder().share[..., None] * (elder().lab - lab)
    points, seed = source.points, seed_of("face", person.name) % 1000
    skin = _bare_skin(source)[..., None]
    lab[..., :1] += skin * (_relit(lab[..., 0], person, source)[..., None] - lab[..., :1])
    lab = lab + skin * (
        _toned(lab, _mean(lab, source.skin), np.array(person.skin, np.float32), 0.8) - lab
    )
    lab = lab + source.suit[..., None] * np.array(person.suit, np.float32)
    _mark(lab, source, person, seed)
    lips = np.clip(filled(points[OUTER_LIPS, :2], 2.0) - filled(points[INNER_LIPS, :2], 1.5), 0, 1)
    lab[..., 1] += lips * person.lip_red
    lab[..., 0] *= 1 - 0.4 * person.lip_dark * lips
    # gloss would glare on dark skin
    lab[..., 0] -= lips * 0.7 * np.maximum(lab[..., 0] - person.skin[0], 0)
    _grow_hair(lab, source, person, seed)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255


def _relit(lightness: np.ndarray, person: Person, source: Blank) -> np.ndarray:
    """Lightness [512, 512] with the light's side and the skin's roughness of this person."""
    wide = cv2.GaussianBlur(lightness, (0, 0), 9)
    middle = float(source.points[[10, 152, BRIDGE], 0].mean())
    flip = np.array([[-1, 0, 2 * middle], [0, 1, 0]], np.float32)
    mirrored = cv2.warpAffine(wide, flip, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
    other = np.clip(0.5 * (1 - person.light) * (mirrored - wide), -16, 16)
    face = _soft_at(source.points[[195], :2], 90, 90)
    return lightness + face * other + (person.rough - 1) * (lightness - wide) * 0.9 * source.skin


def _mark(lab: np.ndarray, source: Blank, person: Person, seed: int) -> None:
    """Into Lab [512, 512, 3]: freckles, blush, shades of sockets and hollows, lines of age."""
    p = source.points[:, :2]
    lab[..., 0] *= 1 + (shading(source.points, person.relief) - 1) * source.skin
    shade = 0.36 * person.age * _lines(p) + 0.5 * person.crease_dark * _creases(p, person.crease)
    lids = _soft_at(p[[159, 386]] + [0, -6], 22, 8)
    shade += 0.3 * person.shadow * lids
    lab[..., 1:] += (person.shadow * lids)[..., None] * np.array([3, -6], np.float32)
    spots = np.clip(grain(seed, 1.3) - 1.5, 0, 1) * _soft_at(p[[50, 280, 5]], 34, 26)
    lab[..., 0] *= 1 - (shade + 0.22 * person.freckles * spots) * source.skin
    lab[..., 1] += 5 * person.freckles * spots * source.skin
    lab[..., 1] += 8 * person.blush * _soft_at(p[[50, 280]] + [0, 4], 26, 20) * source.skin


def _grow_hair(lab: np.ndarray, source: Blank, person: Person, seed: int) -> None:
    """Into Lab [512, 512, 3]: brows, stubble and beard, in the hair's colour."""
    dark = np.array(person.hair, np.float32)
    lightness = min(dark[0], 60) * 0.7 * (1.3 - 0.8 * person.brow_dark) + 5
    tone = np.array([lightness, *dark[1:] * 0.6], np.float32)
    drawn = brows(source.points, person.brow_thick, person.brow_arch, seed)
    lab += (0.9 * drawn)[..., None] * (tone - lab)
    area = _stubble(source)
    lab[..., 0] *= 1 - 0.26 * person.stubble * area
    lab[..., 1:] *= 1 - 0.35 * person.stubble * area[..., None]
    if person.beard:
        dense = person.beard_dense * beard(source.points, person.beard, seed + 1) * source.skin
        light = 0.8 * dark[0] + 3
        lab += dense[..., None] * (np.array([light, *dark[1:] * 0.7], np.float32) - lab)


def _lines(p: np.ndarray) -> np.ndarray:
    """Folds beside the mouth, bags below the eyes, lines on the forehead: 0..1 [512, 512]."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    folds = [p[[129, 203, 206, 216]], p[[358, 423, 426, 436]]]
    bags = [p[[110, 24, 22, 112]] + [0, 7], p[[339, 254, 252, 341]] + [0, 7]]
    middle = p[9]
    brow = [
        middle + np.array([[x, dy + 0.0016 * x * x] for x in range(-52, 53, 13)])
        for dy in (-12, -23, -33)
    ]
    for line, depth in [
        *[(fold, 1.0) for fold in (*folds, *bags)],
        *[(line, 0.55) for line in brow],
    ]:
        cv2.polylines(mask, [np.int32(np.rint(line * 16))], False, depth, 2, cv2.LINE_AA, 4)
    fine, wide = cv2.GaussianBlur(mask, (0, 0), 1.2), cv2.GaussianBlur(mask, (0, 0), 4)
    return np.clip(0.7 * fine + 1.2 * wide, 0, 1)


def _creases(p: np.ndarray, away: float) -> np.ndarray:
    """The folds of the upper lids, `away` px above the eyes, [512, 512] in 0..1."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    for ring in (RIGHT_EYE, LEFT_EYE):
        line = p[ring[:9]] - np.stack([np.zeros(9), away * np.sin(np.linspace(0.25, 2.9, 9))], -1)
        cv2.polylines(mask, [np.int32(np.rint(line * 16))], False, 1.0, 2, cv2.LINE_AA, 4)
    return np.clip(1.1 * cv2.GaussianBlur(mask, (0, 0), 1.1), 0, 1)


def _soft_at(places: np.ndarray, across: float, down: float) -> np.ndarray:
    """1 at each of the places px [N, 2], falling off with the given widths, float32 [512, 512]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    near = [
        np.exp(-(((x - px) / across) ** 2) - ((y - py) / down) ** 2)
        for px, py in np.array(places, np.float32)
    ]
    return np.maximum.reduce(near)


def _bare_skin(source: Blank) -> np.ndarray:
    """Skin without eyes and teeth, carried on over the edge of the person as the colours are."""
    holes = [filled(source.points[index, :2], 0.8) for index in (LEFT_EYE, RIGHT_EYE, INNER_LIPS)]
    skin = (
        cv2.dilate(source.skin, np.ones((7, 7))) * (1 - source.alpha) + source.skin * source.alpha
    )
    return np.clip(skin, 0, 1) * (1 - np.maximum.reduce(holes))


def _toned(lab: np.ndarray, mean: np.ndarray, wanted: np.ndarray, chroma: float) -> np.ndarray:
    """Lightness by a power curve (black and highlights stay), hue moved, its variation damped."""
    power = np.log(wanted[0] / 100) / np.log(mean[0] / 100)
    lightness = 100 * (np.clip(lab[..., :1], 0.5, 100) / 100) ** power
    was = np.clip(lab[..., :1] / mean[0], 0, 1)  # shadows have less colour
    now = np.clip(lightness / wanted[0], 0, 1)
    hue = (lab[..., 1:] - mean[1:] * was) * chroma + wanted[1:] * now
    return np.concatenate([lightness, hue], axis=-1)


def _mean(lab: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weight = (mask > 0.8).astype(np.float32)[..., None]
    return (lab * weight).sum((0, 1)) / weight.sum()


def _stubble(source: Blank) -> np.ndarray:
    """Where stubble grows: lower face and upper lip, without lips."""
    p = source.points[:, :2]
    low = np.concatenate([p[[205, 425, 2]] + [0, 6], p[[132, 361, 58, 288, 172, 397, 152]]])
    hull = cv2.convexHull(np.array(low, np.float32))[:, 0]
    return filled(hull, 9.0) * source.skin * (1 - filled(p[OUTER_LIPS], 2.5))


def _background(person: Person) -> np.ndarray:
    """A studio wall of one colour, darker to the corners; float32 RGB [512, 512, 3]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    light = 1.12 - 0.5 * ((x - 0.42) ** 2 + (y - 0.4) ** 2)
    return np.clip(np.array(person.background, np.float32) * light[..., None], 0, 255).astype(
        np.float32
    )
