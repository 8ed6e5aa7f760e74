"""One way to animate a case, whatever it is made of: for evaluation, validation and ablation."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from model.animator import Reference
from model.pipeline import Driving, MegActorPipeline, SamplingSettings


class Case(Protocol):
    """A still portrait and what drives it."""

    def reference_for(self, pipeline: MegActorPipeline, seed: int) -> Reference:
        """The portrait, as this model takes it."""
        ...

    def driving_for(self, pipeline: MegActorPipeline) -> Driving:
        """The driving frames, as this model takes them."""
        ...


def animate_case(pipeline: MegActorPipeline, case: Case, settings: SamplingSettings) -> np.ndarray:
    """What a model makes of a case: RGB uint8 [f, S, S, 3] of its own side."""
    reference = case.reference_for(pipeline, settings.seed)
    return np.stack(list(pipeline.animate(reference, case.driving_for(pipeline), settings)))
