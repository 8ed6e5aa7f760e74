"""Leakage: how much of the driving person's identity is in the output. 0 is the reference's
identity, 1 the driver's.

Ours. With truth, A is the motion on the reference's person and B the driving person with the same
motion, pictures RGB in [0, 1] of the same framing, and for every frame

    leakage = <output - A, B - A> / <B - A, B - A>,

the mean over frames is the clip's. It is linear: errors that have nothing to do with B add about
nothing, half of each person gives 0.5, and values below 0 and above 1 are kept. All three are first
smoothed alike (a Gaussian of side / 32 within the region): else a blurred A would seem to leak, for
want of what is fine in A. A picture that is too dark leaks towards a darker B; pairs that are taken
both ways (training.evaluation.cross_cases) cancel that. Which pixels count:

- leakage (the one to quote): those in the face of A or of B, where the driving frames are seen by
  the model
- leakage_pattern: the same, with every picture's mean colour over these pixels removed: blind to
  brightness
- leakage_colour: of the mean CIELAB colours of these pixels
- leakage_shape: of the face points, head pose and size removed (datagen.vision.mesh.frontal),
  averaged over the frames
- leakage_identity: of a face recogniser's descriptors (datagen.vision.identity); null where it does
  not tell the two people's true frames of that size apart
"""

from __future__ import annotations

import cv2
import numpy as np

from datagen.vision.mesh import SURFACE, frontal, shape_ratios
from datagen.vision.regions import face_polygon
from datagen.vision.similarity import COLOUR_UNIT, SHAPE_UNIT

BLUR = 1 / 32  # of the pictures' side: standard deviation of the smoothing


def regions(points: np.ndarray, others: np.ndarray, side: int) -> np.ndarray:
    """bool [f, side, side]: in the face of one or of the other, points [f, 478, 2+] px of pictures
    of `side` px.
    """
    return np.stack(
        [
            face_polygon((side, side), a) | face_polygon((side, side), b)
            for a, b in zip(points, others, strict=True)
        ]
    )


def projection(output: np.ndarray, zero: np.ndarray, one: np.ndarray) -> float:
    """Where `output` lies on the line from `zero` to `one`: 0, 1 or elsewhere; NaN where these are
    the same.
    """
    way = (one - zero).ravel().astype(np.float64)
    length = float(way @ way)
    return (
        float((output - zero).ravel().astype(np.float64) @ way) / length
        if length > 0
        else float("nan")
    )


def of_pictures(
    output: np.ndarray, zero: np.ndarray, one: np.ndarray, region: np.ndarray
) -> dict[str, float]:
    """Pictures RGB uint8 [f, S, S, 3], region bool [f, S, S]; frames without a region are left
    out.
    """
    frames = zip(output, zero, one, region, strict=True)
    rows = [
        _frame(*(smoothed(p, part) for p in pictures)) for *pictures, part in frames if part.any()
    ]
    names = ("leakage", "leakage_pattern", "leakage_colour")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)) if rows else {}


def of_points(output: np.ndarray, zero: np.ndarray, one: np.ndarray) -> float | None:
    """leakage_shape of points [f, 478, 3] px, of frames in which all three show a face."""
    both = ~np.isnan(output[:, 0, 0] + zero[:, 0, 0] + one[:, 0, 0])
    if not both.any():
        return None
    return projection(
        *(frontal(points[both])[:, :SURFACE, :2].mean(0) for points in (output, zero, one))
    )


TOLD_APART = 0.95  # share of verdicts on true frames that must be right


def of_descriptors(
    output: dict[int, np.ndarray], zero: dict[int, np.ndarray], one: dict[int, np.ndarray]
) -> dict[str, float | None]:
    """leakage_identity, and how often the recogniser is right about true frames: whether a frame of
    one person is nearer to that person's at another moment than to the other's.

    Frame -> descriptor [N]. identity_told_apart is null where there are fewer than two moments.
    """
    both = sorted(zero.keys() & one.keys())
    people = [np.array([each[i] for i in both]) for each in (zero, one)]
    right = [
        float(np.linalg.norm(own[i] - own[j]) < np.linalg.norm(own[i] - other[j]))
        for own, other in (people, people[::-1])
        for i in range(len(both))
        for j in range(len(both))
        if i != j
    ]
    told = float(np.mean(right)) if right else None
    shown = [i for i in both if i in output]
    leaks = None
    if told is not None and told >= TOLD_APART and shown:
        leaks = float(np.mean([projection(output[i], zero[i], one[i]) for i in shown]))
    return {"leakage_identity": leaks, "identity_told_apart": told}


def looks(points: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a face is like without its motion: log of shape proportions [6] (medians over frames),
    mean CIELAB [3].

    In units of datagen.agree.mesh: 1 is a clear difference. Points [f, 478, 3] px, colours [f, 3]
    of the same frames.
    """
    known = ~np.isnan(points[:, 0, 0])
    shape = np.log(np.median(shape_ratios(points[known]), axis=0)) / SHAPE_UNIT
    return shape, np.mean(colours[known], axis=0) / COLOUR_UNIT


def of_looks(
    output: tuple[np.ndarray, np.ndarray],
    reference: tuple[np.ndarray, np.ndarray],
    driving: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Without truth: the projection of `looks` on the way from the reference to the driving person.

    An estimate, since proportions and light move with pose and expression (by about 0.2):
    `leakage_estimate` of shape and colour together, and of each. Only for pairs of clearly
    different people.
    """
    shape, colour = (tuple(each[part] for each in (output, reference, driving)) for part in (0, 1))
    both = tuple(np.concatenate(each) for each in (output, reference, driving))
    names = ("leakage_estimate", "leakage_estimate_shape", "leakage_estimate_colour")
    return {
        name: projection(*parts) for name, parts in zip(names, (both, shape, colour), strict=True)
    }


def smoothed(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Gaussian means over a region bool [S, S] of a picture uint8 [S, S, 3], at its pixels: [n, 3]
    in [0, 1].
    """
    sd, weight = len(region) * BLUR, region.astype(np.float32)
    total = cv2.GaussianBlur(picture.astype(np.float32) * weight[..., None], (0, 0), sd)[region]
    return (total / (255 * cv2.GaussianBlur(weight, (0, 0), sd)[region][:, None])).astype(
        np.float64
    )


def _frame(output: np.ndarray, zero: np.ndarray, one: np.ndarray) -> tuple[float, float, float]:
    """Pixels [n, 3] of one frame's region."""
    pictures = output, zero, one
    means = [picture.mean(0) for picture in pictures]
    without = [picture - mean for picture, mean in zip(pictures, means, strict=True)]
    colours = [
        cv2.cvtColor(np.float32(mean).reshape(1, 1, 3), cv2.COLOR_RGB2LAB)[0, 0] for mean in means
    ]
    return projection(*pictures), projection(*without), projection(*colours)
