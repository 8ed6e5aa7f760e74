"""Does the driving person's identity leak? The same small training with and without twins that
drive.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from PIL import Image

from datagen.cli import quoted
from datagen.core.errors import UserError
from datagen.core.files import write_atomically
from datagen.core.json import Json, JsonObject
from model.folder import load
from model.pipeline import SamplingSettings
from training.evaluation.animate_case import animate_case
from training.evaluation.cross_cases import CrossCase, cross_cases
from training.evaluation.evaluator import EvaluationSettings, Evaluator
from training.evaluation.table import interval
from training.metrics.pixels import area

TWINS = "data.twin_probability=1"
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": ("data.twin_probability=0",),
    "twins": (TWINS,),
    "swapped": (TWINS, "data.twins=[swapped]"),
    "styled": (TWINS, "data.twins=[styled]"),
    "none-colour": ("data.twin_probability=0", "data.grey=false"),
    "twins-colour": (TWINS, "data.grey=false"),
}
LEAST = {"steps": 1, "jobs": 1, "cases": 1, "frames": 3}
FINISHED = b"finished\n"
SHOWN = (
    "leakage",
    "leakage_identity",
    "psnr_gain",
    "self_psnr",
    "read_mouth_r",
    "read_head_yaw_r",
    "read_head_roll_r",
)


def compare_variants(cfg: DictConfig) -> int:
    """Exit code 0. Trains what is not trained yet, measures it, writes a summary and a table."""
    unknown = sorted({*cfg.variants, *cfg.once} - set(VARIANTS))
    if unknown:
        raise UserError(
            f"variants or once names {', '.join(unknown)}: some of {', '.join(VARIANTS)} "
            "are expected."
        )
    for name, least in LEAST.items():
        if type(cfg[name]) is not int or cfg[name] < least:
            raise UserError(f"--{name} is {cfg[name]!r}, a whole number from {least} is expected.")
    if not cfg.seeds or not all(type(seed) is int and seed >= 0 for seed in cfg.seeds):
        raise UserError(f"seeds is {list(cfg.seeds)}, whole numbers from 0 are expected.")
    output = Path(str(cfg.output))
    chosen = [(variant, seed) for seed in cfg.seeds for variant in cfg.variants]
    chosen += [(variant, cfg.seeds[0]) for variant in cfg.once]
    runs = [
        (variant, seed, output / f"{variant}-{seed}") for variant, seed in dict.fromkeys(chosen)
    ]
    _train(cfg, runs)
    _measure(cfg, runs, output)
    return 0


def _train(cfg: DictConfig, runs: Sequence[tuple[str, int, Path]]) -> None:
    with ThreadPoolExecutor(cfg.jobs) as pool:
        failed = [path for path, code in pool.map(lambda run: _fit(cfg, *run), runs) if code]
    if failed:
        raise UserError(f"{len(failed)} trainings failed: {_log_path(failed[0])} says why.")


def _fit(cfg: DictConfig, variant: str, seed: int, folder: Path) -> tuple[Path, int]:
    options = (
        f"output={quoted(str(folder))}",
        f"data.input={quoted(str(cfg.input))}",
        f"seed={seed}",
        f"max_steps={cfg.steps}",
        "data.workers=0",
        *("data.jitter=0", "data.donor_shape=0"),  # nothing but the data keeps identities apart
    )
    quiet = ("validate_every=0", "progress=false", "logger=none", "checkpoint_every=100000")
    overrides = ("+experiment=smoke", *options, *quiet, *VARIANTS[variant])
    header = f"{' '.join(overrides)}\n".encode()
    log_text = _log_path(folder).read_bytes() if _log_path(folder).exists() else b""
    if log_text.startswith(header) and log_text.endswith(FINISHED):
        return folder, 0
    arguments = [sys.executable, "-m", "training.fit", *overrides]
    if log_text and not log_text.startswith(header):
        print(f"{folder.name}: was trained with other settings, begins anew", flush=True)
        arguments.append("overwrite=true")
    folder.parent.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with _log_path(folder).open("wb") as log:
        log.write(header)
        log.flush()
        done = subprocess.run(
            arguments, stdout=log, stderr=subprocess.STDOUT, env=os.environ | threads, check=False
        )
        if done.returncode == 0:
            log.seek(0, os.SEEK_END)
            log.write(FINISHED)
    print(f"{folder.name}: {'trained' if done.returncode == 0 else 'failed'}", flush=True)
    return folder, done.returncode


def _log_path(folder: Path) -> Path:
    """A training's log: its command, its output, and whether it finished."""
    return folder.with_name(f"{folder.name}.txt")


