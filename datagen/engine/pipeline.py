"""One clip's way through the stages: resolve what the store has, compute what it lacks, stop where
a rule says no.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from datagen.core.errors import Reject, Transient, UserError, halting
from datagen.core.json import JsonObject
from datagen.engine.artifact_check import InvalidArtifact, validate_artifact
from datagen.engine.clip import Artifact, Clip
from datagen.engine.exclude import Excluded
from datagen.engine.stage import NO_GPU, Needs, Stage
from datagen.engine.store import Record, Store


class SelectionRules(Protocol):
    """Measures in, verdict out; asked after every stage, so that no work goes into a clip that is
    out already.
    """

    def verdict(self, stage: str, clip: Clip) -> Reject | None: ...


@dataclass(frozen=True)
class Pipeline:
    """What happens to every clip. A planned clip without a span goes through `split` first."""

    source: Stage
    stages: Sequence[Stage]
    rules: SelectionRules
    split: Stage | None = None
    excluded: Excluded = Excluded()

    def __post_init__(self) -> None:
        made = {self.source.name}
        for stage in self.stages:
            missing = set(stage.inputs) - made
            if missing:
                raise UserError(
                    f"{stage.name} needs {', '.join(sorted(missing))} before it: add that stage."
                )
            made.add(stage.name)

    @property
    def all_stages(self) -> list[Stage]:
        """Source, split and stages: all that may run."""
        return [self.source, *([self.split] if self.split else []), *self.stages]

    def of(self, clip: Clip) -> list[Stage]:
        if self.split is not None and clip.span is None:
            return [self.source, self.split]
        return [self.source, *self.stages]


@dataclass(frozen=True)
class Outcome:
    """How far a clip came. `name` is a ledger class (kept, filtered, invalid, failed), or for the
    run loop alone: `waiting` (the next stage must run elsewhere), `split`, `halt` (no work is
    possible), and to be tried again: `transient`, `crashed` (its worker), `lost` (its worker's
    machine).
    """

    clip: Clip
    name: str
    reason: str = ""
    detail: str = ""
    stage: str = ""
    needs: Needs = NO_GPU
    records: dict[str, Record] = field(default_factory=dict)
    computed: tuple[str, ...] = ()

    def event(self) -> JsonObject:
        """As the ledger keeps it: small, and enough to find everything again."""
        return {
            "key": self.clip.key,
            "outcome": self.name,
            "reason": self.reason,
            "detail": self.detail,
            "stage": self.stage,
            "source": dict(self.clip.source),
            "identity": self.clip.identity,
            "group": self.clip.group,
            "rights": dict(self.clip.rights),
            "span": self.clip.span,
            "records": {name: record.key for name, record in self.records.items()},
            **self.costs(),
        }

    def costs(self) -> dict[str, JsonObject]:
        """Seconds and bytes of what was made on the way to this outcome, by stage; a file that
        stays where it is costs none.
        """
        made = {name: self.records[name] for name in self.computed if name in self.records}
        sizes = {name: 0 if record.is_external else record.bytes for name, record in made.items()}
        return {"seconds": {name: record.seconds for name, record in made.items()}, "bytes": sizes}


def split_clips(outcome: Outcome) -> list[Clip]:
    """The clips that a split video consists of, one per span, numbered in order of time."""
    spans = outcome.records[outcome.stage].metrics["spans"]
    parent = replace(outcome.clip, artifacts={})
    return [
        replace(parent, key=f"{parent.key}-{i:03d}", span=(s, e)) for i, (s, e) in enumerate(spans)
    ]


def run_clip(
    clip: Clip, pipeline: Pipeline, store: Store, may_run: Callable[[Stage], bool]
) -> Outcome:
    """As far as the store and the stages that `may_run` here lead. Errors of stages propagate."""
    records: dict[str, Record] = {}
    computed: list[str] = []

    def outcome(name: str, reason: str = "", detail: str = "", needs: Needs = NO_GPU) -> Outcome:
        return Outcome(clip, name, reason, detail, stage.name, needs, records, tuple(computed))

    if (listed := pipeline.excluded.of_clip(clip)) is not None:
        return Outcome(clip, "filtered", "excluded", f"the list of opt-outs names {listed}")
    for stage in pipeline.of(clip):
        record = store.get(stage, clip)
        if record is None:
            if not may_run(stage):
                return outcome("waiting", needs=stage.needs)
            record = _compute(stage, clip, records, store)
            computed.append(stage.name)
        records[stage.name] = record
        if record.outcome != "done":
            return outcome(record.outcome, record.reason, record.detail)
        clip = clip.with_artifact(stage.name, store.artifact(record))
        reject = pipeline.rules.verdict(stage.name, clip)
        if reject is not None:
            return outcome(reject.outcome, reject.reason, reject.detail)
    if stage is pipeline.split:
        split_clips(
            ended := outcome("split")
        )  # a split without sense is this clip's failure, not the run's
        return ended
    return outcome("kept")


def cached_stages(clip: Clip, pipeline: Pipeline, store: Store) -> dict[str, bool]:
    """Stage -> whether the store has its artifact, as far as this clip goes; nothing runs."""
    there: dict[str, bool] = {}
    for stage in pipeline.of(clip):
        record = store.get(stage, clip) if all(there[name] for name in stage.inputs) else None
        there[stage.name] = record is not None
        if record is None:
            continue
        if record.outcome != "done":
            break
        clip = clip.with_artifact(stage.name, store.artifact(record))
        if pipeline.rules.verdict(stage.name, clip):
            break
    return there


def run_clip_safely(
    clip: Clip, pipeline: Pipeline, store: Store, may_run: Callable[[Stage], bool]
) -> Outcome:
    """`run_clip`, with every error made an outcome: the one place that catches everything."""
    try:
        return run_clip(clip, pipeline, store, may_run)
    except KeyboardInterrupt:
        raise
    except UserError as error:
        return Outcome(clip, "halt", str(error))
    except (Transient, MemoryError, ConnectionError, TimeoutError) as error:
        return Outcome(clip, "transient", _snake(type(error).__name__), str(error))
    except BaseException as error:  # noqa: B036  a stage may even call sys.exit
        if sentence := halting(error):
            return Outcome(clip, "halt", sentence)
        return Outcome(
            clip,
            "failed",
            "bug",
            f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}",
        )


def _compute(stage: Stage, clip: Clip, records: Mapping[str, Record], store: Store) -> Record:
    started = time.perf_counter()
    with store.workdir() as workdir:
        clip = store.brought(clip, stage.inputs, workdir)
        try:
            given: Artifact | Reject = stage(clip, workdir)
        except Reject as reject:
            given = reject
        finally:
            harmed = store.forget_harmed(records[name] for name in stage.inputs)
        if harmed:
            changed = (
                f"the input {', '.join(harmed)} of {stage.name} was changed or taken away "
                "while it was at work"
            )
            raise InvalidArtifact(f"{changed}: a stage may only read it.")
        if isinstance(given, Reject):
            return store.put_reject(stage, clip, given, time.perf_counter() - started)
        return store.put(
            stage,
            clip,
            validate_artifact(given, stage, clip, workdir),
            time.perf_counter() - started,
        )


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))
