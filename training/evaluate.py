"""How good is a trained model, or anybody's video?

python -m training.evaluate --checkpoint CKPT mode=cross
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.cli import command
from datagen.core.errors import UserError
from datagen.core.files import file_sha256, write_atomically
from datagen.options import option

if TYPE_CHECKING:
    from model.pipeline import MegActorPipeline
    from training.metrics.frechet import Features

LEAST = {"cases": 1, "frames": 3, "stride": 1, "steps": 1, "window": 1, "overlap": 0, "seed": 0}
CHOICES = {"mode": ("cross", "self"), "against": ("truth", "driving")}
PACKAGES = ("megactor-kit", "torch", "mediapipe", "opencv-python", "numpy")
SUMMARY = "summary.json"


@dataclass
class EvaluateOptions:
    checkpoint: str | None = option(
        None, "what to evaluate: a model's folder, or a .ckpt file of the trainer"
    )
    mode: str = option(
        "cross",
        "cross: pairs of different people of the sample source's val split; self: clips of "
        "any val split",
    )
    input: str = option("data/shards", "folder of shards")
    videos: tuple[str, str] | None = option(
        None, "in place of a checkpoint: an output and what it is compared to, files or folders"
    )
    against: str = option("truth", "what the second video is: truth or driving")
    reference: str | None = option(
        None,
        "picture of the portrait of --videos: likeness to it, and with against=driving the "
        "estimated leakage",
    )
    compare: tuple[str, str] | None = option(
        None, "two folders that this command wrote: paired differences, second less first"
    )
    output: str = option("data/evaluation/last", "folder for JSON files and videos")
    cases: int = option(6, "of a checkpoint: pairs of people, or clips")
    frames: int = option(50, "frames of each case, or the most of a video that are compared")
    stride: int = option(1, "frames of the source to a frame of the case")
    steps: int = option(25, "denoising steps")
    guidance: float = option(
        4.5, "how strongly the portrait is followed; 1: no second pass without it"
    )
    window: int = option(16, "frames that the model sees at once")
    overlap: int = option(8, "frames that windows share")
    seed: int = option(42, "of the noise, and of the references")
    features: str | None = option(
        None,
        "TorchScript file: adds the Frechet distance, FID of pictures or FVD of clips, as its "
        "network takes",
    )
    readout: str = option(
        "data/readout",
        "folder where pictures for the readout are kept (training/evaluation/readout.py)",
    )
    device: str = option("auto", "auto: cuda where there is one, else cpu")
    overwrite: bool = option(False, "replace an evaluation in the output folder")


@command("evaluate", EvaluateOptions)
def main(cfg: Any) -> int:
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
    told, rows, sets = made
    for row in rows:
        _write(output / f"{row['key']}.json", {"scores": row, **told})
    _report(output, told, rows, _distance(sets) if features else {})
    return 0


def _mistakes(cfg: Any) -> Iterator[str]:
    for name, least in LEAST.items():
        if cfg[name] < least:
            yield f"--{name} is {cfg[name]}, a whole number from {least} is expected"
    if not 1 <= cfg.guidance < 1e6:
        yield f"--guidance is {cfg.guidance:g}, a number from 1 is expected"
    if cfg.window <= cfg.overlap:
        yield f"--overlap is {cfg.overlap}, less than the window of {cfg.window} is expected"
    for name, choices in CHOICES.items():
        if cfg[name] not in choices:
            yield f"{name} is {cfg[name]!r}, {' or '.join(choices)} is expected"
    given = [name for name in ("checkpoint", "videos", "compare") if cfg[name] is not None]
    if len(given) != 1:
        yield (
            f"{' and '.join(given) or 'nothing'} is given, one of --checkpoint, --videos and "
            "--compare is expected"
        )


def _clear(output: Path) -> None:
    """What an earlier evaluation left here, the summary that names it last."""
    if not (output / SUMMARY).exists():
        return
    with contextlib.suppress(UserError):
        for row in _read(output)["clips"]:
            for suffix in (".json", ".mp4"):
                (output / f"{Path(row['key']).name}{suffix}").unlink(missing_ok=True)
    (output / SUMMARY).unlink()


def _features(path: Any) -> Features | None:
    if path is None:
        return None
    from training.metrics.frechet import Features

    return Features(Path(str(path)))


Made = tuple[
    dict[str, Any], list[dict[str, Any]], tuple[list[Any], list[Any]]
]  # told, rows, features real and made


def _of_checkpoint(cfg: Any, output: Path, features: Features | None) -> Made:
    from model.pipeline import Settings
    from model.resolve import refuse_window
    from training.evaluation.cross_cases import animated, cross_cases
    from training.evaluation.grid import write_grid
    from training.evaluation.judge import Judge
    from training.evaluation.judge import Settings as Judging
    from training.evaluation.self_cases import self_cases

    pipeline, weights = _pipeline(cfg)
    refuse_window(cfg.window, pipeline.longest_window, "--window")
    if cfg.mode == "self":
        cases = self_cases(Path(str(cfg.input)), cfg.cases, cfg.frames, cfg.stride)
    else:
        cases = cross_cases(Path(str(cfg.input)), cfg.cases, cfg.frames, cfg.stride, cfg.seed)
    same = {name: cfg[name] for name in ("steps", "seed", "window", "overlap")}
    settings = Settings(**same, guidance=float(cfg.guidance))
    judge = Judge(cases, Judging(side=pipeline.side, folder=Path(str(cfg.readout))))
    rows, sets = [], _sets()
    for number, judged in enumerate(judge.cases, 1):
        made = animated(pipeline, judged.case, settings)
        rows.append(judged.row(made))
        output.mkdir(parents=True, exist_ok=True)
        write_grid(output / f"{judged.case.key}.mp4", judged, made)
        _add(sets, features, judged.truth, made)
        print(f"{number} of {len(cases)}: {judged.case.key}", flush=True)
    return (
        _told(cfg, features, weights=weights, settings=same | {"guidance": float(cfg.guidance)}),
        rows,
        sets,
    )


def _of_videos(cfg: Any, features: Features | None) -> Made:
    from model.inputs.portrait import read
    from training.evaluation.videos import VideoJudge, paired

    pairs = paired(*(Path(path) for path in cfg.videos))
    reference = None if cfg.reference is None else read(Path(str(cfg.reference))).rgb
    judge, rows, sets = VideoJudge(cfg.against, cfg.frames), [], _sets()
    for key, output, other in pairs:
        films = judge.films(output, other)
        rows.append(judge(key, *films, reference))
        if "lengths" in rows[-1]:
            a, b = rows[-1]["lengths"]
            print(f"{key}: {a} and {b} frames; the first {rows[-1]['frames']} are compared.")
        _add(sets, features, films[1].pictures, films[0].pictures)
    absent = {
        name: why
        for name, why in {"lpips": judge.lpips, "csim": judge.recogniser}.items()
        if type(why) is str
    }
    files = {key: {"output": file_sha256(a), "other": file_sha256(b)} for key, a, b in pairs}
    return _told(cfg, features, absent=absent, files=files, against=cfg.against), rows, sets


def _pipeline(cfg: Any) -> tuple[MegActorPipeline, dict[str, Any]]:
    """The model, and what tells its weights from others'."""
    from model.resolve import choose

    path = Path(str(cfg.checkpoint))
    if path.is_file():
        from training.trainer.checkpoint import pipeline

        device = choose("tiny", None, cfg.device).device
        loaded = pipeline(path)
        loaded.animator.eval()
        return loaded.to(device), {"file": path.name, "sha256": file_sha256(path)}
    choice = choose(None, str(path), cfg.device, "float32")
    return choice.load(), dict(choice.identity())


