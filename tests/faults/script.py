"""What goes wrong in one run and when: drawn from a seed, nothing else."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

from datagen.core.keys import key_of
from datagen.core.seeds import seed_of
from tests.faults import toys

RAY_EVERY = 8  # of so many scripts one runs on Ray, which takes its time to start

WHATS = ("kill", "kill", "kill", "term", "term", "full", "readonly")
ON_RAY = (
    [("driver", what) for what in WHATS]
    + 3 * [("worker", "kill"), ("raylet", "kill")]
    + [("worker", "full")]
)


@dataclass(frozen=True)
class Blow:
    """When `where` has done the share `at` of its file operations, `who` meets with `what`.

    who: driver, worker, raylet (Ray's node) what: kill, term (SIGTERM), full or readonly (every
    operation of its that writes fails from there on) where: driver; worker, the first one to come
    that far
    """

    who: str
    what: str
    at: float
    where: str = "driver"

    def __str__(self) -> str:
        return f"{self.what} the {self.who} at {self.at:.3f} of a {self.where}'s work"


@dataclass(frozen=True)
class Act:
    """One call of the command: blows from inside, one from outside after some seconds, and the
    state of the disk.
    """

    blows: tuple[Blow, ...] = ()
    kill_after_s: float | None = None
    disk_kb: int | None = None  # the store's and the output's disk holds no more
    readonly: bool = False

    def __str__(self) -> str:
        words = [str(blow) for blow in self.blows]
        words += (
            [f"kill the driver after {self.kill_after_s:.2f} s"]
            if self.kill_after_s is not None
            else []
        )
        words += [f"a disk of {self.disk_kb} KiB"] if self.disk_kb is not None else []
        words += ["a read-only disk"] if self.readonly else []
        return ", ".join(words) or "nothing from outside"


@dataclass(frozen=True)
class Script:
    """Videos, poisons (stage -> key -> fault) and acts; the same command without blows comes after
    the last act.
    """

    seed: int
    runner: str
    videos: tuple[str, ...]
    poisons: toys.Poisons = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    clock: bool = False  # jumps back and forth
    apart: str = ""  # a stage with workers of its own

    @classmethod
    def draw(cls, seed: int) -> Script:
        draw = random.Random(seed_of("faults", seed))
        runner = "local" if seed % RAY_EVERY else "ray"
        videos = tuple(f"v{i}_{draw.choice((1, 1, 2, 3))}.mp4" for i in range(draw.randint(3, 5)))
        plain = cls(seed, runner, videos)
        acts = tuple(_act(draw, runner) for _ in range(draw.choice((1, 1, 2, 3))))
        apart = draw.choice(["", *(stage.name for stage in toys.STAGES)]) if runner == "ray" else ""
        return cls(seed, runner, videos, _poisons(draw, plain), acts, draw.random() < 0.3, apart)

    @cached_property
    def poisoned(self) -> dict[str, str]:
        """Key -> fault."""
        return {key: fault for faults in self.poisons.values() for key, fault in faults.items()}

    @cached_property
    def endings(self) -> dict[str, tuple[str, str]]:
        """Key -> (outcome, reason) of everything that is planned."""
        ends = {}
        for video in self.videos:
            parent = key_of(PurePath(video))
            for key in [parent] if parent in self.poisoned else self.shots(video):
                ends[key] = (
                    toys.ending(self.poisoned[key]) if key in self.poisoned else ("kept", "")
                )
        return ends

    @property
    def books(self) -> str:
        counts = Counter(outcome for outcome, _ in self.endings.values())
        classes = (f"{name} {counts[name]}" for name in ("kept", "filtered", "invalid", "failed"))
        return f"planned {len(self.endings)} = {' + '.join(classes)}"

    @property
    def needs_mount(self) -> bool:
        return any(act.disk_kb is not None or act.readonly for act in self.acts)

    @staticmethod
    def shots(video: str) -> list[str]:
        """Keys of the clips of a video."""
        parent, count = key_of(PurePath(video)), int(PurePath(video).stem.rpartition("_")[2])
        return [f"{parent}-{i:03d}" for i in range(count)]

    def lines(self) -> Iterator[str]:
        """To read and to find out what happened."""
        yield (
            f"seed {self.seed}: {self.runner}, {len(self.videos)} videos: {', '.join(self.videos)}"
        )
        yield from (
            f"  {key}: {fault} in {stage}"
            for stage, faults in self.poisons.items()
            for key, fault in faults.items()
        )
        yield from (f"  act {number}: {act}" for number, act in enumerate(self.acts))
        yield from ["  the clock jumps"] * self.clock
        yield from [f"  {self.apart} has workers of its own"] * bool(self.apart)

    def expected_to_end(self) -> set[int]:
        """Exit codes of the last run."""
        return {int(any(outcome == "failed" for outcome, _ in self.endings.values()))}


def _act(draw: random.Random, runner: str) -> Act:
    kind = draw.random()
    if kind < 0.08:
        return Act(disk_kb=draw.randrange(8, 500, 4))
    if kind < 0.14:
        return Act(readonly=True)
    if kind < 0.24:
        return Act(kill_after_s=draw.uniform(0, 0.5 if runner == "local" else 8))
    if runner == "local":
        return Act((Blow("driver", draw.choice(WHATS), draw.random()),))
    who, what = draw.choice(ON_RAY)
    where = (
        "worker"
        if who != "driver" or what in ("kill", "term") and draw.random() < 0.6
        else "driver"
    )
    return Act((Blow(who, what, draw.random(), where),))


def _poisons(draw: random.Random, plain: Script) -> toys.Poisons:
    poisons: toys.Poisons = {}
    left = [key for video in plain.videos for key in plain.shots(video)]
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        if len(left) == 1:
            break
        key = left.pop(draw.randrange(len(left)))
        stage = draw.choice(toys.STAGES)
        fault = draw.choice([fault for fault in toys.FAULTS if _fits(fault, stage, plain.runner)])
        poisons.setdefault(stage.name, {})[key] = fault
    whole = [
        v
        for v in plain.videos[1:]
        if not any(k in faults for faults in poisons.values() for k in plain.shots(v))
    ]
    if whole and draw.random() < 0.15:
        faults = [fault for fault in toys.FAULTS if _fits(fault, toys.Shots, plain.runner)]
        poisons["shots"] = {key_of(PurePath(draw.choice(whole))): draw.choice(faults)}
    return poisons


def _fits(fault: str, stage: Any, runner: str) -> bool:
    """Whether this can go wrong there: a short file shows where somebody reads it, a source is not
    ours to harm.
    """
    if fault in toys.ON_RAY_ALONE:
        return runner == "ray" and (fault, stage) != ("slow", toys.Shots)
    if fault == "short":
        return any(stage.name in reader.inputs for reader in toys.STAGES)
    if fault == "no_numbers":
        return stage is toys.Shots
    return fault not in ("moved", "grown") or "source" not in stage.inputs
