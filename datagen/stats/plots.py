"""The funnel, the map of gaze and the histograms, as SVG for a page.

Text from data is shortened and drawn literally: no markup, no formula, no line break.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from datagen.stats.dataset import Dataset
from datagen.stats.gaze_map import from_middle, gaze_map
from datagen.stats.measures import TWINS, Measure
from datagen.stats.summary import histogram
from datagen.stats.svg import (
    BLUE,
    BOTTOM,
    GREY,
    LEFT,
    ORANGE,
    PALE,
    PURPLE,
    RED,
    SKY,
    WIDTH,
    note,
    shown,
    style,
    svg,
)
from datagen.vision.gaze_signal import MAP_DEG

GROUPS = ("losses", "clips", "eyes and head", "twins")
GROUP_OF = {
    "clips": "clips",
    "mask": "clips",
    "faces": "eyes and head",
    "gaze": "eyes and head",
}  # by a path's stage
RIGHT, HEIGHT, ROW = 0.3, 1.4, 0.2  # inches: of a histogram, and of a line of text above it
STEP = 0.36  # inches: a step of the funnel
STEPS = 30  # losses that the funnel shows; the rest are one step
OUTCOMES = {"filtered": ORANGE, "invalid": PURPLE, "failed": RED}
BOUNDS = 6  # thresholds that a histogram shows
# deg: least and greatest reach of the map of gaze; values beyond count at its edge
NEAR, FARTHEST = 20, 44
ROUND = ("1.000", "2.000", "2.500", "5.000")


@dataclass(frozen=True)
class Plot:
    """A plot of the page. `name` is unique and plain; `svg` is safe to insert into HTML."""

    name: str
    title: str
    group: str  # one of GROUPS
    svg: str
    about: str  # one sentence: what it shows

    @classmethod
    def of(cls, name: str, title: str, group: str, figure: Figure, about: str) -> Plot:
        return cls(name, title, group, svg(figure, name, title), f"{about}.")


@dataclass(frozen=True)
class Bound:
    """The bound of a rule: at `end` ("least" or "most") `value`."""

    who: str
    end: str
    value: float
    colour: str

    def __str__(self) -> str:
        return f"{self.who}: at {self.end} {self.value:g}"

    def met(self, values: np.ndarray) -> int:
        return int(np.sum(values >= self.value if self.end == "least" else values <= self.value))


@dataclass(frozen=True)
class Series:
    """Measured values [n] without NaN, and the bounds of rules; `label` tells the twins apart."""

    label: str
    measure: Measure
    values: np.ndarray
    bounds: Sequence[Bound]


def plots(dataset: Dataset) -> list[Plot]:
    """All plots of a dataset, group by group; the same numbers give the same bytes."""
    pairs = list(zip(TWINS["swap"], TWINS["style"], strict=True))
    twins = {measure for pair in pairs for measure in pair}
    with style():
        found = [_funnel(dataset), _gaze(dataset)]
        found += [_single(dataset, measure) for measure in dataset.measures if measure not in twins]
        found += [_pair(dataset, pair) for pair in pairs]
    return sorted(found, key=lambda plot: GROUPS.index(plot.group))


def _funnel(dataset: Dataset) -> Plot:
    """From planned to kept: one step for each kind of loss."""
    books, losses = dataset.books, _steps(dataset.funnel())
    planned = left = books["planned"]
    high = STEP * (len(losses) + 2)
    figure = Figure(figsize=(WIDTH, high))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(high, 0))
    axes.set_axis_off()
    _step(axes, 0, "planned", (0, planned), planned, BLUE)
    for row, (outcome, what, clips) in enumerate(losses, 1):
        _step(axes, row, what, (left - clips, left), planned, OUTCOMES.get(outcome, GREY))
        left -= clips
    _step(axes, len(losses) + 1, "kept", (0, left), planned, BLUE)
    about = f"{planned:,} planned = {left:,} kept" + "".join(
        f" + {books[o]:,} {o}" for o in OUTCOMES
    )
    return Plot.of("funnel", "from planned to kept", "losses", figure, about)


def _steps(funnel: Sequence[tuple[str, str, str, int]]) -> list[tuple[str, str, int]]:
    """(outcome, label, clips) of each loss; if there are too many, the smallest are merged."""
    order = sorted(funnel, key=lambda row: -row[3])
    few = set(order if len(order) <= STEPS else order[: STEPS - 1])
    steps = [(row[0], _loss_label(*row[:3]), row[3]) for row in funnel if row in few]
    rest = [row[3] for row in funnel if row not in few]
    return [*steps, ("", f"{len(rest)} more reasons", sum(rest))] if rest else steps


def _loss_label(outcome: str, stage: str, reason: str) -> str:
    return f"{shown(': '.join(filter(None, (stage, reason))), 27)} ({shown(outcome, 10)})"


def _step(
    axes: Axes, row: int, what: str, part: tuple[int, int], planned: int, colour: str
) -> None:
    """A line of text, with a bar under it: its part of all planned clips."""
    scale, y, clips = (WIDTH - 0.2) / max(planned, 1), STEP * row, part[1] - part[0]
    axes.text(0.1, y + 0.18, what)
    axes.text(WIDTH - 0.75, y + 0.18, f"{clips:,}", ha="right")
    axes.text(WIDTH - 0.1, y + 0.18, f"{clips / max(planned, 1):.1%}", ha="right")
    for start, end, fill in ((0, planned, PALE), (0, part[0], SKY), (*part, colour)):
        if end > start:  # always visible, however thin
            bar = (0.1 + start * scale, y + 0.22), max((end - start) * scale, 0.015), 0.1
            axes.add_patch(Rectangle(*bar, color=fill, linewidth=0))


def _gaze(dataset: Dataset) -> Plot:
    """Gaze directions in the head, in the cells of `gaze_map`, relative to each clip's median."""
    heading = "gaze.map", "where the eyes look, from each clip's own middle", "eyes and head"
    angles, frames = from_middle(dataset.rows)
    total = frames.sum()
    if not total:
        return Plot.of(*heading, note("nothing measured"), "nothing measured")
    farthest = np.abs(angles).max(1)
    far = int(np.clip(farthest.max(), NEAR, FARTHEST) // MAP_DEG)  # cells from the middle
    shares = np.zeros((2 * far + 1, 2 * far + 1))
    column, row = np.clip(np.rint(angles / MAP_DEG), -far, far).astype(int).T + far
    np.add.at(shares, (row, column), frames / total)
    near = frames[np.hypot(*angles.T) <= 10].sum() / total
    about = (
        f"{total:,} frames, {near:.1%} within 10 deg of their clip's own middle; absolute "
        "zero is not calibrated"
    )
    if beyond := frames[farthest > far * MAP_DEG].sum():
        about += f"; {beyond:,} beyond {far * MAP_DEG} deg are at the edge"
    return Plot.of(*heading, gaze_map(shares, (far + 0.5) * MAP_DEG), about)


def _single(dataset: Dataset, measure: Measure) -> Plot:
    group = GROUP_OF.get(measure.path.partition(".")[0], "twins")
    return _histogram(
        _name(measure), shown(measure.title, 60), group, [_series(dataset, measure, "")]
    )


def _pair(dataset: Dataset, pair: tuple[Measure, Measure]) -> Plot:
    """Swapped and styled twins in one plot."""
    series = [_series(dataset, measure, measure.title.partition(": ")[0]) for measure in pair]
    return _histogram(
        f"twins.{pair[0].path.rpartition('.')[2]}",
        pair[0].title.partition(": ")[2],
        "twins",
        series,
    )


def _series(dataset: Dataset, measure: Measure, label: str) -> Series:
    values = dataset.summary.column(list(dataset.measures).index(measure))
    return Series(label, measure, values, list(_bounds(dataset, measure, label)))


def _bounds(dataset: Dataset, measure: Measure, label: str) -> Iterator[Bound]:
    for rule in dataset.rules:
        if str(rule["metric"]) != measure.path or measure.span:
            continue
        subset = f"{shown(str(rule['subset']), 14)} subset" if "subset" in rule else ""
        colour = BLUE if label == "swapped" else "black" if subset else RED
        for end in ("least", "most"):
            if rule.get(end) is not None and math.isfinite(float(rule[end])):
                yield Bound(
                    ", ".join(filter(None, (label, subset))) or "rule",
                    end,
                    float(rule[end]),
                    colour,
                )


def _name(measure: Measure) -> str:
    """The measure's name, made plain but still unique if a rule file's metric is not."""
    plain = re.sub(r"[^A-Za-z0-9._]", "_", measure.name)
    digest = hashlib.sha256(measure.name.encode(errors="replace")).hexdigest()
    return plain if plain == measure.name else f"{plain[:40]}.{digest[:8]}"


def _histogram(name: str, title: str, group: str, series: Sequence[Series]) -> Plot:
    known = [
        one
        for one in series
        if len(one.values) and 0 < one.measure.high - one.measure.low < math.inf
    ]
    figure = _draw(known) if known else note("nothing measured")
    return Plot.of(name, title, group, figure, "; ".join(map(_about, series)))


def _about(series: Series) -> str:
    start, values, measure = (
        f"{series.label}: " if series.label else "",
        series.values,
        series.measure,
    )
    if not len(values):
        return f"{start}nothing measured"
    low, high = values.min(), values.max()
    with np.errstate(invalid="ignore"):  # of infinities
        between = (
            f"from {low:.4g} to {high:.4g}, median {np.median(values):.4g}"
            if low < high
            else f"at {low:.4g}"
        )
    unit = f" {measure.unit}" if measure.unit in ("s", "px", "fps", "deg") else ""
    parts = [f"{start}{len(values):,} {'clip' if len(values) == 1 else 'clips'} {between}{unit}"]
    parts += [
        f"{bound} ({bound.met(values):,} of {len(values):,})" for bound in series.bounds[:BOUNDS]
    ]
    parts += [
        f"{n:,} {side} {end:g} in the outermost bin" for n, side, end in _beyond(measure, values)
    ]
    return "; ".join(parts)


def _beyond(measure: Measure, values: np.ndarray) -> list[tuple[int, str, float]]:
    """(clips, "below" or "above", end of the range) for values outside of the range."""
    low, high = int(np.sum(values < measure.low)), int(np.sum(values > measure.high))
    return [row for row in ((low, "below", measure.low), (high, "above", measure.high)) if row[0]]


def _draw(known: Sequence[Series]) -> Figure:
    bounds = [bound for one in known for bound in one.bounds][:BOUNDS]
    twins = bool(known[0].label)
    above, wide = ROW * (len(bounds) + twins) + 0.1, WIDTH - LEFT - RIGHT
    high = BOTTOM + HEIGHT + above
    figure = Figure(figsize=(WIDTH, high))
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / high, wide / WIDTH, HEIGHT / high))
    for one in known:
        _bars(axes, one)
    _scales(axes, known[0].measure, np.concatenate([one.values for one in known]))
    _flags(axes, bounds)
    if twins:
        corner = 0, 1 + (above - ROW) / HEIGHT
        axes.legend(
            loc="lower left",
            bbox_to_anchor=corner,
            ncols=2,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
        )
    return figure


