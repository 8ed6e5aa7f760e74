"""One stage as a command: a folder of videos in, a folder of the same shape out.

python -m datagen.swap --input raw/      the same for clips, faces, mask, gaze and style
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig

from datagen.engine.errors import UserError
from datagen.engine.files import canonical, write_atomically
from datagen.engine.ledger import read_ledger
from datagen.engine.store import Record
from datagen.job import Job, dry_run, session
from datagen.preview import preview


def run_verb(cfg: DictConfig, verb: str) -> int:
    """Run the stages that lead to `verb` over `cfg.input` and lay its artefacts out in `cfg.output`."""
    job = Job.of(cfg)
    if cfg.dry_run:
        dry_run(job)
        return 0
    output = output_folder(cfg.input, cfg.output, verb)
    with session(job, output) as run:
        work = run.run()
        for event in events(job.ledger_path, run.ledger.run):
            print(_line(job, event, verb, output, cfg.overwrite), flush=True)
        run.ledger.append("end", books=work.books.to_json())
    print(work.books.line())
    print(f"results are in {output}")
    return 0


def output_folder(given: str, output: str | None, verb: str) -> Path:
    """As asked, else beside the input: raw/ -> raw-swap/."""
    if output:
        return Path(output)
    folder = Path(given)
    return folder.parent / f"{folder.name}-{verb}"


def events(ledger: Path, run: str) -> Iterator[dict[str, Any]]:
    """The clip events of one run, in order of key."""
    rows = (event for event in read_ledger(ledger) if event["run"] == run and event["event"] == "clip")
    yield from sorted(rows, key=lambda event: event["key"])


def place(event: dict[str, Any], suffix: str) -> PurePath:
    """raw/a/b.mp4, third shot -> a/b-002.mp4; only ever below the output folder."""
    relative = PurePath(event["source"]["path"])
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{relative} does not lie below the input folder.")
    number = event["key"].rsplit("-", 1)[-1] if event["span"] else ""
    return relative.with_name(f"{relative.stem}{'-' + number if number else ''}{suffix}")


def _line(job: Job, event: dict[str, Any], verb: str, output: Path, overwrite: bool) -> str:
    name = place(event, "")
    if event["outcome"] != "kept":
        detail = (event["detail"].splitlines() or [""])[0]
        return f"{name}: {event['outcome']}, {event['reason']}: {detail}"
    records = {stage: job.store.read(stage, key) for stage, key in event["records"].items()}
    record = records[verb]
    artefact = job.store.artefact(record)
    target = output / place(event, artefact.path.suffix)
    _place(artefact.path, record, target, overwrite)
    write_atomically(target.with_suffix(".json"), (canonical(record.metrics) + "\n").encode())
    if artefact.path.suffix == ".npz":
        picture = target.with_suffix(".mp4")
        if overwrite or not picture.exists():
            preview(job.store.artefact(records["clips"]).path, artefact.path, picture)
    return f"{target.relative_to(output)}: {summary(record.metrics)}"


def summary(metrics: dict[str, Any]) -> str:
    """The numbers and words among the metrics."""
    plain = {k: v for k, v in metrics.items() if isinstance(v, int | float | str)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _place(source: Path, record: Record, target: Path, overwrite: bool) -> None:
    """Copy under a temporary name, then rename. UserError where another file of that name stands."""
    if target.exists() and not overwrite:
        from datagen.engine.files import file_sha256

        if file_sha256(target) == record.sha256:
            return
        raise UserError(f"{target} exists and differs: add --overwrite to replace it, or choose another --output.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        shutil.copyfile(source, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
