"""One donor's face on one target's motion, frame by frame, without weights.

The outline of the face is moved towards the donor's (with its surroundings, smoothly), and whole
features with the `Skull`; the donor's skin is drawn on the face points in the light of the target,
and other skin takes the donor's colour. Eye openings, brows, lips and mouth, hair and upper
forehead stay the target's, but for their place and colour. Colours are LAB uint8 inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from datagen.swap.area import filled, skin_area, sockets
from datagen.swap.donors import Donor, face_at_size
from datagen.swap.skull import Skull, evened, most_different
from datagen.swap.tones import (
    SPREAD,
    TONE,
    chroma,
    colour_step,
    distances,
    gauss,
    halved,
    inside_of,
    layered,
    likeness,
    ramp,
    tones_at,
)
from datagen.swap.warp import warp
from datagen.vision import geometry as g
from datagen.vision import mesh

DONOR_EYES = 120.0  # px between the donor's eyes, at which its picture is kept
MAX_MOVE = 0.12  # interocular distances that a single point may move
OUTLINE_MOVE = 0.05  # the same, of the outline on average, where the faces differ enough
# openings that stay, with the width of the line around them
OPENINGS = ((g.RIGHT_EYE, 0.32), (g.LEFT_EYE, 0.32), (g.INNER_LIPS, 0.03))
CONTRAST = 11.0  # steps of lightness, the deviation of donor detail beyond which it is damped
BROW, MOUTH, CHIN = 9, 17, 152  # on the middle line: amid the brows, below the lower lip, lowest
BROWS = g.RIGHT_BROW + g.LEFT_BROW
LIPS = [11, 72, 302, 16, 85, 315]  # amid their red
OVER_BROWS = [[104, 69, 108], [333, 299, 337]]  # on the forehead
FOLDS = [203, 206, 216, 423, 426, 436]  # from the nose to the corners of the mouth, deep in a smile
SOCKET = 0.85  # how sure it is that what surrounds an eye is skin
ODD = np.array([30, 9, 9], np.float32)  # LAB steps by which skin may look otherwise for a moment
COLOURLESS = 3.0, 8.0  # chroma below which a face has no colour, and above which it has
# with the groove below: they stretch badly, and look like a moustache then
NOSTRILS = [2, 97, 326, 164]


class Swapper:
    """Puts one donor's face into frames. `neutral` [478, 3] is the target's usual face (default:
    that of the frame).
    """

    def __init__(
        self,
        donor: Donor,
        neutral: np.ndarray | None = None,
        shape: float = 1.0,
        colour: float = 0.85,
        skull: Skull | None = None,
    ):
        self.shape, self.colour = shape, colour
        self.paint = 1.0  # opacity of the donor's features
        lab, points = face_at_size(donor, DONOR_EYES)
        self.source = mesh.better_half(points)
        self.frontal = mesh.symmetric(mesh.closed(mesh.frontal(donor.points))[: mesh.SURFACE])
        self.gap = distances(self.frontal, mesh.FEATURES).min(1)
        self.skin = np.flatnonzero((self.gap > 0.08) & (mesh.depth() > 0))
        self.reach = gauss(distances(self.frontal, self.skin), 0.22)
        tones = tones_at(lab, self.source)
        self.lips = np.median(tones[LIPS], 0)
        self.tone, self.spread = np.median(tones[self.skin], 0), tones[self.skin].std(0)
        like = np.exp(-(((tones - self.tone) / (1.5 * SPREAD)) ** 2).sum(1) / 2)
        self.like = np.maximum(like, self.gap < 0.1)
        self.detail = self._detail(lab, points, tones)
        self.masks, self.limit = self._masks()
        self.neutral = None if neutral is None else mesh.closed(mesh.frontal(neutral))
        self.apart = None if neutral is None else self._apart(neutral)
        self.skull = skull
        self.usual: np.ndarray | None = None

    def learn(self, pictures: np.ndarray, points: np.ndarray) -> None:
        """What the target's skin usually looks like, from a few RGB uint8 frames and their points
        [N, 478, 3] px. What looks otherwise for a moment, a hand or a subtitle, is not painted.
        """
        seen = []
        for rgb, face in zip(pictures, points, strict=True):
            tones = tones_at(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), face[: mesh.SURFACE])
            seen.append(tones - np.median(tones[self.skin], 0))
        self.usual = np.median(seen, 0)

    def covered(self, rgb: np.ndarray, points: np.ndarray) -> float:
        """The share of the face, in a target's frame, before which something lies that is not there
        usually.
        """
        return float(np.mean(self._covered(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), points)))

    def _covered(self, lab: np.ndarray, points: np.ndarray) -> np.ndarray | float:
        """How likely something lies before the face at each of the 468 points, 0..1."""
        if self.usual is None:
            return 0.0
        tones = tones_at(lab, points[: mesh.SURFACE])
        odd = np.abs(tones - np.median(tones[self.skin], 0) - self.usual) / ODD
        return evened(ramp(odd.max(1), 1, 2))

    @property
    def skull(self) -> Skull | None:
        """The other build that the target's head gets."""
        return self._skull

    @skull.setter
    def skull(self, skull: Skull | None) -> None:
        self._skull = skull
        neutral = self.neutral
        self._shifts = None if skull is None or neutral is None else skull.moves(neutral)

    def builds(self, seed: int, count: int) -> list[Skull]:
        """Other builds for the target's head, the most different first: towards the donor's, and by
        the seed.
        """
        assert self.neutral is not None
        return most_different(self.neutral, self.frontal, seed, count)

    def __call__(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        """RGB uint8 [H, W, 3] frame and its points float32 [478, 3] px -> RGB uint8 [H, W, 3]."""
        x0, y0, x1, y1 = _surroundings(points, rgb.shape)
        swapped = rgb.copy()
        part = np.ascontiguousarray(rgb[y0:y1, x0:x1])
        near = points - np.array([x0, y0, 0], np.float32)
        swapped[y0:y1, x0:x1] = self._of_part(part, near)
        return swapped

    def _of_part(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        facing = mesh.facing(points, mesh.triangles())
        warped, points = warp(rgb, points, self._all_moves(points), facing)
        lab = cv2.cvtColor(warped, cv2.COLOR_RGB2LAB)
        bare = 1 - self._covered(lab, points)
        lab, likely = self._recolour(lab, points, facing)
        if self.paint:
            lab = self._paint(lab, likely, points, facing, bare)
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Where the points [478, 3] px of a target's frame lie in the twin's."""
        moved = points.copy()
        moved[:, :2] += self._all_moves(points)
        return moved

    def moves(self, points: np.ndarray) -> np.ndarray:
        """How far each of the 468 points goes towards its new place, px [468, 2]; without a skull 0
        at eyes, brows and lips.
        """
        return self._all_moves(points)[: mesh.SURFACE]

    def _all_moves(self, points: np.ndarray) -> np.ndarray:
        """Those of all points, px [478, 2]."""
        apart = self._apart(points) if self.apart is None else self.apart
        shifts = np.zeros((g.POINTS, 2)) if self._shifts is None else self._shifts.copy()
        shifts[: mesh.SURFACE] += self.shape * apart
        moves: np.ndarray = (shifts @ g.head_rotation(points)[:2, :2].T) * g.interocular(points)
        return moves

    def change(
        self, before: np.ndarray, after: np.ndarray, points: np.ndarray
    ) -> tuple[float, float]:
        """Mean move of the outline in interocular distances, and of the skin's median colour in LAB
        steps.
        """
        outline = np.linalg.norm(self.moves(points)[g.OVAL], axis=1).mean() / g.interocular(points)
        labs = [cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB) for rgb in (before, after)]
        old, new = (np.median(tones_at(lab, points[self.skin]), 0) for lab in labs)
        return float(outline), float(np.linalg.norm(new - old))

    def _detail(self, lab: np.ndarray, points: np.ndarray, tones: np.ndarray) -> list[np.ndarray]:
        """The donor's picture less its own light, float32 [H, W, 3], at full, half and quarter
        size.
        """
        light = self._smooth(tones[self.skin], self.tone, self.like[self.skin])
        place_and_mask = np.zeros((mesh.SURFACE, 2), np.float32)
        drawn, (x0, y0, x1, y1) = mesh.draw(
            points, np.hstack([place_and_mask, light, place_and_mask]), lab.shape[:2]
        )
        flat = lab.astype(np.float32)
        flat[y0:y1, x0:x1] -= drawn[..., 2:5]
        loud = mesh.sample(flat, self.source)[self.skin, 0].std()  # hard light leaves edges
        flat *= min(1.0, CONTRAST / float(loud))
        return [flat, halved(flat), halved(halved(flat))]

    def _masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Per point: the donor's opacity, its share that stays over what is no skin [468, 2]; its
        contrast [468, 3].
        """
        alpha = ramp(mesh.depth(), 0, 3) * (1 - ramp(self._above(), 0.04, 0.45)) * self.like
        alpha *= 1 - 0.8 * self._close(NOSTRILS, 0.12)
        alpha *= 1 - 0.8 * self._close(g.OUTER_LIPS, 0.05)
        trust = ramp(mesh.depth(), 2, 4) * (1 - ramp(self._above(), 0.0, 0.12))
        alpha *= 1 - self._close(BROWS, 0.07)  # the target's own, that frown
        alpha *= 1 - 0.85 * self._close(FOLDS, 0.1)
        limit = np.tile(np.array([22, 8, 8], np.float32), (mesh.SURFACE, 1))
        limit *= 1 - 0.65 * self._close(g.OUTER_LIPS, 0.2)[:, None]  # folds of a smile
        return np.stack([alpha, trust], 1), limit

    def _above(self) -> np.ndarray:
        """Interocular distances above the brows [468]."""
        return self.frontal[BROWS, 1].min() - self.frontal[:, 1]

    def _close(self, indices: Sequence[int], reach: float) -> np.ndarray:
        """1 at the points with these indices, fading to 0 at twice `reach` from them: [468]."""
        return 1 - ramp(distances(self.frontal, indices).min(1), reach, 2 * reach)

    def _smooth(self, tones: np.ndarray, usual: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Colours at the skin points [S, 3], `usual` where few weigh much, as smooth light at all
        points: [468, 3].
        """
        reach = self.reach * weight
        return ((reach @ tones + 0.3 * usual) / (reach.sum(1, keepdims=True) + 0.3)).astype(
            np.float32
        )

    def _apart(self, points: np.ndarray) -> np.ndarray:
        """From a face's usual points to the donor's, seen from the front, in interocular distances:
        [468, 2].
        """
        own = mesh.closed(mesh.frontal(points))[: mesh.SURFACE, :2]
        apart = _fitted(self.frontal[:, :2], own) - own
        length = np.linalg.norm(apart, axis=1, keepdims=True)
        apart *= 1 - 0.8 * ramp(self._above(), 0.0, 0.3)[:, None]  # under hair nobody sees it
        bounded = MAX_MOVE * np.tanh(length / MAX_MOVE) / np.maximum(length, 1e-6)
        apart *= bounded * ramp(self.gap, 0.04, 0.3)[:, None]
        outline = np.linalg.norm(apart[g.OVAL], axis=1).mean()
        return apart * min(1.4, OUTLINE_MOVE / max(float(outline), 1e-6))

    def _recolour(
        self, lab: np.ndarray, points: np.ndarray, facing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The frame with the donor's skin colour on all skin near the face; how like skin it is [H
        / 2, W / 2].
        """
        seen = tones_at(lab, points[self.skin])[facing[self.skin] > 0.2]
        mean, spread = np.median(seen, 0), seen.std(0)
        half = halved(lab)
        likely = likeness(half, mean) * skin_area(points / 2, half.shape[:2])
        around_eyes = sockets(points / 2, half.shape[:2])
        # also in shadow
        likely = np.maximum(likely, SOCKET * around_eyes * np.sqrt(np.sqrt(likely)))
        wider = np.clip(self.spread / np.maximum(spread, 1), 0.6, 1.2) - 1
        gain = self.colour * wider * np.array([0, 1, 1], np.float32)
        offset = self.colour * TONE * colour_step(self.tone, mean) - gain * mean
        coloured = ramp(np.minimum(chroma(mean), chroma(self.tone)), *COLOURLESS)
        takes = np.array([1, coloured, coloured], np.float32)  # what is grey stays grey
        gain, offset = gain * takes, offset * takes
        change = cv2.transform(
            half.astype(np.float32), np.column_stack([np.diag(gain), offset]).astype(np.float32)
        )
        outside_eyes = 1 - inside_of(points / 2, [(g.RIGHT_EYE, 0), (g.LEFT_EYE, 0)], likely.shape)
        change *= layered(likely * outside_eyes)
        red = 0.7 * inside_of(points / 2, [(g.OUTER_LIPS, 0), (g.INNER_LIPS, 0)], likely.shape)
        own_lips = np.median(tones_at(lab, points[LIPS]), 0)
        towards = takes * self.colour * TONE * colour_step(self.lips, own_lips)
        change += cv2.transform(red, towards[:, None]) - change * layered(red)
        self._darken_brows(change, half, points)
        change = cv2.resize(change, lab.shape[1::-1])
        return cv2.add(lab, change, dtype=cv2.CV_8U), likely

    def _darken_brows(self, change: np.ndarray, half: np.ndarray, points: np.ndarray) -> None:
        """Makes hair of the brows darker or lighter, by the skull's share of what sets it off from
        the skin.
        """
        if self._skull is None or not self._skull.brow_dark:
            return
        skin = tones_at(half, points[OVER_BROWS].reshape(-1, 3) / 2)[:, 0].reshape(2, -1).mean(1)
        for light, ring in zip(skin, (g.RIGHT_BROW, g.LEFT_BROW), strict=True):
            where = filled(points / 2, [ring], half.shape[:2], 0.04)
            darker = np.minimum(half[..., 0] - np.float32(light) + 4, 0)
            change[..., 0] += self._skull.brow_dark * where * darker

    def _paint(
        self,
        lab: np.ndarray,
        likely: np.ndarray,
        points: np.ndarray,
        facing: np.ndarray,
        bare: np.ndarray | float,
    ) -> np.ndarray:
        """The frame with the donor's detail drawn on the face where it is `bare`, lit like the
        target.
        """
        smaller = np.log2(1.2 * DONOR_EYES / g.interocular(points))
        level = int(np.clip(smaller, 0, len(self.detail) - 1))
        source = (self.source + 0.5) / 2**level - 0.5
        masks = self.masks * np.stack([ramp(facing, 0.05, 0.3) * bare, np.ones_like(facing)], 1)
        values = np.hstack([source, self._light(lab, points, facing), self.limit, masks])
        drawn, (x0, y0, x1, y1) = mesh.draw(points, values, lab.shape[:2])
        edge = cv2.BORDER_REPLICATE
        detail = cv2.remap(
            self.detail[level], drawn[..., :2], None, cv2.INTER_LINEAR, borderMode=edge
        )
        damped = detail / (drawn[..., 5:8] + 1)
        face = drawn[..., 2:5] + detail / cv2.sqrt(damped * damped + 1)
        skin = cv2.resize(likely[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2], (x1 - x0, y1 - y0))
        alpha = self.paint * drawn[..., 8] * np.maximum(drawn[..., 9], skin)
        alpha *= 1 - inside_of(points - np.array([x0, y0, 0], np.float32), OPENINGS, alpha.shape)
        box = lab[y0:y1, x0:x1]
        box[:] = np.clip(box + (face - box) * layered(alpha) + 0.5, 0, 255)
        return lab

    def _light(self, lab: np.ndarray, points: np.ndarray, facing: np.ndarray) -> np.ndarray:
        """The light on the target's skin, smooth, at all points: [468, 3]."""
        tones = tones_at(lab, points[self.skin])
        usual = np.median(tones, 0)
        like = np.exp(-(((tones - usual) / SPREAD) ** 2).sum(1) / 2)
        return self._smooth(tones, usual, like * np.clip(facing[self.skin], 0.02, 1))


def _fitted(donor: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The donor's frontal points [468, 2] with brow and mouth at the height of one's own, its
    proportions kept.

    The chin gets its share of the face's length, and all widths theirs.
    """
    brow, mouth, chin = donor[[BROW, MOUTH, CHIN], 1]
    ends = own[[BROW, MOUTH], 1]
    lower = (ends[1] - ends[0]) * (chin - mouth) / (mouth - brow)
    y = np.where(
        donor[:, 1] < mouth,
        ends[0] + (donor[:, 1] - brow) * (ends[1] - ends[0]) / (mouth - brow),
        ends[1] + (donor[:, 1] - mouth) * lower / (chin - mouth),
    )
    return np.stack([donor[:, 0] * (ends[1] - ends[0] + lower) / (chin - brow), y], axis=1)


def _surroundings(points: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What of a frame may change: the head and the neck, a box x0, y0, x1, y1 px of whole even
    numbers.
    """
    eyes = float(g.interocular(points))
    low, high = np.split(g.box(points), 2)
    low, high = low - np.array([0.7, 0.6]) * eyes, high + np.array([0.7, 1.3]) * eyes
    limit = np.array(shape[1::-1])
    x0, y0 = (2 * np.floor(np.clip(low, 0, limit - 32) / 2).astype(int)).tolist()
    x1, y1 = np.maximum(
        np.minimum(limit, (2 * np.ceil(high / 2)).astype(int)), [x0 + 32, y0 + 32]
    ).tolist()
    return x0, y0, x1, y1
