"""Made-up folders of shards, of any size and with any names, through the real packer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from datagen.core.files import canonical
from datagen.engine.ledger import Ledger, RunCounts
from datagen.media import video
from datagen.shards.index import FIELDS
from datagen.shards.selection import Selection
from datagen.shards.writer import Member, Sample, pack
from tests.conftest import REPOSITORY

VIDEOS = {
    "mp4": 40,
    "swapped.mp4": 90,
    "styled.mp4": 140,
    "mask.mp4": 190,
}  # field -> grey level of its frames
LOSSES = (
    ("filtered", "small_face", "clips"),
    ("invalid", "damaged", "shots"),
    ("failed", "crash", "swap"),
)
MAKERS = {
    "clips": "Clips",
    "faces": "MeshFaces",
    "gaze": "IrisGaze",
    "swap": "LandmarkSwap",
    "style": "FilterStyle",
    "agree": "Agreement",
}
WEIGHTS = {"mediapipe 0.10.14": "Apache-2.0"}

IDENTITY = ("identity", "identity_share", "identity_driving", "shape_and_colour")


def shards(
    folder: Path,
    kept: int = 6,
    lost: int = 3,
    per_shard: int = 1000,
    films: bool = True,
    **words: Any,
) -> Path:
    """Pack `kept` made-up clips; `lost` more are in the books. `words` replace identity, source and
    reason.

    Numbers differ from clip to clip and depend on its number alone. Without `films` the video
    members are a few bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    losses = [_loss(number, words) for number in range(kept, kept + lost)]
    books = RunCounts(kept + lost)
    for _ in range(kept):
        books.settle("kept")
    for loss in losses:
        books.settle(loss["outcome"], loss["reason"])
    rules = yaml.safe_load((REPOSITORY / "conf" / "select" / "default.yaml").read_text())
    rules.pop("_target_")
    extra = {"books": books.to_json(), "rejects": losses, "select": Selection(**rules).to_json()}
    pack(
        (_sample(number, films, words) for number in range(kept)),
        folder,
        extra,
        shard_samples=per_shard,
    )
    return folder


def ledger(path: Path, kept: int = 6, lost: int = 3, **words: Any) -> Path:
    """The ledger of the run that made `shards` of the same arguments."""
    book = Ledger(path, "run1")
    book.append("start", command="datagen.shards", output="shards")
    book.append("planned", count=kept + lost)
    for number in range(kept + lost):
        book.append("clip", **_event(number, kept, words))
    book.append("end", books={})
    book.close()
    return path


def described(number: int, words: dict[str, Any]) -> dict[str, Any]:
    """The json member of clip `number`: what `datagen.shards.samples.describe` says of a real
    one.
    """
    draw = np.random.default_rng(number)
    frames = int(draw.integers(30, 200))
    twin = {
        name: round(float(draw.uniform(0, 0.05)), 4)
        for name in ("landmarks", "motion", "mouth_motion", "eyes_motion", "shape")
    }
    twin |= {
        name: round(float(draw.uniform(0, 5)), 2)
        for name in ("pose_deg", "gaze_deg", "gaze_offset_deg")
    }
    twin |= {
        name: round(float(draw.uniform(0.4, 1)), 3)
        for name in ("mouth_r", "blink_r", "brow_r", "frown_r", "flicker", *IDENTITY)
    }
    metrics: dict[str, Any] = {
        "clips": {
            "seconds": frames / 25,
            "frames": frames,
            "fps": 25,
            "source_fps": 30.0,
            "span": [0.0, frames / 25],
        },
        "faces": {
            name: sorted(draw.normal(0, 12, 3).round(1).tolist())
            for name in ("yaw", "pitch", "roll")
        },
        "mask": {"person_share": round(float(draw.uniform(0.4, 0.8)), 3), "face_share": 0.2},
        "gaze": {
            "amplitude_deg": round(float(draw.gamma(4, 3)), 2),
            "coverage": 1.0,
            "map": [
                [2 * int(yaw), 2 * int(pitch), 10]
                for yaw, pitch in draw.integers(-8, 8, (frames // 10, 2))
            ],
        },
        "swap": {"donor": "person12", "drift": 0.01},
        "style": {"look": "ink", "drift": 0.02},
        "agree": {
            "swap": {**twin, "coverage": 1.0},
            "style": {**twin, "coverage": 1.0, "mouth_r": None},
        },
    }
    metrics["clips"]["face_px"] = round(float(draw.uniform(96, 500)), 1)
    metrics["faces"] |= {
        "mouth": [0.0, 0.1, round(float(draw.uniform(0.1, 0.5)), 3)],
        "eyes": [0.1, 0.2, 0.3],
    }
    return {
        "key": _key(number),
        "split": "val" if number % 7 == 3 else "train",
        "subsets": ["gaze"] if metrics["gaze"]["amplitude_deg"] >= 8 else [],
        "group": f"identity:{_word(words, 'identity', number, f'person{number % 40}')}",
        "identity": _word(words, "identity", number, f"person{number % 40}"),
        "source": {
            "name": "folder",
            "path": _word(words, "source", number, f"raw/{number}.mp4"),
            "sha256": "0" * 64,
        },
        "span": [0.0, frames / 25],
        "fps": 25,
        "frames": frames,
        "rights": {
            "license": _word(words, "license", number, "CC-BY-4.0"),
            "terms": "with the owner's name",
        },
        "synthetic": {"swapped.mp4": metrics["swap"], "styled.mp4": metrics["style"]},
        "metrics": metrics,
        "stages": {
            stage: {"backend": backend, "version": 1, "weights": WEIGHTS}
            for stage, backend in MAKERS.items()
        },
    }


@cache
def film(level: int) -> bytes:
    """A short grey film."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with video.Writer(path, 25) as writer:
            for step in range(5):
                writer.write(np.full((64, 64, 3), level + step, np.uint8))
        return path.read_bytes()


def _sample(number: int, films: bool, words: dict[str, Any]) -> Sample:
    said = described(number, words)
    data = {field: film(level) if films else bytes(16) for field, level in VIDEOS.items()}
    data |= {"faces.npz": bytes(64), "json": canonical(said).encode()}
    members = tuple(Member.of_bytes(field, data[field]) for field in FIELDS)
    seconds = said["metrics"]["clips"]["seconds"]
    return Sample(said["key"], said["split"], seconds, said["frames"], said["group"], members)


def _loss(number: int, words: dict[str, Any]) -> dict[str, Any]:
    outcome, reason, stage = LOSSES[number % len(LOSSES)]
    return {
        "key": _key(number),
        "outcome": outcome,
        "reason": _word(words, "reason", number, reason),
        "stage": stage,
    }


def _event(number: int, kept: int, words: dict[str, Any]) -> dict[str, Any]:
    stages = (*MAKERS, "source")
    loss = (
        _loss(number, words)
        if number >= kept
        else {"key": _key(number), "outcome": "kept", "reason": ""}
    )
    return {
        "detail": "said the stage",
        "stage": "agree",
        "source": {"name": "folder", "path": _word(words, "source", number, f"raw/{number}.mp4")},
        "identity": "",
        "group": "",
        "rights": {},
        "span": [0.0, 4.0],
        "records": {stage: f"{stage}{number}" for stage in stages},
        "seconds": dict.fromkeys(stages, 0.5),
        "bytes": dict.fromkeys(stages, 1000),
        **loss,
    }


def _key(number: int) -> str:
    return f"clip-{number:06d}"


def _word(words: dict[str, Any], name: str, number: int, usual: str) -> str:
    return words[name](number) if callable(words.get(name)) else words.get(name, usual)
