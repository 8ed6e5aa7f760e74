"""One stage as a command: a folder of videos in, a folder of the same shape out.

python -m datagen.swap --input raw/      the same for clips, faces, mask, gaze and style
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

from omegaconf import DictConfig

from datagen.core.errors import UserError
from datagen.core.files import canonical, copy_atomically, file_sha256, write_if_new
from datagen.core.json import JsonObject
from datagen.core.text import line_of
from datagen.engine.ledger import read_ledger
from datagen.engine.store import Record
from datagen.job import Job
from datagen.session import dry_run, exit_code, session
from datagen.vision.preview import preview


def run_verb(cfg: DictConfig, verb: str) -> int:
    """Run the stages that lead to `verb` over `cfg.input` and lay its artifacts out in
    `cfg.output`.
    """
    job = Job.of(cfg)
    if cfg.dry_run:
        dry_run(job)
        return 0
    output = output_folder(cfg.input, cfg.output, verb)
    with session(job, output) as run:
        work = run.run()
        with run.ended(work):
            rows = list(events(job.ledger_path, run.ledger.run))
            alike = ambiguous(rows)
            for event in rows:
                print(line_of(_line(job, event, verb, output, place(event, alike))), flush=True)
    print(work.books.line())
    print(f"results are in {output}")
    return exit_code(work.books)


def output_folder(given: str, output: str | None, verb: str) -> Path:
    """As asked, else beside the input: raw/ -> raw-swap/."""
    if output:
        return Path(output)
    folder = Path(given).resolve()
    return folder.with_name(f"{folder.name}-{verb}")


def events(ledger: Path, run: str) -> Iterator[JsonObject]:
    """The clip events of one run, in order of key."""
    rows = (
        event for event in read_ledger(ledger) if event["run"] == run and event["event"] == "clip"
    )
    yield from sorted(rows, key=lambda event: event["key"])


def ambiguous(rows: list[JsonObject]) -> set[PurePath]:
    """Places without suffix that several videos share: a.mp4 and a.mov."""
    first: dict[PurePath, str] = {}
    paths = [row["source"]["path"] for row in rows]
    return {
        bare
        for path in paths
        if first.setdefault(bare := PurePath(path).with_suffix(""), path) != path
    }


def place(event: JsonObject, alike: Collection[PurePath] = ()) -> PurePath:
    """raw/a/b.mp4, third shot -> a/b-002, or a/b.mp4-002 if there is a b.mov too; only ever below
    the output folder.
    """
    relative = PurePath(event["source"]["path"])
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{relative} does not lie below the input folder.")
    name = relative.name if relative.with_suffix("") in alike else relative.stem
    number = event["key"].rsplit("-", 1)[-1] if event["span"] else ""
    return relative.with_name(f"{name}-{number}" if number else name)


def _line(job: Job, event: JsonObject, verb: str, output: Path, name: PurePath) -> str:
    """Lay out one clip's artifact as `output`/`name` plus its suffix; the summary line."""
    if event["outcome"] != "kept":
        detail = (event["detail"].splitlines() or [""])[0]
        return f"{name}: {event['outcome']}, {event['reason']}: {detail}"
    records = {stage: job.store.read(stage, key) for stage, key in event["records"].items()}
    record, target = records[verb], output / name
    made = target.with_name(target.name + Path(record.file).suffix)
    stands = _stands(made, record, job.cfg.overwrite)
    if not stands:
        with job.store.open(record) as file:
            copy_atomically(file, made)
    picture = target.with_name(f"{target.name}.mp4")
    if made.suffix == ".npz" and not (stands and picture.exists()):
        with job.store.open(records["clips"]) as clip:
            preview(clip, made, picture)
    numbers = (canonical(record.metrics) + "\n").encode()
    write_if_new(target.with_name(f"{target.name}.json"), numbers)
    return f"{made.relative_to(output)}: {summary(record.metrics)}"


def summary(metrics: JsonObject) -> str:
    """The numbers and words among the metrics."""
    plain = {k: v for k, v in metrics.items() if isinstance(v, int | float | str)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _stands(target: Path, record: Record, overwrite: bool) -> bool:
    """Whether the file is there and right. UserError where it differs and may not be replaced."""
    if not target.exists():
        return False
    is_right = file_sha256(target) == record.sha256
    if not is_right and not overwrite:
        raise UserError(
            f"{target} exists and differs: add --overwrite to replace it, or choose "
            "another --output."
        )
    return is_right
