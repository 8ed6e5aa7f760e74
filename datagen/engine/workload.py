"""What lies before a stage when a run begins, for stages that print a cost estimate first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from datagen.core.spread import evenly
from datagen.engine.clip import Clip
from datagen.engine.pipeline import Pipeline, cached_stages
from datagen.engine.stage import ClipLimits, Stage, Workload
from datagen.engine.store import Store

PROBED = 64  # of the videos without known spans; the others are taken to be as long

Seconds = Callable[[Clip], float | None]  # how long a clip's video is; None: not known


def cost_descriptions(
    clips: Iterable[Clip], pipeline: Pipeline, store: Store, deadline_s: float, seconds: Seconds
) -> list[str]:
    """What the stages of a run have to say before it starts.

    Where no stage has something to say, nothing is looked up.
    """
    speaking = [s for s in pipeline.stages if type(s).describe_cost is not Stage.describe_cost]
    if not speaking:
        return []
    waiting: dict[str, list[Clip]] = {stage.name: [] for stage in speaking}
    for clip in clips:
        cached = cached_stages(clip, pipeline, store)
        for stage in speaking:
            if _lacks(stage, clip, cached, pipeline):
                waiting[stage.name].append(clip)
    limits = next(limits for stage in pipeline.stages if (limits := stage.clip_limits()))
    workloads = (
        (stage, _workload(waiting[stage.name], limits, seconds, deadline_s)) for stage in speaking
    )
    return [line for stage, workload in workloads if (line := stage.describe_cost(workload))]


def _lacks(stage: Stage, clip: Clip, cached: dict[str, bool], pipeline: Pipeline) -> bool:
    """Whether the stage has this clip before it; one that a rule dropped on its way has not."""
    if stage in pipeline.of(clip):
        return cached.get(stage.name) is False
    return not all(cached.values())  # a video whose shots are not known yet: they will come


def _workload(
    clips: list[Clip], limits: ClipLimits, seconds: Seconds, deadline_s: float
) -> Workload:
    known = [clip.span[1] - clip.span[0] for clip in clips if clip.span]
    whole = [clip for clip in clips if not clip.span]
    probed = _lengths(whole, seconds)
    most = limits.max_seconds
    mean = sum(probed) / len(probed) if probed else most
    pieces = [min(length, most) for length in known]
    pieces += [most] * math.ceil(len(whole) * mean / most)
    frames = round((sum(min(length, most) for length in known) + len(whole) * mean) * limits.fps)
    longest = round(max(pieces, default=0.0) * limits.fps)
    is_guess = len(probed) < len(whole)
    return Workload(len(pieces), frames, longest, limits.size, deadline_s, is_guess)


def _lengths(clips: list[Clip], seconds: Seconds) -> list[float]:
    """Seconds of some of the videos, as far as they are known."""
    some = [clips[index] for index in evenly(PROBED, range(len(clips)))] if clips else []
    return [length for clip in some if (length := seconds(clip))]
