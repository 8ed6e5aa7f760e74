"""The base of stages that tell people apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from datagen.engine.stage import Stage
from datagen.vision.identity import FaceRecogniser, recogniser


@dataclass
class RecognisingStage(Stage):
    """A stage that asks a face recogniser: `recogniser` is dlib, or insightface where its weights
    are.
    """

    recogniser: str = field(default="dlib", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        recogniser(self.recogniser)

    def weights(self) -> dict[str, str]:
        return self.tells_apart.weights()

    def check(self) -> None:
        super().check()
        self.tells_apart.check()

    @cached_property
    def tells_apart(self) -> FaceRecogniser:
        return recogniser(self.recogniser)