def _measure(cfg: DictConfig, runs: Sequence[tuple[str, int, Path]], output: Path) -> None:

    cases = cross_cases(Path(str(cfg.input)), cfg.cases, cfg.frames)
    own = [_alone(case) for case in cases]
    cross = Evaluator(cases, EvaluationSettings(mesh=False, folder=Path(str(cfg.readout))))
    alone = Evaluator(own, EvaluationSettings(mesh=False, readout=False))
    rows: list[JsonObject] = []
    shown: dict[str, list[np.ndarray]] = {}
    for variant, seed, folder in runs:
        pictures: list[np.ndarray] = []
        for scores in _scores(folder, cross, alone, pictures):
            rows.append({"variant": variant, "seed": seed, **scores})
        shown.setdefault(variant, pictures)
    write_atomically(output / "summary.json", (json.dumps(rows, indent=1) + "\n").encode())
    text = table(rows)
    write_atomically(output / "table.md", text.encode())
    _sheet(cases, shown, output / "pictures.png")
    print(text, end="")


def _alone(case: CrossCase) -> CrossCase:
    """The same motion, driven by the reference's own person."""
    assert case.numbers is not None
    return replace(
        case, driving=case.truth, driving_points=case.truth_points, numbers=(case.numbers[0],) * 2
    )


def _scores(
    folder: Path, cross: Evaluator, alone: Evaluator, pictures: list[np.ndarray]
) -> Iterator[Mapping[str, Json]]:
    """A row for each case; the outputs are added to `pictures`."""

    pipeline = load(folder / "model")
    pipeline.animator.eval()
    settings = SamplingSettings(
        steps=1, guidance=1.0, window=4, overlap=0
    )  # as conf/experiment/smoke.yaml

    def animate(case: CrossCase) -> np.ndarray:
        made = animate_case(pipeline, case, settings)
        pictures.append(made)
        return made

    others = cross(animate)
    count = len(pictures)
    itself = alone(animate)
    del pictures[count:]
    for row, same in zip(others, itself, strict=True):
        yield row | {"self_psnr": same["psnr"]}


def table(rows: Sequence[Mapping[str, Json]]) -> str:
    """Markdown: means and 95 % intervals over the cases, for each seed and for all."""
    names = list(dict.fromkeys(row["variant"] for row in rows))
    lines = [
        f"| driving in training | seed | {' | '.join(SHOWN)} |",
        f"|---|---|{'---|' * len(SHOWN)}",
    ]
    for name in names:
        seeds = sorted({row["seed"] for row in rows if row["variant"] == name})
        for seed in [*seeds, None]:
            all_own = [row for row in rows if row["variant"] == name]
            own = (
                [row for row in all_own if row["seed"] == seed]
                if seed is not None
                else _over_seeds(all_own)
            )
            cells = [_cell(own, score) for score in SHOWN]
            lines.append(f"| {name} | {'all' if seed is None else seed} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _over_seeds(rows: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """A row for each case, its mean over the seeds."""
    cases: dict[str, list[Mapping[str, Json]]] = {}
    for row in rows:
        cases.setdefault(row["key"], []).append(row)
    overrides = [
        {name: [row[name] for row in own if row.get(name) is not None] for name in SHOWN}
        for own in cases.values()
    ]
    return [
        {name: sum(values) / len(values) for name, values in row.items() if values}
        for row in overrides
    ]


def _cell(rows: Sequence[Mapping[str, Json]], score: str) -> str:

    values = np.array([row[score] for row in rows if row.get(score) is not None])
    if not len(values):
        return "none"
    overrides = interval(score, values)
    return f"{overrides['mean']:.2f} [{overrides['low']:.2f}, {overrides['high']:.2f}]"


def _sheet(
    cases: Sequence[CrossCase], shown: Mapping[str, Sequence[np.ndarray]], path: Path
) -> None:
    """A row for each case: reference, driving person, truth, and each variant's output at the same
    moment.
    """

    rows = []
    for number, case in enumerate(cases):
        moment = len(case.truth) // 2
        still = np.stack([case.reference, case.driving[moment], case.truth[moment]])
        outputs = [pictures[number][moment] for pictures in shown.values()]
        side = len(outputs[0])
        rows.append(np.concatenate([*area(still, side), *outputs], axis=1))
    Image.fromarray(np.concatenate(rows)).resize(
        (rows[0].shape[1] * 2, len(rows) * side * 2), 0
    ).save(path)
