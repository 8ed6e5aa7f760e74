"""Another build of the head: whole features moved, widened and turned in the head's own frame.

A feature (an eye with its lids, a brow, the nose, the mouth, the chin ...) moves as one piece, by
the same amount in every frame, so that its form and all its motion stay. Between features the skin
follows smoothly. Lengths are interocular distances, as seen from the front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import zip_longest

import numpy as np

from datagen.vision import geometry as g
from datagen.vision import mesh
from datagen.vision.identity import FIVE, similarity

# fmt: off
RIGHT_SOCKET = [  # around the eye: with the fold of the upper lid, so that it moves along
    *g.RIGHT_EYE, 247, 30, 29, 27, 28, 56, 190, 25, 110, 24, 23, 22, 26, 112, 243, 130,
]
NOSE = [1, 2, 4, 5, 19, 94, 97, 98, 326, 327, 44, 45, 48, 64, 115, 129, 220, 274, 275, 278, 294,
        344, 358, 440]
BRIDGE = [6, 168, 193, 197, 417]
CHIN = [148, 152, 171, 175, 199, 377, 396]
RIGHT_JAW, RIGHT_CHEEK, RIGHT_TEMPLE = [58, 136, 150, 172], [93, 132, 234], [21, 54, 127, 162]
CROWN = [10, 67, 103, 109, 297, 332, 338]
# fmt: on
PAIRED = {  # members of each feature on the person's right
    "eye": RIGHT_SOCKET,
    "brow": g.RIGHT_BROW,
    "jaw": RIGHT_JAW,
    "cheek": RIGHT_CHEEK,
    "temple": RIGHT_TEMPLE,
}
MIDDLE = {
    "nose": NOSE,
    "bridge": BRIDGE,
    "mouth": g.OUTER_LIPS + g.INNER_LIPS,
    "chin": CHIN,
    "crown": CROWN,
}
FEATURES = ("eye", "brow", "nose", "mouth")  # that keep their form; bone and skin follow softly
ROUNDS = 8  # of evening out
SHARPNESS = 2.5  # of the transition between two features
SOFT = 0.03  # interocular distances around a member that belong to it alone


@dataclass(frozen=True)
class Skull:
    """What is different: shifts outward or down (interocular distances), shares wider or taller."""

    eye_apart: float = 0.0  # of each eye
    eye_down: float = 0.0
    eye_size: float = 0.0  # share
    eye_tilt: float = 0.0  # rad, outer corner down
    brow_apart: float = 0.0
    brow_down: float = 0.0
    brow_thick: float = 0.0  # share
    brow_tilt: float = 0.0  # rad, outer end down
    brow_dark: float = 0.0  # share of what sets their hair off from the skin
    nose_wide: float = 0.0  # share
    nose_down: float = 0.0
    mouth_wide: float = 0.0  # share
    mouth_down: float = 0.0
    lips_full: float = 0.0  # share
    chin_down: float = 0.0
    jaw_wide: float = 0.0  # shift of each side
    cheek_wide: float = 0.0

    def __mul__(self, strength: float) -> Skull:
        return Skull(**{f.name: strength * getattr(self, f.name) for f in fields(self)})

    def moves(self, frontal: np.ndarray) -> np.ndarray:
        """Where the points [468+, 2+] of a face seen from the front go: shifts [N, 2]."""
        own = frontal[:, :2].astype(np.float64)
        groups = members()
        shifts = np.stack([self._shift(name, side, own, group) for (name, side), group in groups])
        moves = relaxed(np.einsum("nu,unk->nk", shares(own), shifts))
        for ring, iris in ((g.RIGHT_EYE, g.RIGHT_IRIS), (g.LEFT_EYE, g.LEFT_IRIS)):
            moves[iris : iris + 5] = moves[ring].mean(0)
        return moves

    def _shift(self, name: str, side: int, own: np.ndarray, group: list[int]) -> np.ndarray:
        """What one feature's own change would do to all points: [N, 2]."""
        (apart, down), (wide, tall), tilt = self._changes()[name]
        centre = own[group].mean(0)
        away = own - centre
        turn = side * tilt
        turned = away + turn * np.stack([-away[:, 1], away[:, 0]], 1)
        return turned * [1 + wide, 1 + tall] - away + np.array([side * apart, down])

    def _changes(self) -> Mapping[str, tuple[tuple[float, float], tuple[float, float], float]]:
        """Of each feature: (outward, down), (wider, taller), turn."""
        size, none = self.eye_size, (0.0, 0.0)
        bridge = self.nose_wide / 2 + 3 * self.eye_apart  # as wide as the eyes leave room
        return {
            "eye": ((self.eye_apart, self.eye_down), (size, size), self.eye_tilt),
            "brow": ((self.brow_apart, self.brow_down), (0.0, self.brow_thick), self.brow_tilt),
            "nose": ((0.0, self.nose_down), (self.nose_wide, 0.0), 0.0),
            "bridge": ((0.0, self.nose_down / 3), (bridge, 0.0), 0.0),
            "mouth": ((0.0, self.mouth_down), (self.mouth_wide, self.lips_full), 0.0),
            "chin": ((0.0, self.chin_down), (self.jaw_wide / 2, 0.0), 0.0),
            "jaw": ((self.jaw_wide, self.chin_down / 2), none, 0.0),
            "cheek": ((self.cheek_wide, 0.0), none, 0.0),
            "temple": ((self.cheek_wide / 2, 0.0), none, 0.0),
            "crown": (none, none, 0.0),
        }


