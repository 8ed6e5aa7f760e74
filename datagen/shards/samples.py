"""Kept clips made into samples: groups and splits drawn, every member found, the json written."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from datagen.core.json import Json, JsonObject
from datagen.engine.exclude import is_among
from datagen.shards.index import MEMBERS
from datagen.weights.registry import licence_of

if TYPE_CHECKING:
    from datagen.engine.ledger import Ledger, RunCounts
    from datagen.engine.stage import Stage
    from datagen.engine.store import Record, Store
    from datagen.job import Job
    from datagen.shards.selection import Candidate, Selection
    from datagen.shards.writer import Sample


OPTED_OUT = ("excluded", "removed:opted_out")  # why a sample of an earlier run may go unasked
LOST = (
    "key",
    "outcome",
    "reason",
    "stage",
)  # what the index says of a clip that is not in the shards


def finish(job: Job, ledger: Ledger, books: RunCounts) -> JsonObject:
    """Duplicates out, splits drawn, shards and index written."""
    from datagen.engine.ledger import DUPLICATE, Rows
    from datagen.shards import selection
    from datagen.shards import writer as pack

    rows = Rows(job.ledger_path, ledger.run)
    candidates, rejects = [], []
    for row in rows.values():
        if row["outcome"] == "kept":
            candidates.append(_candidate(row, _records(job.store, row)))
        else:
            rejects.append({name: row[name] for name in LOST})
    doubled = selection.duplicates(candidates)
    for key in sorted(doubled):
        books.move(DUPLICATE)
        event = _event(rows[key], DUPLICATE, "the same pictures as a clip with a smaller key")
        ledger.append("clip", **event)
        rejects.append({name: event[name] for name in LOST})
    rejects.sort(key=lambda row: row["key"])
    candidates = [candidate for candidate in candidates if candidate.key not in doubled]
    groups = selection.groups(candidates, job.selection)
    del candidates
    samples = (_sample(job, rows, key, group) for key, group in groups.items())
    extra = {"books": books.to_json(), "rejects": rejects, "select": job.selection.to_json()}
    extra["stages"] = describe_stages(job.pipeline.all_stages)
    extra["rights"] = _rights(rows[key]["rights"] for key in groups)
    gone = {row["key"] for row in rejects if row["reason"] in OPTED_OUT}
    options = {"shard_samples": job.cfg.shard_samples, "shard_bytes": job.cfg.shard_mb * 2**20}
    return pack.pack(
        samples,
        Path(job.cfg.output),
        extra,
        overwrite=job.cfg.overwrite,
        may_go=partial(is_among, gone=gone),
        **options,
    )


def _rights(every: Iterable[Mapping[str, Json]]) -> list[JsonObject]:
    """Every licence with its terms, and how many samples are under it."""
    counts = Counter(
        (str(rights.get("license", "")), str(rights.get("terms", ""))) for rights in every
    )
    return [
        {"license": name, "terms": terms, "samples": n}
        for (name, terms), n in sorted(counts.items())
    ]


def describe(
    row: JsonObject, records: dict[str, Record], group: str, selection: Selection
) -> JsonObject:
    """The sample's json: where it comes from, what may be done with it, what was measured, what
    made it.
    """
    clip = records["clips"].metrics
    source = records["source"]
    made = {name: _maker(record) for name, record in records.items()}
    metrics = {name: r.metrics for name, r in records.items() if name != "source"}
    sample = {
        "key": row["key"],
        "split": selection.split(group),
        "subsets": selection.subsets_of(metrics),
        "group": group,
        "identity": row["identity"],
        "source": {**row["source"], "sha256": source.sha256},
        "span": clip["span"],
        "fps": clip["fps"],
        "frames": clip["frames"],
        "rights": row["rights"],
        "synthetic": {"swapped.mp4": metrics["swap"], "styled.mp4": metrics["style"]},
        "metrics": metrics,
        "stages": made,
    }
    if "cut" in source.metrics:
        sample["source"]["cut"] = source.metrics["cut"]
    if "truth" in source.metrics:
        sample["truth"] = _cut(source.metrics["truth"], clip)
    return sample


def _maker(record: Record) -> JsonObject:
    """What made an artifact: backend, version, all parameters, its weights with their licences."""
    identity = record.identity
    return {
        "backend": identity["backend"],
        "version": record.version,
        "parameters": identity["parameters"],
        "weights": licences_of(identity["weights"]),
    }


def licences_of(weights: Mapping[str, str]) -> dict[str, str]:
    """ "NAME VERSION" -> licence of the weights that a stage names."""
    return {f"{name} {version}": licence_of(name) for name, version in weights.items()}


def describe_stages(stages: Iterable[Stage]) -> dict[str, JsonObject]:
    """What the index says of every stage: backend, version, all parameters."""
    return {
        stage.name: {
            "backend": type(stage).__name__,
            "version": stage.version,
            "parameters": stage.parameters(),
        }
        for stage in stages
    }


def _cut(truth: JsonObject, clip: JsonObject) -> JsonObject:
    """The source's true curves at the moments of the clip's frames."""
    rate, start = truth["fps"], clip["span"][0]
    at = [round((start + frame / clip["fps"]) * rate) for frame in range(clip["frames"])]
    curves = {name: values for name, values in truth.items() if isinstance(values, list)}
    return {
        "fps": clip["fps"],
        **{name: [v[min(i, len(v) - 1)] for i in at] for name, v in curves.items()},
    }


def _records(store: Store, row: JsonObject) -> dict[str, Record]:
    return {stage: store.read(stage, key) for stage, key in row["records"].items()}


def _candidate(row: JsonObject, records: dict[str, Record]) -> Candidate:
    from datagen.shards.selection import Candidate

    known = bool(row["identity"])
    names = [f"identity:{row['identity']}"] if known else [f"video:{records['source'].sha256}"]
    names += [row["group"]] if row["group"] else []
    faces = records["faces"].metrics
    looks = (faces["fingerprints"], faces["identity"])
    return Candidate(row["key"], records["clips"].sha256, tuple(names), known, *looks)


def _sample(job: Job, rows: Mapping[str, JsonObject], key: str, group: str) -> Sample:
    """Hashes and sizes; what is in the members is read when they are written, the json made once
    more.
    """
    from datagen.shards.writer import Member, Sample

    row = rows[key]
    records = _records(job.store, row)
    text = _text(job, rows, key, group)
    members = [
        replace(
            Member.of_bytes("json", text), source=lambda: io.BytesIO(_text(job, rows, key, group))
        )
    ]
    for field, stage in MEMBERS.items():
        record = records[stage]
        members.append(
            Member(
                field, record.sha256, record.bytes, partial(_opened, job.store, stage, record.key)
            )
        )
    clip = records["clips"].metrics
    ordered = tuple(sorted(members, key=lambda member: member.field))
    return Sample(key, job.selection.split(group), clip["seconds"], clip["frames"], group, ordered)


def _text(job: Job, rows: Mapping[str, JsonObject], key: str, group: str) -> bytes:
    from datagen.core.files import canonical

    row = rows[key]
    return canonical(describe(row, _records(job.store, row), group, job.selection)).encode()


def _opened(store: Store, stage: str, key: str) -> IO[bytes]:
    return store.open(store.read(stage, key))


def _event(row: JsonObject, reason: str, detail: str) -> JsonObject:
    fields = {name: value for name, value in row.items() if name not in ("event", "run", "at")}
    return {
        **fields,
        "outcome": "filtered",
        "reason": reason,
        "stage": "select",
        "detail": detail,
        "seconds": {},
        "bytes": {},
    }
