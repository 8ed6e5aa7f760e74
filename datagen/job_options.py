"""The options that every command on clips shares."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.options import option


@dataclass
class JobOptions:
    store: str = option(
        "data/store",
        "where artifacts live and nothing is computed twice; a folder or any fsspec URL",
    )
    runner: str = option("ray", "ray, or local: the same stages in this process")
    workers: int | None = option(
        None,
        "stages at work at once; by default one per processor, on a cluster one per processor "
        "of it",
    )
    limit: int | None = option(None, "take only the first N planned")
    dry_run: bool = option(False, "say what is there and what would be made; write nothing")
    exclude: str | None = option(
        None,
        "file of ids, one a line: these people, videos and clips are left out of everything "
        "that is made",
    )
    recogniser: str = option(
        "dlib", "who tells people apart: dlib, or insightface where its weights are"
    )
    overwrite: bool = option(False, "replace results that differ")
    deadline_s: float = option(900, "s for one clip; then it is failed: timeout")
    progress: bool = option(True, "a bar in a terminal, a line now and then in a log")