@lru_cache(maxsize=1)
def members() -> list[tuple[tuple[str, int], list[int]]]:
    """((feature, side), its points): side -1 is the person's right, 1 the left, 0 the middle."""
    other = mesh.mirror()
    sides = [((name, -1), group) for name, group in PAIRED.items()]
    sides += [((name, 1), other[group].tolist()) for name, group in PAIRED.items()]
    return sides + [((name, 0), group) for name, group in MIDDLE.items()]


def shares(own: np.ndarray) -> np.ndarray:
    """How far each of the points [N, 2] goes with each feature: [N, U], each row sums to 1."""
    apart = [
        np.linalg.norm(own[:, None] - own[None, group], axis=-1).min(1) for _, group in members()
    ]
    near = 1 / (np.maximum(np.stack(apart, 1) - SOFT / 2, 0) + 0.01) ** SHARPNESS
    total: np.ndarray = near / near.sum(1, keepdims=True)
    return total


def relaxed(moves: np.ndarray) -> np.ndarray:
    """Moves [N, 2] evened out over the skin between the features, which keep their own."""
    average, stiff = _neighbours()
    smooth = moves.copy()
    for _ in range(ROUNDS):
        smooth[: mesh.SURFACE] = np.where(
            stiff, moves[: mesh.SURFACE], average @ smooth[: mesh.SURFACE]
        )
    return smooth


def evened(values: np.ndarray) -> np.ndarray:
    """Values [468] evened out a little between neighbours."""
    average, _ = _neighbours()
    result: np.ndarray = average @ values
    return result


@lru_cache(maxsize=1)
def _neighbours() -> tuple[np.ndarray, np.ndarray]:
    """What takes the mean over a point and its neighbours [468, 468]; points that keep their place
    in a feature.
    """
    near = np.eye(mesh.SURFACE)
    for a, b, c in mesh.filled().tolist():
        for tail, head in ((a, b), (b, c), (c, a)):
            near[tail, head] = near[head, tail] = 1
    stiff = np.zeros((mesh.SURFACE, 1), bool)
    for (name, _), group in members():
        stiff[[i for i in group if i < mesh.SURFACE]] |= name in FEATURES
    return near / near.sum(1, keepdims=True), stiff


# how far each may go down and up: two deviations among people, as far as that is known
LIMITS: dict[str, tuple[float, float]] = {
    "eye_apart": (-0.05, 0.065),
    "eye_down": (-0.05, 0.045),
    "eye_size": (-0.02, 0.1),  # in smaller eyes, less is seen of lids and brows
    "eye_tilt": (-0.05, 0.05),
    "brow_apart": (-0.02, 0.045),
    "brow_down": (-0.04, 0.06),
    "brow_thick": (-0.1, 0.2),
    "brow_tilt": (-0.025, 0.03),
    "brow_dark": (-0.12, 0.3),
    "nose_wide": (-0.07, 0.15),  # narrower looks pinched
    "nose_down": (-0.035, 0.055),
    "mouth_wide": (-0.07, 0.08),
    "mouth_down": (-0.025, 0.035),
    "lips_full": (-0.06, 0.16),
    "chin_down": (-0.07, 0.12),
    "jaw_wide": (-0.05, 0.06),
    "cheek_wide": (-0.05, 0.05),
}
NOISE = 0.3  # of a limit: a difference between two faces below it says nothing
LEAST = 0.7  # of a limit: what each goes at least
DRAWN = 40  # builds, of which the most different are taken
SEEN = (  # where eyes look at a face, and for how much that counts
    (g.RIGHT_EYE + g.LEFT_EYE, 1.0),
    (NOSE, 1.0),
    (g.RIGHT_BROW + g.LEFT_BROW, 0.7),
    (g.OUTER_LIPS, 0.5),
    ([*RIGHT_JAW, *RIGHT_CHEEK, *CHIN, 288, 365, 379, 397, 323, 361, 454], 0.4),
)
GAP = (
    -0.05,
    0.02,
)  # that the brow may go towards the eye, or away from it: there it moves for itself
FOLLOWS = 0.65  # probability to go towards the donor where it differs


