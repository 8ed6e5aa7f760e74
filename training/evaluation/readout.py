"""Reads the motion from small frames, by regression on true frames of a case's people. Ours.

FaceMesh does not work at 64 px. The sample source can draw its people in any pose with known
curves. Two steps of ridge regression on grey pixels, each less its mean over the clip, so that
what does not move has no influence: the whole frame gives the head's angles and the positions of
eyes and mouth, patches around these give the rest.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np

from datagen.core.files import canonical, write_atomically
from datagen.core.seeds import seed_of
from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.motion import HEAD_LIMITS, Motion
from datagen.sources.rendering.people import person
from datagen.sources.rendering.talking_head import TalkingHead
from datagen.vision import geometry
from datagen.vision.drift import watched
from datagen.vision.landmarks import FaceMesh
from model.inputs.driving import Square
from training.metrics.pixels import area

VERSION = 1  # of what is kept
FRAMES = 96  # of each person
SIDE, KEPT = 64, 256  # px of the pictures that are read, and of those that are kept
GAZE = (20.0, 14.0)  # degrees: yaw, pitch
LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)
LEAST = {  # sd of a curve below which it does not move, and has no correlation
    "mouth": 0.05,
    "blink": 0.1,
    "head_yaw": 0.8,
    "head_pitch": 0.8,
    "head_roll": 0.8,
    "gaze_yaw": 3.0,
    "gaze_pitch": 3.0,
}
# points whose middle is followed; half width and height in shares of the side; samples across and
# down
PARTS = {
    "mouth": (geometry.OUTER_LIPS, (8 / 64, 6 / 64), (24, 16)),
    "right": (geometry.RIGHT_EYE, (4.5 / 64, 3 / 64), (16, 10)),
    "left": (geometry.LEFT_EYE, (4.5 / 64, 3 / 64), (16, 10)),
}
SEEN_IN = {"mouth": ("mouth",), "right left": ("blink", "gaze_yaw", "gaze_pitch")}  # parts: curves
STEADINESS = {
    "whole": 0.003,
    "mouth": 0.01,
    "right left": 0.1,
}  # ridge, in shares of the mean variance


@dataclass(frozen=True)
class Subject:
    """A person of the sample source in the poses of `poses()`: whole frames, or cropped ones."""

    pictures: np.ndarray  # uint8 [n, S, S] grey
    middles: np.ndarray  # float64 [n, parts, 2] px of eyes and mouth

    def cut(self, part: Square, drawn: int = SIZE) -> Subject:
        """The square `part` of pictures that were drawn with `drawn` px, in SIDE px."""
        share = self.pictures.shape[1] / drawn
        x, y, side = (part.left * share, part.top * share, part.side * share)
        matrix = np.array([[side / SIDE, 0, x], [0, side / SIDE, y]])
        matrix[:, 2] += 0.5 * (side / SIDE - 1)
        sd = (
            max(side / SIDE - 1, 0) / 2
        )  # what is finer is averaged away, as by a shrinking of areas
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        smooth = (
            cv2.GaussianBlur(picture, (0, 0), sd) if sd > 0.2 else picture
            for picture in self.pictures
        )
        cut = np.stack(
            [cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=flags) for picture in smooth]
        )
        return Subject(cut, (self.middles - [x, y]) * (SIDE / side))


@dataclass(frozen=True)
class Readout:
    """Weights of both steps: pixels or patches @ weights."""

    whole: np.ndarray  # [S * S, curves]
    motion_fields: np.ndarray  # [S * S, parts * 2]  px
    parts: dict[str, np.ndarray]  # [samples, curves]

    @classmethod
    def fitted(cls, subjects: Sequence[Subject], moves: Motion) -> Readout:
        """From some people in the poses of one motion."""
        curves = np.stack([getattr(moves, name) for name in LEAST], axis=1)
        y = np.concatenate([curves - curves.mean(0)] * len(subjects))
        x = np.concatenate([_moving(subject.pictures / 255) for subject in subjects])
        away = [subject.middles - subject.middles.mean(0) for subject in subjects]
        motion_fields = np.concatenate(away).reshape(len(x), -1)
        first = cls(
            _ridge(x, y, STEADINESS["whole"]), _ridge(x, motion_fields, STEADINESS["whole"]), {}
        )
        looks = [
            first.patches(subject.pictures / 255, subject.middles.mean(0)) for subject in subjects
        ]
        joined = {part: np.concatenate([look[part] for look in looks]) for part in SEEN_IN}
        return cls(
            first.whole,
            first.motion_fields,
            {p: _ridge(v, y, STEADINESS[p]) for p, v in joined.items()},
        )

    def __call__(self, pictures: np.ndarray, middles: np.ndarray) -> dict[str, np.ndarray]:
        """Curves [f], up to a constant, of a clip's pictures uint8 [f, S, S, 3] of any side;
        `middles` [parts, 2] says where eyes and mouth are on the whole, in shares of the side.
        """
        grey = area(pictures, SIDE).astype(np.float32) @ LUMA / 255
        rows = dict(zip(LEAST, (_moving(grey) @ self.whole).T, strict=True))
        for part, values in self.patches(grey, middles * SIDE).items():
            found = dict(zip(LEAST, (values @ self.parts[part]).T, strict=True))
            rows |= {name: found[name] for name in SEEN_IN[part]}
        return rows

    def patches(self, grey: np.ndarray, middles: np.ndarray) -> dict[str, np.ndarray]:
        """Patches [f, samples] around eyes and mouth where the whole picture says that they are,
        turned upright.
        """
        x = _moving(grey)
        where = middles + (x @ self.motion_fields).reshape(len(x), *middles.shape)
        roll = np.deg2rad(x @ self.whole[:, list(LEAST).index("head_roll")])
        cut = {name: _unit(_patches(grey, where[:, i], roll, name)) for i, name in enumerate(PARTS)}
        return {
            group: np.concatenate([cut[name] for name in group.split()], axis=1)
            for group in SEEN_IN
        }


def poses(count: int = FRAMES) -> Motion:
    """Random poses, each by itself and all angles independent, so that no curve is read from
    another.
    """
    rng = np.random.default_rng(seed_of("readout", count))
    reach = dict(zip(("head_yaw", "head_pitch", "head_roll"), HEAD_LIMITS, strict=True))
    reach |= {
        "gaze_yaw": GAZE[0],
        "gaze_pitch": GAZE[1],
        "smile": 0.35,
        "shift_x": 3.0,
        "shift_y": 2.5,
    }
    curves = {
        f.name: rng.uniform(-1, 1, count) * reach.get(f.name, 0)
        for f in fields(Motion)
        if f.name != "fps"
    }
    curves["mouth"] = rng.uniform(0, 0.75, count)
    curves["blink"] = np.where(rng.random(count) < 0.6, 0, rng.uniform(0, 1, count))
    return Motion(25.0, **curves)


def middles_of(points: np.ndarray) -> np.ndarray:
    """Middles [f, parts, 2] of eyes and mouth of points [f, 478, 2+]."""
    return np.stack([points[:, list(group), :2].mean(1) for group, _, _ in PARTS.values()], axis=1)


def subject(who: int, folder: Path | None = None) -> Subject:
    """Whole pictures of KEPT px, drawn in about 3 s, or what an earlier call left in the folder."""
    look = sha256(canonical([VERSION, FRAMES, asdict(person(who))]).encode()).hexdigest()[:16]
    path = None if folder is None else folder / f"{person(who).name}-{look}.npz"
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as file:
            return Subject(file["pictures"], file["middles"])
    drawn = _drawn(who)
    if path is not None:
        _keep(path, drawn)
    return drawn


def _drawn(who: int) -> Subject:
    large = np.stack(list(TalkingHead(person(who)).frames(poses())))
    middles = middles_of(watched(FaceMesh(), large)) * (KEPT / SIZE)
    known = ~np.isnan(middles).any((1, 2), keepdims=True)
    grey = np.rint(area(large, KEPT).astype(np.float32) @ LUMA).astype(np.uint8)
    return Subject(grey, np.where(known, middles, np.nanmean(middles, axis=0)))


def _keep(path: Path, drawn: Subject) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, pictures=drawn.pictures, middles=drawn.middles)
    write_atomically(path, file.getvalue())


def _ridge(x: np.ndarray, y: np.ndarray, steadiness: float) -> np.ndarray:
    """Weights [features, curves] by the dual form, since there are fewer pictures than pixels."""
    inner = x @ x.T
    inner[np.diag_indices_from(inner)] += steadiness * np.trace(inner) / len(inner)
    return x.T @ np.linalg.solve(inner, y)


def _moving(grey: np.ndarray) -> np.ndarray:
    """Pixels [f, S * S] of grey pictures [f, S, S] without the clip's mean picture, in units of its
    contrast.
    """
    return _unit(grey.reshape(len(grey), -1))


def _unit(values: np.ndarray) -> np.ndarray:
    """Float64 [f, n] in [0, 1] less their means over time, over the mean picture's sd."""
    values = values.astype(np.float64)
    mean = values.mean(0)
    return (values - mean) / ((mean.std() + 1e-3) * np.sqrt(values.shape[1]))


def _patches(grey: np.ndarray, where: np.ndarray, roll: np.ndarray, name: str) -> np.ndarray:
    """Around `where` [f, 2] px, turned by `roll` [f] radians: float32 [f, samples]."""
    _, half, (across, down) = PARTS[name]
    x, y = np.meshgrid(
        np.linspace(-1, 1, across) * half[0] * SIDE, np.linspace(-1, 1, down) * half[1] * SIDE
    )
    cosine, sine = np.cos(roll)[:, None, None], np.sin(roll)[:, None, None]
    fields_x = (where[:, 0, None, None] + x * cosine - y * sine - 0.5).astype(np.float32)
    fields_y = (where[:, 1, None, None] + x * sine + y * cosine - 0.5).astype(np.float32)
    cut = [
        cv2.remap(
            picture.astype(np.float32),
            here,
            there,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for picture, here, there in zip(grey, fields_x, fields_y, strict=True)
    ]
    return np.stack(cut).reshape(len(cut), -1)
