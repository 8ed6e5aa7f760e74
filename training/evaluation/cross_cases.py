"""Cross pairs with known truth: the sample source renders one person's motion on another's face.

A model that copies the driving person, as training without twins teaches, scores well on a person's
own clips and badly here. All frames of a case are cropped alike, by the square that the stage
`clips` cuts around the truth's face.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from datagen.core.errors import UserError
from datagen.core.files import parse_json
from datagen.core.json import JsonObject
from datagen.core.seeds import seed_of
from datagen.media.video import Frame
from datagen.shards.index import read_index
from datagen.shards.parameters import agreed_parameters, sample_parameters
from datagen.shards.reader import readable
from datagen.sources.rendering.astronaut import SIZE
from datagen.sources.rendering.motion import KINDS, Motion, motion
from datagen.sources.rendering.people import look_of, person
from datagen.sources.rendering.talking_head import TalkingHead
from datagen.vision import geometry
from datagen.vision.crop import STEADY, crop_of
from datagen.vision.drift import watched
from datagen.vision.landmarks import FaceMesh
from datagen.vision.mesh import shape_ratios
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import PersonSegmenter
from datagen.vision.similarity import COLOUR_UNIT, SHAPE_UNIT
from datagen.vision.track import Watcher, main_track, tracks
from model.animator import Reference
from model.inputs.driving import Square, cropped, driving_frames
from model.pipeline import MegActorPipeline

FURTHER = 1000  # first person of those that no shard shows, for val splits of people too alike
TRIED = 12  # how many of them are tried
CLEARLY = 3.0  # units of `difference`: a pair that differs less does not test identity
OPEN = 0.1  # the most blink of a frame that may be the reference


@dataclass(frozen=True, eq=False)
class CrossCase:
    """f frames, RGB uint8. Points are float64 px, NaN where no face was found. Curves [f] have the
    names of Motion's.
    """

    key: str
    reference: np.ndarray  # 512 512 3
    driving: np.ndarray  # f 512 512 3  another person
    truth: np.ndarray  # f 512 512 3  the same motion of the reference's person
    reference_points: np.ndarray  # 478 3
    driving_points: np.ndarray  # f 478 3
    truth_points: np.ndarray  # f 478 3
    background: np.ndarray  # 512 512  bool, of the reference: neither person nor face
    curves: dict[str, np.ndarray]
    fps: float
    people: tuple[str, str]  # reference, driving
    numbers: tuple[int, int] | None = None  # these people in the sample source
    part: Square | None = None  # of the pictures that it draws

    @cached_property
    def boxes(self) -> np.ndarray:
        """Boxes of the driving faces, xyxy px [f, 4], interpolated where none was found."""
        boxes = geometry.box(self.driving_points)
        known = np.flatnonzero(~np.isnan(boxes[:, 0]))
        return np.stack(
            [np.interp(np.arange(len(boxes)), known, side[known]) for side in boxes.T], axis=1
        )

    def reference_for(self, pipeline: MegActorPipeline, seed: int) -> Reference:
        whole, side = Square(0, 0, self.reference.shape[0]), pipeline.side
        pixels = torch.from_numpy(self.reference).permute(2, 0, 1)[None]
        picture = cropped(pixels, whole, side)[0].permute(1, 2, 0).contiguous().numpy()
        mask = torch.from_numpy(self.background)[None, None].float()
        share = cropped(mask, whole, side)[0, 0].numpy()
        return pipeline.reference(picture, share >= 0.5, seed)

    def driving_for(self, pipeline: MegActorPipeline) -> CaseFrames:
        return CaseFrames(self, pipeline.driving_side, pipeline.grey)


@dataclass(frozen=True)
class CaseFrames:
    """The driving frames of a case (model.pipeline.Driving): the face alone, grey or not, [3, n,
    side, side] in [0, 1].
    """

    case: CrossCase
    side: int
    is_grey: bool

    def __len__(self) -> int:
        return len(self.case.driving)

    def read(self, frames: range) -> Tensor:
        window = slice(frames.start, frames.stop)
        rgb = torch.from_numpy(self.case.driving[window]).permute(0, 3, 1, 2)
        whole = Square(0, 0, rgb.shape[-1])
        boxes = self.case.boxes[window]
        return driving_frames(rgb, whole, boxes, self.side, self.is_grey).transpose(0, 1)


def cross_cases(
    shards: Path, count: int = 6, frames: int = 40, stride: int = 1, seed: int = 0
) -> list[CrossCase]:
    """Cases of the people and motions of the val split, which no training has seen, clearest first.

    UserError where the shards are not of the sample source: no other has a truth.
    """
    sources, margin = _held_out(shards)
    people = sorted({source["person"] for source in sources})
    drivers = people + _further(people)
    pairs = _pairs(people, drivers, count)
    motions = _varied(sources)
    chosen = ((pair, number % len(motions)) for number, pair in enumerate(pairs))
    # pairs and motions repeat where there are few; the same case must not count twice
    return [
        _case(pair, motions[index], frames, stride, seed, margin)
        for pair, index in dict.fromkeys(chosen)
    ]


def difference(one: int, other: int) -> float:
    """How much two people of the sample differ in shape and skin colour, in units of
    datagen.vision.similarity.
    """
    a, b = (look_of(person(who)).points for who in (one, other))
    shape = float(np.abs(np.log(shape_ratios(a) / shape_ratios(b))).mean())
    colour = float(np.linalg.norm(np.subtract(person(one).skin, person(other).skin)))
    return shape / SHAPE_UNIT + colour / COLOUR_UNIT


def rendered(who: int, moves: Motion) -> np.ndarray:
    """RGB uint8 [f, 512, 512, 3]"""
    return np.stack(list(_head(who).frames(moves)))


def taken(moves: Motion, frames: Sequence[int] | slice | np.ndarray) -> Motion:
    """Some frames of a motion, with its frame rate unchanged."""
    curves = {f.name: getattr(moves, f.name)[frames] for f in fields(moves) if f.name != "fps"}
    return replace(moves, **curves)


def _held_out(shards: Path) -> tuple[list[JsonObject], float]:
    """Sources of the val split's samples, and the margin that the clips were cut with."""
    index = read_index(shards)
    try:
        samples = [parse_json(data) for data in _documents(shards, index)]
        sources = [
            sample["source"] for sample in samples if sample["source"].get("name") == "sample"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{shards} holds a damaged sample ({error!r}): python -m datagen.verify names it."
        ) from None
    if not sources:
        raise UserError(
            f"the val split of {shards} holds no clip of the sample source, whose truth "
            "alone is known: make shards "
            "with source=sample, or compare videos with --videos."
        )
    parameters = agreed_parameters(shards, index, map(sample_parameters, samples))
    return sources, parameters.margin