def most_different(own: np.ndarray, donor: np.ndarray, seed: int, count: int) -> list[Skull]:
    """Of many builds drawn for a face [478, 3], seen from the front, those that differ most, with
    eyes nearer to each other and farther apart in turn.

    Each goes towards a donor's face [468, 3] where that differs, else by the seed.
    """
    builds = [drawn(own, donor, seed + index) for index in range(DRAWN)]
    unit = np.stack([Skull(**{name: 1.0}).moves(own)[: mesh.SURFACE] for name in LIMITS])
    sizes = np.array([[getattr(build, name) for name in LIMITS] for build in builds])
    moved = np.tensordot(sizes, unit, 1)  # moves are as good as linear in the changes
    order = np.argsort([-_difference(own[: mesh.SURFACE, :2], moves) for moves in moved])
    best = [builds[index] for index in order]
    near, far = (
        [build for build in best if (build.eye_apart > 0) == side] for side in (False, True)
    )
    return [build for pair in zip_longest(near, far) for build in pair if build is not None][:count]


def drawn(own: np.ndarray, donor: np.ndarray, seed: int) -> Skull:
    """One build, as `most_different` takes them."""
    rng = np.random.default_rng(seed)
    apart = _apart(own, donor)
    changes = {}
    for name, limits in LIMITS.items():
        up, share, follows = rng.random() < 0.5, rng.uniform(LEAST, 1), rng.random() < FOLLOWS
        towards = apart.get(name, 0.0)
        if follows and abs(towards) > NOISE * abs(limits[int(towards > 0)]):
            up = towards > 0
        changes[name] = share * limits[int(up)]
    return Skull(**_clear(changes))


def _difference(own: np.ndarray, moves: np.ndarray) -> float:
    """How differently features lie after moves [468, 2], but for a turn, shift and scale of all."""
    there = own + moves
    turn = similarity(there[list(FIVE)], own[list(FIVE)])
    apart = ((there @ turn[:, :2].T + turn[:, 2] - own) ** 2).sum(1)
    return float(sum(weight * np.sqrt(apart[group].mean()) for group, weight in SEEN))


def _clear(changes: dict[str, float]) -> dict[str, float]:
    """Without what looks odd together: brows that press on the lids, or fly away from them."""
    gap = changes["eye_down"] - changes["brow_down"]  # by which the brow moves away from the eye
    changes["brow_down"] += gap - float(np.clip(gap, *GAP))
    return changes


def _apart(own: np.ndarray, donor: np.ndarray) -> dict[str, float]:
    """From one face seen from the front to another, both of one's own width; the mouth, which may
    smile, aside.
    """
    width = [face[454, 0] - face[234, 0] for face in (own, donor)]
    scale = width[0] / width[1]
    there = {name: scale * value - _places(own)[name] for name, value in _places(donor).items()}
    nose = scale * (donor[358, 0] - donor[129, 0]) / (own[358, 0] - own[129, 0]) - 1
    return {name: float(value) for name, value in {**there, "nose_wide": nose}.items()}


def _places(face: np.ndarray) -> dict[str, float]:
    """Where features lie, half widths outward from the middle."""
    eyes, brows = g.RIGHT_EYE + g.LEFT_EYE, g.RIGHT_BROW + g.LEFT_BROW
    places = {
        "eye_apart": np.abs(face[eyes, 0]).mean(),
        "eye_down": face[eyes, 1].mean(),
        "brow_apart": np.abs(face[brows, 0]).mean(),
        "brow_down": face[brows, 1].mean(),
        "nose_down": face[2, 1],
        "chin_down": face[152, 1],
        "jaw_wide": (face[397, 0] - face[172, 0]) / 2,
    }
    return {name: float(value) for name, value in places.items()}
