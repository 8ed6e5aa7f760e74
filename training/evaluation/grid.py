"""A video to look at: reference, driving, output and truth side by side."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from datagen.media.video import Writer
from training.evaluation.evaluator import EvaluatedCase

NAMES = ("reference", "driving", "output", "truth")
LEAST, LABEL = 192, 24  # px: side of a picture, height of the line of names


def write_grid(path: Path, evaluated: EvaluatedCase, output: np.ndarray) -> None:
    """Of a case and its output RGB uint8 [f, S, S, 3]; pictures under LEAST px are enlarged,
    unsmoothed.
    """
    side = max(LEAST, output.shape[1] + output.shape[1] % 2)
    label = _label(side)
    with Writer(path, Fraction(evaluated.case.fps).limit_denominator(1001)) as writer:
        for index, made in enumerate(output):
            row = evaluated.reference[0], evaluated.driving[index], made, evaluated.truth[index]
            large = [cv2.resize(rgb, (side, side), interpolation=cv2.INTER_NEAREST) for rgb in row]
            writer.write(np.vstack([label, np.hstack(large)]))


def _label(side: int) -> np.ndarray:
    line = np.full((LABEL, side * len(NAMES), 3), 255, np.uint8)
    for column, name in enumerate(NAMES):
        cv2.putText(
            line,
            name,
            (column * side + 6, 17),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.5,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    return line
