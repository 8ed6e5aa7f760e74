"""Who is where by insightface's detector and recogniser; the 478 points by FaceMesh, shown that
face alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datagen.core.errors import Reject
from datagen.core.options import refuse_number
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.engine.network_stage import NetworkStage
from datagen.faces.stage import measure, seen_in
from datagen.media import video
from datagen.recognising_stage import RecognisingStage
from datagen.vision.faces import Faces
from datagen.vision.insight import Insight, Seen, identity_of, nearest
from datagen.vision.landmarks import FaceMesh
from datagen.vision.track import Track, main_track, tracks
from datagen.weights.place import place, refuse_missing

LOOKS = 3  # frames of a stretch from which a person is recognised
SHOWN = 2.0  # side of what FaceMesh is shown over side of the face's box


@dataclass
class InsightFaces(NetworkStage, RecognisingStage):
    """As MeshFaces, for clips with more faces than one: follows the one that is largest and longest
    to be seen.

    Where it was lost and is there again, the recogniser says so.

    `model` is a folder with buffalo_l (default: the registry's place). faces.npz has one array
    more: identity float32 [512], the mean embedding, of length 1.
    """

    name = "faces"
    version = 2
    inputs = ("clips",)

    not_in_key = ("model",)

    model: str | None = None
    min_confidence: float = 0.5
    same_person: float = 0.35  # cosine of two mean embeddings from which they are one person's

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_number("faces.min_confidence", self.min_confidence, 0, 1)
        refuse_number("faces.same_person", self.same_person, -1, 1)
        self.model = str(place("buffalo_l", self.model))

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("buffalo_l",)

    def weights(self) -> dict[str, str]:
        own = {"buffalo_l": identity_of(Path(str(self.model))), "mediapipe": version("mediapipe")}
        return {**super().weights(), **own}

    def check(self) -> None:
        refuse_missing("buffalo_l", Path(str(self.model)), "faces.model")
        super().check()
        Insight(Path(str(self.model)), self.gpus, self.min_confidence)

    @cached_property
    def _insight(self) -> Insight:
        return Insight(Path(str(self.model)), self.gpus, self.min_confidence)

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh(self.min_confidence)

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        path = clip.path("clips")
        fps = video.probe(path).fps
        seen = [self._insight.find(rgb) for rgb in video.frames(path)]
        stretches = self._stretches(seen, fps)
        if not stretches:
            raise Reject("no_face", "no frame of the cut clip shows a face")
        person = TrackedPerson.of(
            self._looks(path, seen, stretches, fps), self.same_person, len(seen)
        )
        faces = self._faces(path, seen, person)
        if not faces.found.any():
            raise Reject("no_face", "no frame of the cut clip shows a face that can be measured")
        faces.save(workdir / "faces.npz", identity=person.identity)
        others = np.mean(
            [
                len(every) > int(np.isfinite(box[0]))
                for every, box in zip(seen, person.boxes, strict=True)
            ]
        )
        people = {"other_people": round(float(others), 4), "likeness": round(person.likeness, 4)}
        return Artifact(
            workdir / "faces.npz",
            {**measure(faces), **seen_in(path, faces, self.tells_apart), **people},
        )

    def _stretches(self, seen: Sequence[list[Seen]], fps: float) -> list[Track]:
        """Every face from when it appears until it is lost, the main one first."""
        boxes = [
            np.stack([face.box for face in every]) if every else np.empty((0, 4), np.float32)
            for every in seen
        ]
        left = tracks([index / fps for index in range(len(seen))], boxes)
        ordered = []
        while left:
            ordered.append(main_track(left))
            left = [track for track in left if track is not ordered[-1]]
        return ordered

    def _looks(
        self, path: Path, seen: Sequence[list[Seen]], stretches: list[Track], fps: float
    ) -> list[Stretch]:
        """The stretches with the embeddings of a few of their frames."""
        found = []
        for track in stretches:
            first = round(float(track.times[0]) * fps)
            faces = {
                first + i: face
                for i, box in enumerate(track.boxes)
                if (face := nearest(seen[first + i], box))
            }
            chosen = evenly(LOOKS, sorted(faces))
            pictures = zip(chosen, video.at_indices(path, chosen), strict=True)
            looks = [
                self._insight.identity(rgb, faces[i].five).normed_embedding for i, rgb in pictures
            ]
            found.append(Stretch(first, track.boxes, np.stack(looks)))
        return found

    def _faces(self, path: Path, seen: Sequence[list[Seen]], person: TrackedPerson) -> Faces:
        """The person's points in every frame; confidence is the detector's."""
        self._mesh.reset()
        known = person.boxes[np.isfinite(person.boxes[:, 0])]
        side = 2 * round(SHOWN * float((known[:, 2:] - known[:, :2]).max()) / 2) + 1
        frames = zip(video.frames(path), person.boxes, strict=True)
        faces = Faces.of(self._points(rgb, box, side) for rgb, box in frames)
        scores = [
            face.score if (face := nearest(every, box)) else 0.0
            for every, box in zip(seen, person.boxes, strict=True)
        ]
        sure = np.maximum(scores, self.min_confidence).astype(np.float32)
        return replace(faces, confidence=np.where(faces.found, sure, np.float32(0)))

    def _points(self, rgb: np.ndarray, box: np.ndarray, side: int) -> np.ndarray | None:
        """Points float32 [478, 3] px of the face in a box; `side` px, odd, is what FaceMesh is
        shown of the frame.
        """
        if not np.isfinite(box[0]):
            return None
        centre = np.round((box[:2] + box[2:]) / 2)
        points = self._mesh(cv2.getRectSubPix(rgb, (side, side), centre.tolist()))
        return (
            None if points is None else points + np.append(centre - side // 2, 0).astype(np.float32)
        )


@dataclass(frozen=True)
class Stretch:
    """A face from frame `first` on: boxes float32 [N, 4] xyxy px, embeddings of length 1 [LOOKS,
    512].
    """

    first: int
    boxes: np.ndarray
    looks: np.ndarray


@dataclass(frozen=True)
class TrackedPerson:
    """One person's boxes float32 [T, 4] (NaN: not seen), mean embedding float32 [512] of length 1,
    and how like it the least like look is (cosine).
    """

    boxes: np.ndarray
    identity: np.ndarray
    likeness: float

    @classmethod
    def of(cls, stretches: Sequence[Stretch], same: float, frames: int) -> TrackedPerson:
        """The person of the first stretch, and of those others that show him or her while none
        before does.
        """
        boxes = np.full((frames, 4), np.nan, np.float32)
        own = _mean(stretches[0].looks)
        looks: list[np.ndarray] = []
        for stretch in stretches:
            place = slice(stretch.first, stretch.first + len(stretch.boxes))
            if np.isnan(boxes[place]).all() and (not looks or _mean(stretch.looks) @ own >= same):
                boxes[place] = stretch.boxes
                looks.append(stretch.looks)
        every = np.concatenate(looks)
        identity = _mean(every)
        return cls(boxes, identity, float((every @ identity).min()))


def _mean(looks: np.ndarray) -> np.ndarray:
    """Of vectors [N, 512], of length 1."""
    mean = looks.mean(0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
