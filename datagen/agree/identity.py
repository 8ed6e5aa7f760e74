"""Does a twin show somebody else? By a face recogniser, on a few frames of target and twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.core.json import JsonObject
from datagen.vision.identity import FaceRecogniser, distance
from datagen.vision.regions import face_alone

LOOKS = 8  # frames that the recogniser is shown
APART_S = 1.0  # between moments that count as others, or a third of the clip where it is shorter


@dataclass(frozen=True)
class Looks:
    """Descriptors [N, D] of a video's face at some moments: as it is, and as the trainer sees it,
    grey on black.
    """

    plain: np.ndarray
    driving: np.ndarray

    @classmethod
    def of(
        cls, recogniser: FaceRecogniser, pictures: Sequence[np.ndarray], points: np.ndarray
    ) -> Looks:
        """Of RGB uint8 frames [S, S, 3] and their points [N, 478, 3] px."""
        frames = list(zip(pictures, points, strict=True))
        plain = [recogniser.describe(rgb, face) for rgb, face in frames]
        driving = [recogniser.describe(face_alone(rgb, face), face) for rgb, face in frames]
        return cls(np.array(plain), np.array(driving))


def identity_measures(
    target: Looks, twin: Looks, times: np.ndarray, recogniser: FaceRecogniser
) -> JsonObject:
    """identity: mean distance from the target at the same moments; identity_driving: the same of
    the driving frames; identity_share: how far the twin lies on the way from the target's other
    moments (0) to another person (1).
    """
    own = distance(target.plain[:, None], target.plain[None])
    across = distance(target.plain[:, None], twin.plain[None])
    away = np.abs(times[:, None] - times[None]) >= min(APART_S, float(np.ptp(times)) / 3)
    away &= ~np.eye(len(times), dtype=bool)
    share = None
    if away.any():
        usual = float(own[away].mean())
        share = (float(across[away].mean()) - usual) / max(recogniser.another - usual, 1e-3)
    return {
        "identity": round(float(np.diag(across).mean()), 4),
        "identity_driving": round(float(distance(target.driving, twin.driving).mean()), 4),
        "identity_share": None if share is None else round(share, 4),
    }