def _told(cfg: Any, features: Features | None, **more: Any) -> dict[str, Any]:
    """What was measured with what: for the JSON of every clip."""
    from model.animate import version_of

    told = {"versions": {name: version_of(name) for name in PACKAGES}, **more}
    told["measured"] = {name: cfg[name] for name in ("mode", "cases", "frames", "stride", "seed")}
    return told | ({} if features is None else {"features": features.told})


def _sets() -> tuple[list[Any], list[Any]]:
    return [], []


def _add(
    sets: tuple[list[Any], list[Any]], features: Features | None, real: Any, made: Any
) -> None:
    if features is not None:
        sets[0].append(features([real]))
        sets[1].append(features([made]))


def _distance(sets: tuple[list[Any], list[Any]]) -> dict[str, Any]:
    """The Frechet distance of all clips together, and how many rows of features each side has."""
    import numpy as np

    from training.metrics.frechet import frechet

    # a clip too short for a network of clips has no row
    real, made = (np.concatenate([part for part in each if len(part)] or each[:1]) for each in sets)
    value = frechet(real, made)
    return {"frechet": None if np.isnan(value) else value, "real": len(real), "made": len(made)}


def _report(
    output: Path, told: dict[str, Any], rows: list[dict[str, Any]], distance: dict[str, Any]
) -> None:
    from rich.console import Console

    from training.evaluation.table import summary, table

    means = summary(rows)
    _write(
        output / SUMMARY,
        {"clips": rows, "means": means, **({"distance": distance} if distance else {}), **told},
    )
    Console().print(table(f"{len(rows)} clips", means))
    if distance:
        print(
            f"Frechet distance {distance['frechet']}, of {distance['real']} and "
            f"{distance['made']} features"
        )
    for name, why in told.get("absent", {}).items():
        print(f"{name}: not measured, {why}")
    print(f"{output}/{SUMMARY}")


def _compare(before: Path, after: Path) -> int:
    from rich.console import Console

    from training.evaluation.table import differences, table

    runs = [_read(folder) for folder in (before, after)]
    told = differences(*(run["clips"] for run in runs))
    if not told:
        raise UserError(
            f"{before} and {after} have no clip in common: two evaluations of the same "
            "clips are expected."
        )
    Console().print(table(f"{after} less {before}", told))
    return 0


def _read(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / SUMMARY).read_bytes())
        rows = told["clips"]
        assert all(isinstance(row["key"], str) for row in rows)
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        raise UserError(
            f"{folder} holds no {SUMMARY} of training.evaluate: name folders that it wrote."
        ) from None
    return told


def _write(path: Path, value: Any) -> None:
    write_atomically(
        path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    )


if __name__ == "__main__":
    main()
