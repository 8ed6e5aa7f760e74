"""Two datasets side by side: counts, losses, median and spread of every measure, and overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from datagen.stats.dataset import Dataset
from datagen.stats.summary import distribution
from datagen.stats.terminal import cell_text, short, size, table, terminal

ROOMY = 100  # columns


def show(first: Dataset, second: Dataset) -> None:
    """Print both, measure by measure, and what they share."""
    console = terminal()
    numbers = to_json(first, second)
    for letter, dataset in (("A", first), ("B", second)):
        console.print(cell_text(f"{letter}  {dataset.folder}"))
    console.print(_counts(first, second))
    console.print(_losses(numbers))
    console.print(_measures(numbers, first, has_room=console.width >= ROOMY))
    for sentence in _shared(numbers):
        console.print(cell_text(sentence))


def to_json(first: Dataset, second: Dataset) -> dict[str, Any]:
    """Everything that `show` prints."""
    return {
        "format": "megactor-kit comparison 1",
        "a": _side(first),
        "b": _side(second),
        "measures": dict(_rows(first, second)),
        "shared": _overlap(first, second),
    }


def separation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Two-sample Kolmogorov-Smirnov statistic of values [n], [m]: 0 the same distribution, 1 no
    overlap.
    """
    if not (len(a) and len(b)):
        return None
    at = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (a, b)]
    return round(float(np.abs(shares[0] - shares[1]).max()), 4)


def _side(dataset: Dataset) -> dict[str, object]:
    numbers = dataset.to_json()
    every = {
        name: value
        for name, value in numbers["all"].items()
        if name not in ("measures", "gaze_map")
    }
    return {name: numbers[name] for name in ("folder", "books", "losses", "bytes")} | {"all": every}


def _rows(first: Dataset, second: Dataset) -> Iterator[tuple[str, dict[str, object]]]:
    columns = [
        {m.name: d.summary.column(i) for i, m in enumerate(d.measures)} for d in (first, second)
    ]
    for name in columns[0] | columns[1]:
        a, b = (side.get(name, np.empty(0)) for side in columns)
        yield name, {"a": distribution(a), "b": distribution(b), "separation": separation(a, b)}


def _overlap(first: Dataset, second: Dataset) -> dict[str, object]:
    """Clips and groups that are in both; a group in different splits is a leak."""
    rows = (first.rows, second.rows)
    keys = [{row.key for row in side} for side in rows]
    groups = [{row.group: row.split for row in side} for side in rows]
    both = groups[0].keys() & groups[1].keys()
    crossed = sorted(group for group in both if groups[0][group] != groups[1][group])
    return {"clips": len(keys[0] & keys[1]), "groups": len(both), "groups_in_other_splits": crossed}


def _counts(first: Dataset, second: Dataset) -> Table:
    made = table("Contents", "", "A", "B", "B / A")
    for name in ("clips", "frames", "seconds", "identities", "groups", "bytes"):
        a, b = (_number(dataset, name) for dataset in (first, second))
        words = [size(n) if name == "bytes" else f"{n:,.0f}" for n in (a, b)]
        made.add_row(name, *words, f"{b / a:.2f}" if a else "-")
    for name in ("split", "subset", "fps", "license"):
        sides = [dataset.summary.clips_of.get(name, Counter()) for dataset in (first, second)]
        for value in sorted(sides[0].keys() | sides[1].keys()):
            made.add_row(
                cell_text(f"{name} {value}"), *(f"{side.get(value, 0):,}" for side in sides), ""
            )
    return made


def _number(dataset: Dataset, name: str) -> float:
    return dataset.bytes if name == "bytes" else dataset.summary.to_json(())[name]


def _losses(numbers: Mapping[str, Any]) -> Table:
    made = table("From planned to kept", "", "A", "", "B", "")
    sides: list[dict[tuple[str, str], int]] = [
        {(r["outcome"], r["reason"]): r["clips"] for r in numbers[side]["losses"]} for side in "ab"
    ]
    planned = [numbers[side]["books"]["planned"] for side in "ab"]
    kept = [numbers[side]["books"]["kept"] for side in "ab"]
    every = sides[0] | sides[1]
    rows = {
        f"- {outcome}: {reason}": [side.get((outcome, reason), 0) for side in sides]
        for outcome, reason in every
    }
    for what, counts in {"planned": planned, **rows, "= kept": kept}.items():
        shares = [f"{n / p:.1%}" if p else "-" for n, p in zip(counts, planned, strict=True)]
        made.add_row(cell_text(what[:60]), f"{counts[0]:,}", shares[0], f"{counts[1]:,}", shares[1])
    return made


def _measures(numbers: Mapping[str, Any], dataset: Dataset, has_room: bool) -> Table:
    labels = {measure.name: measure.label for measure in dataset.measures}
    spreads = ["p5 to p95"] if has_room else []
    made = table("Clips: medians", "measure", "A", *spreads, "B", *spreads, "B - A", "apart")
    for name, row in numbers["measures"].items():
        cells = [cell for side in "ab" for cell in _cells(row[side])[: 1 + has_room]]
        medians = row["a"]["median"], row["b"]["median"]
        change = "-" if None in medians else f"{medians[1] - medians[0]:+.3g}"
        apart = "-" if row["separation"] is None else f"{row['separation']:.2f}"
        made.add_row(cell_text(labels.get(name, name)), *cells, change, apart)
    return made


def _cells(spread: Mapping[str, float | None]) -> tuple[str, str]:
    if not spread["count"]:
        return "-", ""
    return short(spread["median"]), f"{short(spread['p5'])} to {short(spread['p95'])}"


def _shared(numbers: Mapping[str, Any]) -> Iterator[str]:
    shared = numbers["shared"]
    yield f"In both: {shared['clips']:,} clips, {shared['groups']:,} groups (videos or people)."
    if crossed := shared["groups_in_other_splits"]:
        what = (
            f"{len(crossed):,} groups are in train of one and in val of the other, the first "
            f"is {crossed[0]}"
        )
        yield f"{what}: do not train on one and validate on the other."
    yield "apart: Kolmogorov-Smirnov statistic, 0 the same distribution, 1 no overlap."
