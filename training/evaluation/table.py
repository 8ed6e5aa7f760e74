"""Means over clips with confidence intervals, for one run or the difference of two, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datagen.core.json import JsonObject
from datagen.core.seeds import seed_of

DRAWS = 2000
LEVEL = 95  # %


def summary(rows: Sequence[JsonObject]) -> dict[str, dict[str, float]]:
    """Measure: mean, low, high and clips, of the clips in which it could be measured."""
    return {name: interval(name, _known(rows, name)) for name in _names(rows)}


def differences(
    before: Sequence[JsonObject], after: Sequence[JsonObject]
) -> dict[str, dict[str, float]]:
    """Of the same clips in two runs, second less first. Pairing removes what is hard in a clip."""
    first, second = ({row["key"]: row for row in rows} for rows in (before, after))
    both = sorted(first.keys() & second.keys())
    result = {}
    for name in _names([first[key] for key in both]):
        pairs = [(first[key].get(name), second[key].get(name)) for key in both]
        known = [b - a for a, b in pairs if a is not None and b is not None]
        if known:
            result[name] = interval(name, np.array(known))
    return result


def interval(name: str, values: np.ndarray) -> dict[str, float]:
    """Mean and the middle 95 % of the means of 2000 draws of clips with replacement (percentile
    bootstrap, seeded).
    """
    rng = np.random.default_rng(seed_of("bootstrap", name))
    means = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(1)
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return {
        "mean": float(values.mean()),
        "low": float(low),
        "high": float(high),
        "clips": len(values),
    }


def table(title: str, intervals: dict[str, dict[str, float]]) -> Any:
    """A rich table."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    made.add_column("measure")
    for column in ("mean", f"{LEVEL} % interval", "clips"):
        made.add_column(column, justify="right")
    for name, row in intervals.items():
        made.add_row(
            name, f"{row['mean']:.4g}", f"{row['low']:.4g} to {row['high']:.4g}", str(row["clips"])
        )
    return made


def _names(rows: Sequence[JsonObject]) -> list[str]:
    """Of measures with a number in some row, in their order."""
    names = dict.fromkeys(
        name for row in rows for name, value in row.items() if type(value) in (int, float)
    )
    return list(names)


def _known(rows: Sequence[JsonObject], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows if row.get(name) is not None], float)
