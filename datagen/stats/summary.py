"""Statistics that can be added: two sets of clips give those of their union."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datagen.stats.measures import Measure
from datagen.stats.rows import Row

QUANTILES = {"p5": 5, "median": 50, "p95": 95}
# of histograms in the terminal and in JSON; values beyond the range count in the outermost bins
BINS = 16


@dataclass(frozen=True)
class Summary:
    """Totals of a set of clips.

    `values` keeps every number, so that quantiles are exact however sets are joined.
    """

    clips: int = 0
    frames: int = 0
    seconds: float = 0.0
    sizes: Counter[str] = field(default_factory=Counter)  # field -> bytes
    # "split", "identity", ... -> value -> clips
    clips_of: dict[str, Counter[str]] = field(default_factory=dict)
    # (yaw, pitch) deg -> frames
    gaze_map: Counter[tuple[int, int]] = field(default_factory=Counter)
    values: tuple[np.ndarray, ...] = ()  # float64 [clips, measures], in parts

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Summary:
        sizes: Counter[str] = Counter()
        gaze_map: Counter[tuple[int, int]] = Counter()
        for row in rows:
            sizes.update(row.sizes)
            for yaw, pitch, frames in row.gaze_map:
                gaze_map[yaw, pitch] += frames
        clips_of = {
            "split": Counter(row.split for row in rows),
            "group": Counter(row.group for row in rows),
            "identity": Counter(row.identity or row.group for row in rows),
            "fps": Counter(f"{row.fps:g}" for row in rows),
            "license": Counter(str(row.rights.get("license", "unknown")) for row in rows),
            "subset": Counter(name for row in rows for name in row.subsets),
        }
        values = (np.stack([row.values for row in rows]),) if rows else ()
        seconds = sum(row.seconds for row in rows)
        return cls(
            len(rows), sum(row.frames for row in rows), seconds, sizes, clips_of, gaze_map, values
        )

    def __add__(self, other: Summary) -> Summary:
        names = self.clips_of.keys() | other.clips_of.keys()
        nothing: Counter[str] = Counter()
        return Summary(
            self.clips + other.clips,
            self.frames + other.frames,
            self.seconds + other.seconds,
            self.sizes + other.sizes,
            {
                name: self.clips_of.get(name, nothing) + other.clips_of.get(name, nothing)
                for name in names
            },
            self.gaze_map + other.gaze_map,
            self.values + other.values,
        )

    @property
    def bytes(self) -> int:
        return self.sizes.total()

    def column(self, index: int) -> np.ndarray:
        """All known values of one measure, float64 [n]."""
        parts = [part[:, index] for part in self.values]
        values = np.concatenate(parts) if parts else np.empty(0)
        return values[~np.isnan(values)]

    def to_json(self, measures: Sequence[Measure]) -> dict[str, Any]:
        return {
            "clips": self.clips,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "hours": round(self.seconds / 3600, 4),
            "bytes": {"all": self.bytes, **dict(sorted(self.sizes.items()))},
            "identities": len(self.clips_of.get("identity", ())),
            "groups": len(self.clips_of.get("group", ())),
            "splits": dict(sorted(self.clips_of.get("split", Counter()).items())),
            "subsets": dict(sorted(self.clips_of.get("subset", Counter()).items())),
            "fps": dict(sorted(self.clips_of.get("fps", Counter()).items())),
            "licenses": dict(sorted(self.clips_of.get("license", Counter()).items())),
            "measures": {m.name: _measure_json(self.column(i), m) for i, m in enumerate(measures)},
            "gaze_map": [[yaw, pitch, n] for (yaw, pitch), n in sorted(self.gaze_map.items())],
        }


def total(summaries: Iterable[Summary]) -> Summary:
    return sum(summaries, start=Summary())


def distribution(values: np.ndarray) -> dict[str, float | None]:
    """count, mean, sd, min, p5, median, p95, max of values [n]; only the count if n is 0."""
    if not len(values):
        return {"count": 0, **dict.fromkeys(("mean", "sd", "min", *QUANTILES, "max"))}
    low, *quantiles, high = np.percentile(values, [0, *QUANTILES.values(), 100])
    ends = {"mean": values.mean(), "sd": values.std(), "min": low, "max": high}
    numbers = {**ends, **dict(zip(QUANTILES, quantiles, strict=True))}
    return {
        "count": len(values),
        **{name: float(f"{value:.6g}") for name, value in numbers.items()},
    }


def _measure_json(values: np.ndarray, measure: Measure) -> dict[str, object]:
    counts, edges = histogram(values, measure, BINS)
    return {
        **distribution(values),
        "histogram": {"from": edges[0], "to": edges[-1], "counts": counts.tolist()},
    }


def histogram(values: np.ndarray, measure: Measure, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """(counts [bins], edges [bins + 1]) over the measure's range.

    Values beyond the range count in the outermost bins.
    """
    edges = np.linspace(measure.low, measure.high, bins + 1)
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0], edges
