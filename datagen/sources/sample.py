"""The embedded sample: talking heads of made-up people, with the known truth of what eyes, mouth
and head do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from datagen.core.errors import UserError
from datagen.core.seeds import seed_of
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.media.video import Writer
from datagen.sources.base import Source
from datagen.sources.rendering.motion import KINDS, motion
from datagen.sources.rendering.people import person
from datagen.sources.rendering.talking_head import TalkingHead

RIGHTS = {
    "license": "public domain (NASA, US Navy)",
    "source": "scikit-image data.astronaut, matplotlib grace_hopper.jpg",
    "credit": "NASA, portrait of Eileen Collins; US Navy, portrait of Grace Hopper",
    "synthetic": True,
}


@dataclass
class SampleSource(Source):
    """Plans `clips` talking heads of `people` people, `seconds` (min, max) long; a person's clips
    differ in motion.
    """

    clips: int
    people: int
    seconds: Sequence[float]
    fps: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        whole = all(type(n) is int and n >= 1 for n in (self.clips, self.people, self.fps))
        if not whole or len(self.seconds) != 2 or not 0 < self.seconds[0] <= self.seconds[1]:
            raise UserError(
                "source: clips, people and fps are whole numbers from 1, seconds is [least, most]."
            )

    def plan(self) -> Iterator[Clip]:
        """The clips in order of their keys."""
        for index in range(self.clips):
            yield self._clip(index)

    def count(self) -> int:
        return self.clips

    def stage(self) -> Stage:
        return Render()

    def _clip(self, index: int) -> Clip:
        who, kind = (
            index % self.people,
            KINDS[(index % self.people + index // self.people) % len(KINDS)],
        )
        name = person(who).name
        low, high = self.seconds
        share = (5 * index % self.clips) / self.clips  # all lengths occur, whatever the seed
        seconds = round(low + (high - low) * share, 3)
        source = {
            "name": "sample",
            "person": who,
            "motion": kind,
            "seconds": seconds,
            "fps": self.fps,
            "seed": seed_of("sample", self.seed, index) % 2**31,
        }
        key = f"sample-{index:04d}-{name}-{kind}"
        return Clip(key, source, span=(0.0, seconds), identity=name, group=name, rights=RIGHTS)


@dataclass
class Render(Stage):
    """Draws a planned clip: its video, and as metrics the truth of every frame."""

    name: ClassVar[str] = "source"
    version: ClassVar[int] = 2
    encodes: ClassVar[bool] = True

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {**clip.source, "look": asdict(person(clip.source["person"]))}

    def weights(self) -> dict[str, str]:
        return {
            package: version(package) for package in ("mediapipe", "scikit-image", "matplotlib")
        }

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        spec = clip.source
        moves = motion(spec["motion"], spec["seconds"], spec["fps"], spec["seed"])
        path = workdir / "video.mp4"
        with Writer(path, spec["fps"]) as writer:
            for frame in _head(spec["person"]).frames(moves):
                writer.write(frame)
        return Artifact(path, metrics={"truth": moves.truth()})


@lru_cache(maxsize=4)
def _head(index: int) -> TalkingHead:
    return TalkingHead(person(index))
