"""Scores for any two videos; frames are matched by index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core.errors import Invalid, UserError
from datagen.core.json import JsonObject
from datagen.media import video as media_video
from datagen.vision.identity import DlibDescriptor, FaceRecogniser
from datagen.vision.landmarks import FaceMesh
from training.metrics import leakage, pixels
from training.metrics.faces import colours, motion_scores, seen
from training.metrics.flicker import flicker
from training.metrics.identity import Recogniser, descriptors, identity_distance, likeness
from training.metrics.perceptual import Lpips

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
MAX_SIDE = 512  # px
OF_ONE_PERSON = ("landmarks", "mouth", "eyes")  # no measure between two people
AGAINST = ("truth", "driving")


@dataclass(frozen=True)
class ComparedVideo:
    """The largest middle square of a video, at most MAX_SIDE px, of its first frames."""

    path: Path
    frames: np.ndarray  # uint8 [f, S, S, 3]
    fps: float
    total: int  # frames of the file, as far as they were looked at

    @classmethod
    def read(cls, path: Path, most: int) -> ComparedVideo:
        """UserError where it cannot be read."""
        try:
            fps = media_video.probe(path).fps or 25.0
            shown = [
                _square(frame.rgb)
                for frame in islice(media_video.read(path, None, 2 * MAX_SIDE), most + 1)
            ]
        except FileNotFoundError:
            raise UserError(
                f"there is no video {path}: name two videos, or two folders, with --videos."
            ) from None
        except Invalid as error:
            raise UserError(
                f"{path} cannot be compared: {error.detail}; a whole video is expected."
            ) from None
        return cls(path, np.stack(shown[:most]), fps, len(shown))

    def first(self, count: int, side: int) -> np.ndarray:
        return pixels.area(self.frames[:count], side)


@dataclass
class VideoEvaluator:
    """`against`: what the second video is, the truth or the driving video."""

    against: str
    most: int  # frames

    @cached_property
    def mesh(self) -> FaceMesh:
        return FaceMesh()

    @cached_property
    def lpips(self) -> Lpips | str:
        return Lpips.here()

    @cached_property
    def descriptor(self) -> FaceRecogniser:
        return DlibDescriptor()

    @cached_property
    def recogniser(self) -> Recogniser | str:
        return Recogniser.here()

    def read_pair(self, output: Path, other: Path) -> tuple[ComparedVideo, ComparedVideo]:
        return ComparedVideo.read(output, self.most), ComparedVideo.read(other, self.most)

    def __call__(
        self, key: str, output: ComparedVideo, other: ComparedVideo, reference: np.ndarray | None
    ) -> JsonObject:
        """Scores of a pair; `reference` is the portrait's RGB uint8 [H, W, 3]."""
        videos = output, other
        count = min(len(video.frames) for video in videos)
        side = min(video.frames.shape[1] for video in videos)
        a, b = (video.first(count, side) for video in videos)
        points = seen(self.mesh, a), seen(self.mesh, b)
        row = {"key": key, "frames": count, "side": side}
        row |= (
            {"lengths": [video.total for video in videos]}
            if videos[0].total != videos[1].total
            else {}
        )
        scores: JsonObject = {"flicker": flicker(a), f"flicker_{self.against}": flicker(b)}
        scores |= self._truth(a, b) if self.against == "truth" else {}
        scores |= self._motion(points[1], points[0], videos[1].fps) | self._identity(
            a, points[0], b, points[1]
        )
        if reference is not None:
            scores |= self._reference(_square(reference)[None], (a, points[0]), (b, points[1]))
        return row | {
            name: None if value is None else round(float(value), 5)
            for name, value in scores.items()
        }

    def _truth(self, output: np.ndarray, truth: np.ndarray) -> JsonObject:
        found = {name: getattr(pixels, name)(output, truth) for name in ("l1", "psnr", "ssim")}
        return found | ({} if isinstance(self.lpips, str) else {"lpips": self.lpips(output, truth)})

    def _motion(self, other: np.ndarray, output: np.ndarray, fps: float) -> JsonObject:
        found = motion_scores(other, output, fps)
        return {
            n: value
            for n, value in found.items()
            if self.against == "truth" or n not in OF_ONE_PERSON
        }

    def _identity(
        self, output: np.ndarray, points: np.ndarray, other: np.ndarray, others: np.ndarray
    ) -> JsonObject:
        both = ~np.isnan((points + others)[:, 0, 0])
        if not both.any():
            return {}
        tones = [colours(p, q)[both].mean(0) for p, q in ((output, points), (other, others))]
        found: JsonObject = likeness(
            others[both], points[both], float(np.linalg.norm(tones[0] - tones[1]))
        )
        codes = [descriptors(p, q, self.descriptor) for p, q in ((output, points), (other, others))]
        found["identity"] = identity_distance(codes[0], codes[1])
        if not isinstance(self.recogniser, str):
            found["csim"] = self.recogniser.csim(output, points, other, others)
        return {f"{name}_to_{self.against}": value for name, value in found.items()}

    def _reference(
        self, still: np.ndarray, output: tuple[Any, Any], other: tuple[Any, Any]
    ) -> JsonObject:
        """Likeness to the portrait, and against a driving video the estimated leakage."""
        points = seen(self.mesh, still)
        videos = [output, (still, points), other]
        if any(np.isnan(each[:, 0, 0]).all() for _, each in videos):
            return {}
        looks = [leakage.looks(each, colours(frames, each)) for frames, each in videos]
        found: JsonObject = (
            leakage.of_looks(looks[0], looks[1], looks[2]) if self.against == "driving" else {}
        )
        codes = [descriptors(frames, each, self.descriptor) for frames, each in videos]
        found["identity_to_reference"] = identity_distance(codes[0], codes[1])
        if not isinstance(self.recogniser, str):
            found["csim_to_reference"] = self.recogniser.csim(*output, still, points)
        return found


def paired(output: Path, other: Path) -> list[tuple[str, Path, Path]]:
    """(key, output, other): two files, or those files of two folders that have the same names.
    UserError if none.
    """
    if output.is_dir() != other.is_dir():
        raise UserError(
            f"{output} and {other} are a folder and a file: two videos, or two folders, "
            "are expected."
        )
    if not output.is_dir():
        return [(output.stem, output, other)]
    names = [
        {p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES}
        for folder in (output, other)
    ]
    both = sorted(names[0] & names[1])
    if not both:
        raise UserError(
            f"{output} and {other} have no video of the same name: the same names make pairs."
        )
    stems = [Path(name).stem for name in both]
    keys = [
        stem if stems.count(stem) == 1 else name for stem, name in zip(stems, both, strict=True)
    ]
    return [(key, output / name, other / name) for key, name in zip(keys, both, strict=True)]


def _square(rgb: np.ndarray) -> np.ndarray:
    """The largest square in the middle, at most MAX_SIDE px."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = rgb[top : top + side, left : left + side]
    return pixels.area(cut[None], MAX_SIDE)[0] if side > MAX_SIDE else np.ascontiguousarray(cut)