def _bars(axes: Axes, series: Series) -> None:
    """Clips per bin: filled bars, and for styled twins a line over the bars of the swapped ones."""
    counts, edges = histogram(
        series.values, series.measure, _parts(series.measure, (24, 25, 20, 30, 32, 16))
    )
    if series.label == "styled":
        axes.stairs(
            np.where(counts, counts, np.nan), edges, color=RED, linewidth=1.8, label=series.label
        )
    else:
        axes.stairs(counts, edges, fill=True, color=SKY, label=series.label)


def _parts(measure: Measure, counts: Sequence[int]) -> int:
    """The first of these counts that divides the range into round parts, else the first of all."""
    sizes = {
        count: f"{(measure.high - measure.low) / count:.3e}".partition("e")[0] for count in counts
    }
    return next((count for count in counts if sizes[count] in ROUND), counts[0])


def _scales(axes: Axes, measure: Measure, values: np.ndarray) -> None:
    ticks = np.linspace(measure.low, measure.high, _parts(measure, (4, 5, 6, 3)) + 1)
    labels = [f"{tick:.6g}".replace("-", "\u2212") for tick in ticks]
    for _, side, _ in _beyond(measure, values):
        end, sign = (0, "\u2264") if side == "below" else (-1, "\u2265")
        labels[end] = f"{sign} {labels[end]}"
    axes.set_xticks(ticks, labels)
    axes.set_xlim(measure.low, measure.high)
    axes.set_xlabel(shown(measure.label.rpartition(": ")[2], 50))
    axes.set_ylabel("clips", rotation_mode="anchor")
    axes.set_ylim(0)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _flags(axes: Axes, bounds: Sequence[Bound]) -> None:
    """A line for each bound, up to its label above the bars; labels farther out are higher."""
    low, high = axes.get_xlim()
    middle, down = (low + high) / 2, axes.get_xaxis_transform()
    for row, bound in enumerate(sorted(bounds, key=lambda bound: abs(bound.value - middle))):
        x, y = min(max(bound.value, low), high), 1 + (ROW * row + 0.14) / HEIGHT
        dashes = (3 * row, (3, 3))  # two lines at the same value show both colours
        axes.plot(
            [x, x], [0, y], linestyle=dashes, color=bound.colour, transform=down, clip_on=False
        )
        text = (
            f"{bound} \u2192"
            if bound.value > high
            else f"\u2190 {bound}"
            if bound.value < low
            else str(bound)
        )
        side, gap = ("left", 4) if x < middle else ("right", -4)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the lines of others
        axes.annotate(text, (x, y), (gap, 0), down, "offset points", ha=side, va="center", bbox=box)
