"""Keep or drop, and why: one rule file decides (conf/select/*.yaml); and the splits, which share no
identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain

from datagen.core.errors import Reject, UserError
from datagen.core.json import Json, JsonObject
from datagen.engine.clip import Clip
from datagen.shards.people import same_people
from datagen.stages import stage_position
from datagen.vision.fingerprint import near_pairs

LARGEST = 1e15  # a bound is below; NaN and infinity are not


@dataclass(frozen=True)
class Rule:
    """`least <= metric <= most`, else the clip is filtered for `reason`.

    `metric` is a path into the stages' metrics: `clips.face_px`, `faces.yaw.2`,
    `agree.swap.landmarks`. A null value passes (nothing to measure), unless `required`.
    """

    reason: str
    metric: str
    least: float | None = None
    most: float | None = None
    required: bool = False

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.least, self.most) if bound is not None]
        if not bounds or not all(
            isinstance(bound, int | float) and abs(bound) < LARGEST for bound in bounds
        ):
            raise UserError(f"rule {self.reason!r} needs a number: least, most, or both.")
        if not isinstance(self.metric, str) or "." not in self.metric:
            raise UserError(
                f"rule {self.reason!r} asks for {self.metric!r}: STAGE.METRIC is expected, such as "
                "clips.face_px."
            )

    @property
    def stage(self) -> str:
        return self.metric.partition(".")[0]

    def verdict(self, metrics: Mapping[str, Json]) -> Reject | None:
        """What the rule says to the metrics of its stage."""
        value = self._value(metrics)
        if value is None:
            return (
                Reject(self.reason, f"{self.metric} could not be measured")
                if self.required
                else None
            )
        if self.least is not None and value < self.least:
            return Reject(
                self.reason, f"{self.metric} is {value:g}, at least {self.least:g} is asked for"
            )
        if self.most is not None and value > self.most:
            return Reject(
                self.reason, f"{self.metric} is {value:g}, at most {self.most:g} is allowed"
            )
        return None

    def _value(self, metrics: Json) -> float | None:
        for word in self.metric.split(".")[1:]:
            if isinstance(metrics, list) and word.isdigit() and int(word) < len(metrics):
                metrics = metrics[int(word)]
            elif isinstance(metrics, Mapping) and word in metrics:
                metrics = metrics[word]
            else:
                raise UserError(
                    f"rule {self.reason!r} asks for {self.metric}, which the stage does "
                    "not measure."
                )
        return metrics


@dataclass(frozen=True)
class Selection:
    """The rule file: rules in the journey's order, named subsets of what is kept, the share of
    groups for validation, what counts as a near-duplicate.
    """

    rules: Sequence[Rule]
    subsets: Mapping[str, Sequence[Rule]] = field(
        default_factory=dict
    )  # a clip is in it if all its rules hold
    val_share: float = 0.1
    salt: str = ""
    near_duplicate_bits: int = 20  # of 256
    same_person: float = 0.45  # distance of descriptors below which two clips are one person's

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", _rules(self.rules))
        object.__setattr__(
            self, "subsets", {name: _rules(rules) for name, rules in self.subsets.items()}
        )
        if not 0 <= self.val_share < 1:
            raise UserError(
                f"select.val_share is {self.val_share:g}: a share from 0 to below 1 is expected."
            )
        if not 0 <= self.near_duplicate_bits < 32:
            raise UserError(
                f"select.near_duplicate_bits is {self.near_duplicate_bits}: 0 to 31 is expected."
            )
        if not 0 <= self.same_person <= 2:
            raise UserError(
                f"select.same_person is {self.same_person:g}: a distance from 0 to 2 is expected."
            )

    def refuse_unknown(self, stages: Collection[str]) -> None:
        """UserError for a rule on a metric of none of these stages."""
        for rule in [*self.rules, *(rule for rules in self.subsets.values() for rule in rules)]:
            if rule.stage not in stages:
                expected = ", ".join(sorted(stages, key=stage_position))
                raise UserError(
                    f"rule {rule.reason!r} asks for {rule.metric!r}: a metric of {expected} "
                    "is expected."
                )

    def verdict(self, stage: str, clip: Clip) -> Reject | None:
        """The first rule on this stage's metrics that says no."""
        rules = (rule for rule in self.rules if rule.stage == stage)
        return next((no for rule in rules if (no := rule.verdict(clip.metrics(stage)))), None)

    def subsets_of(self, metrics: Mapping[str, Json]) -> list[str]:
        """Names of the subsets that a kept clip is in, by its metrics of all stages."""
        return sorted(
            n
            for n, rules in self.subsets.items()
            if not any(r.verdict(metrics[r.stage]) for r in rules)
        )

    def split(self, group: str) -> str:
        """train or val, by the hash of the group's name alone: more data moves no group, unless it
        joins two.
        """
        digest = hashlib.sha256(f"{self.salt}\x1f{group}".encode()).digest()
        return "val" if int.from_bytes(digest[:8], "big") < self.val_share * 2**64 else "train"

    def to_json(self) -> JsonObject:
        """As index.json keeps it: by which rules the shards were chosen."""
        return asdict(self)


@dataclass(frozen=True)
class Candidate:
    """What splits and duplicates are decided by: who and what a kept clip shows."""

    key: str
    content: str  # sha256 of the cut clip
    names: tuple[str, ...]  # the video, the person, the source's own group: what must stay together
    known_identity: bool = False
    fingerprints: Sequence[str] = field(default=())
    identity: str | None = None  # of the face: datagen.vision.identity.encoded


def duplicates(candidates: Sequence[Candidate]) -> set[str]:
    """Keys of clips whose pictures are, byte for byte, those of a clip with a smaller key."""
    first: dict[str, str] = {}
    return {
        c.key
        for c in sorted(candidates, key=lambda c: c.key)
        if first.setdefault(c.content, c.key) != c.key
    }


def groups(candidates: Sequence[Candidate], selection: Selection) -> dict[str, str]:
    """Key -> group. Clips that share a name, whose faces are near-duplicates or, to a recogniser,
    one person's, are in one group; the least name gives its name.

    Two clips of which the source knows both persons are joined by those names alone.
    """
    joined: dict[str, str] = {}
    for candidate in candidates:
        for name in candidate.names:
            _join(joined, candidate.names[0], name)
    codes = [candidate.fingerprints for candidate in candidates]
    faces = [candidate.identity for candidate in candidates]
    who = [c.names[0] if c.known_identity else None for c in candidates]
    alike = chain(
        near_pairs(codes, selection.near_duplicate_bits),
        same_people(faces, who, selection.same_person),
    )
    for i, j in alike:
        if not (candidates[i].known_identity and candidates[j].known_identity):
            _join(joined, candidates[i].names[0], candidates[j].names[0])
    return {candidate.key: _root(joined, candidate.names[0]) for candidate in candidates}


def _rules(given: Sequence[Json]) -> list[Rule]:
    return [rule if isinstance(rule, Rule) else _rule(rule) for rule in given]


def _rule(fields: Mapping[str, Json]) -> Rule:
    try:
        return Rule(**fields)
    except TypeError as error:
        raise UserError(
            f"select.rules: {fields!s:.200} is no rule ({error}): reason, metric, least or most."
        ) from None


def _root(joined: dict[str, str], name: str) -> str:
    while (up := joined.setdefault(name, name)) != name:
        name = up
    return name


def _join(joined: dict[str, str], a: str, b: str) -> None:
    low, high = sorted((_root(joined, a), _root(joined, b)))
    joined[high] = low
