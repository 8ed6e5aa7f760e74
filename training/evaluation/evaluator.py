"""All measures of cases, at the model's own side in px: for ablation and training.evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from datagen.core.json import JsonObject
from datagen.vision.identity import DlibDescriptor
from datagen.vision.landmarks import FaceMesh
from training.evaluation.cross_cases import CrossCase
from training.evaluation.readout import LEAST, Readout, middles_of, poses, subject
from training.metrics import leakage, pixels
from training.metrics.faces import colours, correlation, motion_scores, seen
from training.metrics.flicker import flicker
from training.metrics.identity import descriptors, identity_distance, likeness

RECOGNISER = DlibDescriptor()
Animate = Callable[[CrossCase], np.ndarray]


@dataclass(frozen=True)
class EvaluationSettings:
    """Which measures are taken."""

    side: int = 64  # px of the model's pictures
    mesh: bool = True  # FaceMesh on the output, about 15 ms a frame
    # motion by training.evaluation.readout, about 3 s for each person before the first output
    readout: bool = True
    folder: Path | None = Path(
        "data/readout"
    )  # where these people's pictures are kept; none: drawn again


class Evaluator:
    """Scores many outputs on the same cases; what the cases show is measured once."""

    def __init__(self, cases: Sequence[CrossCase], settings: EvaluationSettings):
        mesh = FaceMesh() if settings.mesh else None
        self.cases = [EvaluatedCase(case, settings, mesh) for case in cases]

    def __call__(self, animate: Animate) -> list[JsonObject]:
        """One row of scores for each case, `animate`'s output being RGB uint8 [f, S, S, 3]."""
        return [evaluated.row(animate(evaluated.case)) for evaluated in self.cases]


def evaluate_cases(
    animate: Animate, cases: Sequence[CrossCase], settings: EvaluationSettings
) -> list[JsonObject]:
    """`Evaluator` for one model. ValueError where an output has another number of frames or
    another side than expected.
    """
    return Evaluator(cases, settings)(animate)


class EvaluatedCase:
    """A case at the model's side, with everything that outputs are compared with."""

    def __init__(self, case: CrossCase, settings: EvaluationSettings, mesh: FaceMesh | None):
        self.case, self.mesh, side = case, mesh, settings.side
        self.is_cross = case.people[0] != case.people[1]
        self.truth, self.driving = pixels.area(case.truth, side), pixels.area(case.driving, side)
        self.reference = pixels.area(case.reference[None], side)
        share = side / case.truth.shape[1]
        self.region = leakage.regions(case.truth_points * share, case.driving_points * share, side)
        self.middles = np.nanmean(middles_of(case.truth_points), axis=0) / case.truth.shape[1]
        self.reader = _reader(case, settings.folder) if settings.readout else None

    def row(self, output: np.ndarray) -> JsonObject:
        """Scores by name; None where nothing can be measured."""
        if output.shape != self.truth.shape or output.dtype != np.uint8:
            raise ValueError(
                f"{self.case.key}: the output is {output.shape}, {self.truth.shape} of "
                "uint8 is expected"
            )
        row = {
            "key": self.case.key,
            "reference": self.case.people[0],
            "driving": self.case.people[1],
        }
        scores: JsonObject = self._pixels(output)
        if self.is_cross:
            scores |= leakage.of_pictures(output, self.truth, self.driving, self.region)
        scores |= self._identity(output)
        scores |= {"flicker": flicker(output), "flicker_truth": self.own_flicker}
        if self.reader is not None:
            scores |= self._read(self.reader, output)
        if self.mesh is not None:
            scores |= self._faces(self.mesh, output)
        return row | {
            name: None if value is None else round(float(value), 5)
            for name, value in scores.items()
        }

    @cached_property
    def own_flicker(self) -> float:
        return flicker(self.truth)

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points of truth and driving frames, found in frames as small as the output."""
        assert self.mesh is not None
        return seen(self.mesh, self.truth), seen(self.mesh, self.driving)

    def _pixels(self, output: np.ndarray) -> JsonObject:
        """psnr_gain: dB above a copy of the reference in every frame."""
        copied = pixels.psnr(np.broadcast_to(self.reference, self.truth.shape), self.truth)
        psnr = pixels.psnr(output, self.truth)
        return {
            "l1": pixels.l1(output, self.truth),
            "psnr": psnr,
            "psnr_copy": copied,
            "psnr_gain": psnr - copied,
            "ssim": pixels.ssim(output, self.truth),
        }

    def _read(self, reader: Readout, output: np.ndarray) -> dict[str, float | None]:
        """Pearson's r between what the readout sees in the output and the driving motion's true
        curves; read_of_truth_: in the truth itself, which is as much as can be read.
        """
        read, best, curves = (
            reader(output, self.middles),
            reader(self.truth, self.middles),
            self.case.curves,
        )
        scores = {}
        for name, least in LEAST.items():
            scores[f"read_{name}_r"] = correlation(curves[name], read[name], least)
            scores[f"read_of_truth_{name}_r"] = correlation(curves[name], best[name], least)
        return scores

    @cached_property
    def true_descriptors(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Of truth and driving frames, as small as the output; where the faces lie is known from
        the large ones.
        """
        share = self.truth.shape[1] / self.case.truth.shape[1]
        return (
            descriptors(self.truth, self.case.truth_points * share, RECOGNISER),
            descriptors(self.driving, self.case.driving_points * share, RECOGNISER),
        )

    def _identity(self, output: np.ndarray) -> dict[str, float | None]:
        """identity: distance of the recogniser's descriptors from the truth's at the same
        moments.
        """
        share = self.truth.shape[1] / self.case.truth.shape[1]
        seen_in_output = descriptors(output, self.case.truth_points * share, RECOGNISER)
        truth, driving = self.true_descriptors
        scores = {"identity": identity_distance(seen_in_output, truth)}
        if self.is_cross:
            scores |= leakage.of_descriptors(seen_in_output, truth, driving)
        return scores

    def _faces(self, mesh: FaceMesh, output: np.ndarray) -> dict[str, float | None]:
        points, (truth, driving) = seen(mesh, output), self.points
        scores = motion_scores(truth, points, self.case.fps)
        if self.is_cross:
            scores["leakage_shape"] = leakage.of_points(points, truth, driving)
        both = ~np.isnan((truth + points)[:, 0, 0])
        if both.any():
            tones = [colours(pictures, truth)[both].mean(0) for pictures in (self.truth, output)]
            scores |= likeness(
                truth[both], points[both], float(np.linalg.norm(tones[0] - tones[1]))
            )
        return scores


def _reader(case: CrossCase, folder: Path | None) -> Readout | None:
    """Fitted on both people of the case, so that the motion of either is read."""
    if case.numbers is None or case.part is None:
        return None
    return Readout.fitted([subject(who, folder).cut(case.part) for who in case.numbers], poses())
