"""The stages of the whole journey without video: a few thousand bytes each, made of what they read;
poisoned to order.

A "video" is a file whose name ends in its number of shots. A poison strikes at one stage of one
clip, in every run.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core.errors import Invalid, Reject, Transient
from datagen.core.seeds import seed_of
from datagen.engine.clip import Artifact, Clip
from datagen.engine.pipeline import Pipeline
from datagen.engine.stage import Needs, Stage
from datagen.shards.selection import Selection
from datagen.sources.folder import VideoFile
from datagen.vision.identity import encoded
from tests.faults import blows

Poisons = dict[str, dict[str, str]]  # stage -> key of the clip -> fault
OTHER_WORKERS = Needs(cpus=0.5)


@dataclass
class Toy(Stage):
    """Bytes that follow from those of its inputs, and their hash, so that a reader sees whether
    they are whole.
    """

    version = 1
    inputs = ("clips",)

    poisons: dict[str, str] = field(default_factory=dict)
    apart: bool = False  # runs on workers of its own

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return OTHER_WORKERS if self.apart else Needs()

    def parameters(self) -> dict[str, Any]:
        return {}

    def metrics(self, clip: Clip) -> dict[str, Any]:
        return {"tenth": 0.1, "key": len(clip.key)}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        blows.watch_worker()
        read = b"".join(_read(name, clip.path(name)) for name in self.inputs)
        draw = random.Random(seed_of(self.name, clip.span, hashlib.sha256(read).hexdigest()))
        data = draw.randbytes(draw.randrange(100, 6000))
        path = workdir / f"{self.name}.toy"
        path.write_bytes(hashlib.sha256(data).digest() + data)
        artifact = Artifact(path, self.metrics(clip))
        fault = self.poisons.get(clip.key)
        return FAULTS[fault](artifact, clip.path(self.inputs[0])) if fault else artifact


@dataclass
class Shots(Toy):
    name = "shots"
    inputs = ("source",)

    def metrics(self, clip: Clip) -> dict[str, Any]:
        count = int(Path(clip.source["path"]).stem.rpartition("_")[2])
        return {"spans": [[float(i), float(i + 1)] for i in range(count)]}


@dataclass
class Clips(Toy):
    name = "clips"
    inputs = ("source",)

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {"span": clip.span}

    def metrics(self, clip: Clip) -> dict[str, Any]:
        return {"span": clip.span, "fps": 25, "frames": 25, "seconds": 1.0}


@dataclass
class Faces(Toy):
    name = "faces"

    def metrics(self, clip: Clip) -> dict[str, Any]:
        code = hashlib.sha256(clip.key.encode())
        who = np.frombuffer(4 * code.digest(), np.uint8) / 255 - 0.5
        return {"fingerprints": [code.hexdigest()], "identity": encoded(who)}


@dataclass
class Mask(Toy):
    name = "mask"
    inputs = ("clips", "faces")


@dataclass
class Gaze(Toy):
    name = "gaze"
    inputs = ("faces",)


@dataclass
class Swap(Toy):
    name = "swap"
    inputs = ("clips", "faces")


@dataclass
class Style(Toy):
    name = "style"
    inputs = ("clips", "swap")


STAGES = (Clips, Faces, Mask, Gaze, Swap, Style)


def journey(root: Path, poisons: Poisons, apart: str = "") -> Pipeline:
    """The whole way of a file below `root`; the stage named `apart` has workers of its own."""
    stages = [stage(poisons.get(stage.name, {}), apart == stage.name) for stage in STAGES]
    return Pipeline(VideoFile(str(root)), stages, SELECTION, Shots(poisons.get("shots", {})))


SELECTION = Selection([], val_share=0.3, salt="toys", near_duplicate_bits=2)


def _read(stage: str, path: Path) -> bytes:
    """ValueError where the bytes are not those that the stage wrote."""
    data = path.read_bytes()
    if stage != "source" and hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError(f"{path.name} has {len(data)} bytes and is not whole")
    return data


# --- what can be wrong with a stage: (its artifact, its first input) -> what it gives instead

Fault = Callable[[Artifact, Path], Artifact]
FAULTS: dict[str, Fault] = {}


def _fault(function: Fault) -> Fault:
    FAULTS[function.__name__.removeprefix("_")] = function
    return function


@_fault
def _raise(artifact: Artifact, source: Path) -> Artifact:
    raise ZeroDivisionError("a bug in a stage")


@_fault
def _exit(artifact: Artifact, source: Path) -> Artifact:
    sys.exit(0)


@_fault
def _reject(artifact: Artifact, source: Path) -> Artifact:
    raise Reject("ugly", "no beauty")


@_fault
def _invalid(artifact: Artifact, source: Path) -> Artifact:
    raise Invalid("damaged", "no end")


@_fault
def _transient(artifact: Artifact, source: Path) -> Artifact:
    raise Transient("for ever")


@_fault
def _memory_error(artifact: Artifact, source: Path) -> Artifact:
    raise MemoryError("no more")


@_fault
def _crash(artifact: Artifact, source: Path) -> Artifact:
    os._exit(3)


@_fault
def _killed(artifact: Artifact, source: Path) -> Artifact:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
    return artifact


@_fault
def _loop(artifact: Artifact, source: Path) -> Artifact:
    while True:
        time.sleep(0.1)


@_fault
def _slow(artifact: Artifact, source: Path) -> Artifact:
    time.sleep(3)
    return artifact


@_fault
def _memory(artifact: Artifact, source: Path) -> Artifact:
    """Grows until somebody kills it; not for ever, should nobody."""
    pieces = []
    for _ in range(GREED // 2**24 + 8):
        pieces.append(b"x" * 2**24)
        time.sleep(0.02)
    time.sleep(120)
    return artifact


@_fault
def _nothing(artifact: Artifact, source: Path) -> Any:
    return None


@_fault
def _gone(artifact: Artifact, source: Path) -> Artifact:
    artifact.path.unlink()
    return artifact


@_fault
def _empty(artifact: Artifact, source: Path) -> Artifact:
    artifact.path.write_bytes(b"")
    return artifact


@_fault
def _short(artifact: Artifact, source: Path) -> Artifact:
    os.truncate(artifact.path, artifact.path.stat().st_size // 2)
    return artifact


@_fault
def _folder(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, path=artifact.path.parent)


@_fault
def _input(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, path=source)


@_fault
def _linked(artifact: Artifact, source: Path) -> Artifact:
    link = artifact.path.with_name("link")
    link.symlink_to(source)
    return replace(artifact, path=link)


@_fault
def _moved(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, path=source.rename(artifact.path.with_name("moved")))


@_fault
def _grown(artifact: Artifact, source: Path) -> Artifact:
    with source.open("ab") as file:
        file.write(b"a line at the end of its input")
    return artifact


@_fault
def _mark(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, path=artifact.path.rename(artifact.path.with_name("done.json")))


@_fault
def _nan(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, metrics={**artifact.metrics, "number": float("nan")})


@_fault
def _object(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, metrics={**artifact.metrics, "number": object()})


@_fault
def _no_numbers(artifact: Artifact, source: Path) -> Artifact:
    return replace(artifact, metrics={})


ENDINGS = {
    "reject": ("filtered", "ugly"),
    "invalid": ("invalid", "damaged"),
    "transient": ("failed", "transient"),
}
ENDINGS |= {"memory_error": ("failed", "memory_error"), "loop": ("failed", "timeout")}
ENDINGS |= {"slow": ("kept", "")}
ENDINGS |= dict.fromkeys(("crash", "killed", "memory"), ("failed", "crash"))
ON_RAY_ALONE = ("crash", "killed", "memory", "loop", "slow")
GREED = 400 * 2**20  # bytes: a worker that holds more is killed as the system would


def ending(fault: str) -> tuple[str, str]:
    """Outcome and reason of a clip with this fault."""
    return ENDINGS.get(fault, ("failed", "bug"))
