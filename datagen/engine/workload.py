"""What lies before a stage when a run begins, as far as that can be known: for stages that tell
what they cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.core.errors import Reject
from datagen.core.spread import evenly
from datagen.engine.clip import Clip
from datagen.engine.pipeline import Journey, outlook
from datagen.engine.stage import Stage
from datagen.engine.store import Store
from datagen.media import video

PROBED = 64  # of the videos without known spans; the others are taken to be as long


@dataclass(frozen=True)
class Ahead:
    """At most so much: rules may drop a clip on its way, and shots end within videos."""

    clips: int
    frames: int
    longest: int  # frames of one clip
    side: int  # px of the square clips
    deadline_s: float  # for one clip
    is_guess: bool = False  # whether videos were taken to be as long as others


def announcements(
    clips: Iterable[Clip], journey: Journey, store: Store, deadline_s: float
) -> list[str]:
    """What the stages of a run have to say before it starts; without such a stage, nothing is
    looked up.
    """
    speaking = [stage for stage in journey.stages if type(stage).announce is not Stage.announce]
    if not speaking:
        return []
    waiting: dict[str, list[Clip]] = {stage.name: [] for stage in speaking}
    for clip in clips:
        there = outlook(clip, journey, store)
        for stage in speaking:
            if _lacks(stage, clip, there, journey):
                waiting[stage.name].append(clip)
    told = (stage.announce(_ahead(waiting[stage.name], journey, deadline_s)) for stage in speaking)
    return [line for line in told if line]


def _lacks(stage: Stage, clip: Clip, there: dict[str, bool], journey: Journey) -> bool:
    """Whether the stage has this clip before it; one that a rule dropped on its way is out of
    `there`.
    """
    if stage in journey.of(clip):
        return there.get(stage.name) is False
    return not all(
        there.values()
    )  # a video whose shots are not known yet: they will come to the stage


def _ahead(clips: list[Clip], journey: Journey, deadline_s: float) -> Ahead:
    cut: Any = next(stage for stage in journey.stages if stage.name == "clips")
    known = [clip.span[1] - clip.span[0] for clip in clips if clip.span]
    whole = [clip for clip in clips if not clip.span]
    probed = (
        _seconds([whole[place] for place in evenly(PROBED, range(len(whole)))], journey)
        if whole
        else []
    )
    mean = sum(probed) / len(probed) if probed else cut.max_seconds
    pieces = [min(seconds, cut.max_seconds) for seconds in known]
    pieces += [cut.max_seconds] * math.ceil(len(whole) * mean / cut.max_seconds)
    frames = round((sum(min(s, cut.max_seconds) for s in known) + len(whole) * mean) * cut.fps)
    longest = round(max(pieces, default=0.0) * cut.fps)
    return Ahead(len(pieces), frames, longest, cut.size, deadline_s, len(probed) < len(whole))


def _seconds(clips: list[Clip], journey: Journey) -> list[float]:
    """Of the videos whose files are here and can be opened."""
    found = []
    for clip in clips if journey.source.external else ():
        try:
            seconds = video.probe(journey.source(clip, Path()).path).seconds
        except (Reject, OSError):
            continue
        found += [seconds] if seconds else []
    return found