def _documents(shards: Path, index: JsonObject) -> Iterator[bytes]:
    for entry in index["shards"]:
        if entry["split"] == "val":
            yield from (data for _, _, data in readable(shards / entry["file"], {"json"}))


def _further(people: Sequence[int]) -> list[int]:
    """Generated people as drivers for those whom nobody in val clearly differs from."""
    lonely = [a for a in people if all(a == b or difference(a, b) < CLEARLY for b in people)]
    return sorted({_furthest(who) for who in lonely})


def _furthest(who: int) -> int:
    return max(range(FURTHER, FURTHER + TRIED), key=lambda other: difference(who, other))


def _pairs(references: Sequence[int], drivers: Sequence[int], count: int) -> list[tuple[int, int]]:
    """(reference, driver), the clearest pairs first, both ways. Everyone is the reference equally
    often, and drivers vary.
    """
    apart = {(a, b): difference(a, b) for a in references for b in drivers if a != b}
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count:
        was, drove = Counter(a for a, _ in chosen), Counter(b for _, b in chosen)
        again = Counter(chosen)
        chosen.append(
            min(
                apart,
                key=lambda p: (was[p[0]], again[p], apart[p] < CLEARLY, drove[p[1]], -apart[p]),
            )
        )
    return chosen


def _varied(sources: Sequence[JsonObject]) -> list[JsonObject]:
    """Sources in an order that takes one motion of each kind, then a second, and so on."""
    rank: Counter[str] = Counter()
    rows: list[tuple[int, int, int]] = []
    for source in sources:
        rows.append((rank[source["motion"]], KINDS.index(source["motion"]), len(rows)))
        rank[source["motion"]] += 1
    return [sources[index] for _, _, index in sorted(rows)]


def _case(
    pair: tuple[int, int],
    source: JsonObject,
    frames: int,
    stride: int,
    seed: int,
    margin: float,
) -> CrossCase:
    who, driver = pair
    whole = motion(source["motion"], source["seconds"], source["fps"], source["seed"])
    moves = taken(whole, slice(0, frames * stride, stride))
    pictures = _still(who, source, seed)[None], rendered(driver, moves), rendered(who, moves)
    mesh = FaceMesh()
    still, driving, truth = (watched(mesh, each) for each in pictures)
    part = _framed(pictures[2], source["fps"] / stride, margin)
    cut = [_cut(each, part) for each in pictures]
    placed = [_placed(points, part) for points in (still, driving, truth)]
    person_seen = PersonSegmenter()(cut[0][0]) | face_polygon(cut[0][0].shape, placed[0][0])
    return CrossCase(
        key=f"cross-{person(who).name}-{person(driver).name}-{source['motion']}-{source['seed']}",
        reference=cut[0][0],
        driving=cut[1],
        truth=cut[2],
        reference_points=placed[0][0],
        driving_points=placed[1],
        truth_points=placed[2],
        background=~person_seen,
        curves={f.name: getattr(moves, f.name) for f in fields(moves) if f.name != "fps"},
        fps=source["fps"] / stride,
        people=(person(who).name, person(driver).name),
        numbers=pair,
        part=part,
    )


def _framed(pictures: np.ndarray, fps: float, margin: float) -> Square:
    """The square that the clips of the shards would have, without following the face."""
    watcher = Watcher((SIZE, SIZE))
    for number, rgb in enumerate(pictures):
        watcher.add(Frame(number / fps, rgb))
    track = main_track(tracks(watcher.times, watcher.faces))
    crop = crop_of(track.smooth(STEADY), (SIZE, SIZE), margin)
    left, top = np.round(np.median(crop.centres, axis=0) - crop.side / 2).astype(int).tolist()
    return Square(left, top, crop.side)


def _cut(pictures: np.ndarray, part: Square) -> np.ndarray:
    inside = pictures[:, part.top : part.top + part.side, part.left : part.left + part.side]
    return np.stack(
        [cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for rgb in inside]
    )


def _placed(points: np.ndarray, part: Square) -> np.ndarray:
    return (points - [part.left, part.top, 0]) * (SIZE / part.side)


def _still(who: int, source: JsonObject, seed: int) -> np.ndarray:
    """A frame of the reference's person with open eyes, of another motion."""
    rng = np.random.default_rng(seed_of("cross reference", seed, who, source["seed"]))
    kind = str(rng.choice([kind for kind in KINDS if kind != source["motion"]]))
    moves = motion(kind, 3.0, source["fps"], int(rng.integers(2**31)))
    index = int(rng.choice(np.flatnonzero(moves.blink < OPEN)))
    return rendered(who, taken(moves, [index]))[0]


@lru_cache(maxsize=4)
def _head(index: int) -> TalkingHead:
    return TalkingHead(person(index))
