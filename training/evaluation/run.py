"""An evaluation: of a checkpoint on cases, of videos, or the comparison of two evaluations."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from datagen.core.errors import UserError
from datagen.core.files import file_sha256, write_atomically
from datagen.core.json import Json, JsonObject
from model.animate import version_of
from model.inputs.portrait import read
from model.pipeline import MegActorPipeline, SamplingSettings
from model.resolve import choose, refuse_window
from training.evaluation.animate_case import animate_case
from training.evaluation.cross_cases import cross_cases
from training.evaluation.evaluator import EvaluationSettings, Evaluator
from training.evaluation.grid import write_grid
from training.evaluation.self_cases import self_cases
from training.evaluation.table import differences, summary, table
from training.evaluation.videos import VideoEvaluator, paired
from training.metrics.frechet import Features, frechet
from training.trainer.checkpoint import pipeline as checkpoint_pipeline

LEAST = {"cases": 1, "frames": 3, "stride": 1, "steps": 1, "window": 1, "overlap": 0, "seed": 0}
CHOICES = {"mode": ("cross", "self"), "against": ("truth", "driving")}
PACKAGES = ("megactor-kit", "torch", "mediapipe", "opencv-python", "numpy")
SUMMARY = "summary.json"


def evaluate(cfg: DictConfig) -> int:
    """Exit code 0. UserError with all mistakes of the options."""
    if mistakes := list(_mistakes(cfg)):
        raise UserError("; ".join(mistakes) + " (see --help).")
    if cfg.compare is not None:
        return _compare(*(Path(folder) for folder in cfg.compare))
    output = Path(str(cfg.output))
    if (output / SUMMARY).exists() and not cfg.overwrite:
        raise UserError(
            f"{output} holds an evaluation: add --overwrite to replace it, or choose "
            "another --output."
        )
    features = _features(cfg.features)
    _clear(output)
    made = (
        _of_videos(cfg, features)
        if cfg.videos is not None
        else _of_checkpoint(cfg, output, features)
    )
    metadata, rows, sets = made
    for row in rows:
        _write(output / f"{row['key']}.json", {"scores": row, **metadata})
    _report(output, metadata, rows, _distance(sets) if features else {})
    return 0


def _mistakes(cfg: DictConfig) -> Iterator[str]:
    for name, least in LEAST.items():
        if type(cfg[name]) is not int or cfg[name] < least:
            yield f"--{name} is {cfg[name]!r}, a whole number from {least} is expected"
    if (
        not isinstance(cfg.guidance, int | float)
        or isinstance(cfg.guidance, bool)
        or not 1 <= cfg.guidance < 1e6
    ):
        yield f"--guidance is {cfg.guidance!r}, a number from 1 is expected"
    if type(cfg.window) is int and type(cfg.overlap) is int and cfg.window <= cfg.overlap:
        yield f"--overlap is {cfg.overlap}, less than the window of {cfg.window} is expected"
    for name, choices in CHOICES.items():
        if cfg[name] not in choices:
            yield f"{name} is {cfg[name]!r}, {' or '.join(choices)} is expected"
    for name in ("videos", "compare"):
        two = cfg[name]
        if two is not None and (isinstance(two, str | int | float) or len(two) != 2):
            yield f"--{name} is {two!r}, two are expected: --{name} A B"
    given = [name for name in ("checkpoint", "videos", "compare") if cfg[name] is not None]
    if len(given) != 1:
        yield (
            f"{' and '.join(given) or 'nothing'} is given, one of --checkpoint, --videos and "
            "--compare is expected"
        )


def _clear(output: Path) -> None:
    """Remove the files of an earlier evaluation; its summary, which lists them, last."""
    if not (output / SUMMARY).exists():
        return
    with contextlib.suppress(UserError):
        for row in _read(output)["clips"]:
            for suffix in (".json", ".mp4"):
                (output / f"{Path(row['key']).name}{suffix}").unlink(missing_ok=True)
    (output / SUMMARY).unlink()


def _features(path: str | None) -> Features | None:
    if path is None:
        return None

    return Features(Path(str(path)))


FeatureSets = tuple[list[np.ndarray], list[np.ndarray]]  # of real and of made videos
Made = tuple[JsonObject, list[JsonObject], FeatureSets]  # metadata, rows, features


def _of_checkpoint(cfg: DictConfig, output: Path, features: Features | None) -> Made:

    pipeline, weights = _pipeline(cfg)
    refuse_window(cfg.window, pipeline.longest_window, "--window")
    if cfg.mode == "self":
        cases = self_cases(Path(str(cfg.input)), cfg.cases, cfg.frames, cfg.stride)
    else:
        cases = cross_cases(Path(str(cfg.input)), cfg.cases, cfg.frames, cfg.stride, cfg.seed)
    same = {name: cfg[name] for name in ("steps", "seed", "window", "overlap")}
    settings = SamplingSettings(**same, guidance=float(cfg.guidance))
    evaluator = Evaluator(
        cases, EvaluationSettings(side=pipeline.side, folder=Path(str(cfg.readout)))
    )
    rows, sets = [], _sets()
    for number, evaluated in enumerate(evaluator.cases, 1):
        made = animate_case(pipeline, evaluated.case, settings)
        rows.append(evaluated.row(made))
        output.mkdir(parents=True, exist_ok=True)
        write_grid(output / f"{evaluated.case.key}.mp4", evaluated, made)
        _add(sets, features, evaluated.truth, made)
        print(f"{number} of {len(cases)}: {evaluated.case.key}", flush=True)
    return (
        _metadata(
            cfg, features, weights=weights, settings=same | {"guidance": float(cfg.guidance)}
        ),
        rows,
        sets,
    )


def _of_videos(cfg: DictConfig, features: Features | None) -> Made:

    pairs = paired(*(Path(path) for path in cfg.videos))
    reference = None if cfg.reference is None else read(Path(str(cfg.reference))).rgb
    evaluator, rows, sets = VideoEvaluator(cfg.against, cfg.frames), [], _sets()
    for key, output, other in pairs:
        videos = evaluator.read_pair(output, other)
        rows.append(evaluator(key, *videos, reference))
        if "lengths" in rows[-1]:
            a, b = rows[-1]["lengths"]
            print(f"{key}: {a} and {b} frames; the first {rows[-1]['frames']} are compared.")
        _add(sets, features, videos[1].frames, videos[0].frames)
    absent = {
        name: why
        for name, why in {"lpips": evaluator.lpips, "csim": evaluator.recogniser}.items()
        if type(why) is str
    }
    files = {key: {"output": file_sha256(a), "other": file_sha256(b)} for key, a, b in pairs}
    return _metadata(cfg, features, absent=absent, files=files, against=cfg.against), rows, sets


def _pipeline(cfg: DictConfig) -> tuple[MegActorPipeline, JsonObject]:
    """The model, and what identifies its weights."""

    path = Path(str(cfg.checkpoint))
    if path.is_file():
        device = choose("tiny", None, cfg.device).device
        loaded = checkpoint_pipeline(path)
        loaded.animator.eval()
        return loaded.to(device), {"file": path.name, "sha256": file_sha256(path)}
    choice = choose(None, str(path), cfg.device, "float32")
    return choice.load(), dict(choice.identity())


def _metadata(cfg: DictConfig, features: Features | None, **more: Json) -> JsonObject:
    """What was measured, and with what: for the JSON of every clip."""

    metadata = {"versions": {name: version_of(name) for name in PACKAGES}, **more}
    metadata["measured"] = {
        name: cfg[name] for name in ("mode", "cases", "frames", "stride", "seed")
    }
    return metadata | ({} if features is None else {"features": features.metadata})


def _sets() -> FeatureSets:
    return [], []


def _add(sets: FeatureSets, features: Features | None, real: np.ndarray, made: np.ndarray) -> None:
    if features is not None:
        sets[0].append(features([real]))
        sets[1].append(features([made]))


def _distance(sets: FeatureSets) -> JsonObject:
    """The Frechet distance of all clips together, and how many rows of features each side has."""

    # a clip too short for a network of clips has no row
    real, made = (np.concatenate([part for part in each if len(part)] or each[:1]) for each in sets)
    value = frechet(real, made)
    return {"frechet": None if np.isnan(value) else value, "real": len(real), "made": len(made)}


def _report(
    output: Path, metadata: JsonObject, rows: list[JsonObject], distance: JsonObject
) -> None:

    means = summary(rows)
    _write(
        output / SUMMARY,
        {"clips": rows, "means": means, **({"distance": distance} if distance else {}), **metadata},
    )
    Console().print(table(f"{len(rows)} clips", means))
    if distance:
        print(
            f"Frechet distance {distance['frechet']}, of {distance['real']} and "
            f"{distance['made']} features"
        )
    for name, why in metadata.get("absent", {}).items():
        print(f"{name}: not measured, {why}")
    print(f"{output}/{SUMMARY}")


def _compare(before: Path, after: Path) -> int:

    runs = [_read(folder) for folder in (before, after)]
    metadata = differences(*(run["clips"] for run in runs))
    if not metadata:
        raise UserError(
            f"{before} and {after} have no clip in common: two evaluations of the same "
            "clips are expected."
        )
    Console().print(table(f"{after} less {before}", metadata))
    return 0


def _read(folder: Path) -> JsonObject:
    try:
        metadata = json.loads((folder / SUMMARY).read_bytes())
        rows = metadata["clips"]
        assert all(isinstance(row["key"], str) for row in rows)
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        raise UserError(
            f"{folder} holds no {SUMMARY} of training.evaluate: name folders that it wrote."
        ) from None
    return metadata


def _write(path: Path, value: JsonObject) -> None:
    write_atomically(
        path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    )
