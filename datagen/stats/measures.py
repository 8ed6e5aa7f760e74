"""The measurements of a clip in the statistics, named as in the rule files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datagen.core.errors import UserError
from datagen.stats.trust import number


@dataclass(frozen=True)
class Measure:
    """One number of a clip, found at `path` in its metrics, as in a rule.

    With `span` it is last minus first of a list [p5, median, p95].
    """

    path: str
    title: str
    unit: str = ""
    low: float = 0.0  # ends of histograms; values beyond are counted in the outermost bins
    high: float = 1.0
    # "low" or "high" if one end is the good one: the measure is then a score, and has worst and
    # best clips
    better: str = ""
    span: bool = False
    about: str = ""

    @property
    def name(self) -> str:
        """A unique name for columns and JSON."""
        return f"{self.path}.span" if self.span else self.path

    @property
    def label(self) -> str:
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def of(self, metrics: Mapping[str, object]) -> float:
        """The clip's value: NaN if it has none, UserError if it is not a number."""
        value: object = metrics
        for name in self.path.split("."):
            if isinstance(value, Mapping):
                value = value.get(name)
            elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
                value = value[int(name)]
            elif value is not None:
                raise UserError(
                    f"{self.path} is missing: {str(value)[:60]!r} was found on the way to it."
                )
        if self.span and isinstance(value, list) and value:
            value = number(value[-1], self.path) - number(value[0], self.path)
        return math.nan if value is None else number(value, self.path)


CLIP = (
    Measure("clips.seconds", "length", "s", 0, 20),
    Measure("clips.source_fps", "source frame rate", "fps", 0, 64),
    Measure(
        "clips.face_px",
        "face size in the source",
        "px",
        0,
        640,
        about="side of the face in the source video",
    ),
    Measure("clips.other_faces", "second face in the crop", "share of frames", 0, 0.2),
    Measure("clips.unique_fps", "differing pictures", "per s", 0, 64),
    Measure("faces.coverage", "face measured", "share of frames", 0, 1),
    Measure("mask.person_share", "person", "share of the frame", 0, 1),
    Measure("mask.face_share", "face", "share of the frame", 0, 0.5),
)
MOTION = (
    Measure(
        "gaze.amplitude_deg",
        "gaze amplitude",
        "deg",
        0,
        32,
        about="eye-in-head angle from its middle, p95",
    ),
    Measure("gaze.coverage", "gaze known", "share of frames", 0, 1, better="high"),
    Measure("faces.yaw.1", "head yaw, median", "deg", -60, 60),
    Measure("faces.pitch.1", "head pitch, median", "deg", -60, 60),
    Measure("faces.roll.1", "head roll, median", "deg", -60, 60),
    Measure("faces.yaw", "head turn", "deg", 0, 60, span=True, about="head yaw, p95 - p5"),
    Measure(
        "faces.mouth",
        "mouth movement",
        "openness",
        0,
        0.6,
        span=True,
        about="p95 - p5 of height over width",
    ),
    Measure(
        "faces.eyes",
        "lid movement",
        "openness",
        0,
        0.4,
        span=True,
        about="p95 - p5 of height over width",
    ),
)


def _twin(twin: str, label: str) -> tuple[Measure, ...]:
    def measure(
        key: str, title: str, unit: str, low: float, high: float, better: str, about: str = ""
    ) -> Measure:
        return Measure(
            f"agree.{twin}.{key}", f"{label}: {title}", unit, low, high, better, about=about
        )

    distance = "of interocular"
    return (
        measure(
            "identity", "identity distance", "of descriptors", 0, 1.2, "high", "dlib: 0.6 divides"
        ),
        measure("identity_share", "way to another person", "0 to 1", 0, 1, "high"),
        measure("identity_driving", "identity as it drives", "of descriptors", 0, 1.2, "high"),
        measure("motion", "motion error", distance, 0, 0.06, "low", "steady offset removed"),
        measure("mouth_motion", "lip motion error", distance, 0, 0.06, "low"),
        measure("eyes_motion", "eye motion error", distance, 0, 0.06, "low"),
        measure("pose_deg", "head pose error", "deg", 0, 8, "low"),
        measure("gaze_deg", "gaze error", "deg", 0, 8, "low", "against each one's own neutral"),
        measure("mouth_r", "mouth correlation", "r", 0, 1, "high"),
        measure("blink_r", "blink correlation", "r", 0, 1, "high"),
        measure("brow_r", "brow correlation", "r", 0, 1, "high"),
        measure("frown_r", "frown correlation", "r", 0, 1, "high"),
        measure("flicker", "flicker", "times the target's", 0, 3, "low"),
        measure("shape_and_colour", "same shape and colour", "0 to 1", 0, 1, "low"),
        measure("coverage", "face found", "share of frames", 0, 1, "high"),
    )


TWINS = {"swap": _twin("swap", "swapped"), "style": _twin("style", "styled")}
MEASURES = (*CLIP, *MOTION, *TWINS["swap"], *TWINS["style"])


def with_rules(rules: Iterable[Mapping[str, Any]]) -> tuple[Measure, ...]:
    """MEASURES, and one more for every other metric that a rule uses."""
    known = {measure.path for measure in MEASURES if not measure.span}
    asked = {str(rule["metric"]): rule for rule in rules if str(rule["metric"]) not in known}
    return (*MEASURES, *(_of_rule(path, rule) for path, rule in sorted(asked.items())))


def _of_rule(path: str, rule: Mapping[str, Any]) -> Measure:
    bounds = [float(rule[end]) for end in ("least", "most") if rule.get(end) is not None]
    far = 2 * max(map(abs, bounds), default=1.0) or 1.0
    return Measure(path, path, low=min(0.0, 2 * min(bounds, default=0.0)), high=far)
