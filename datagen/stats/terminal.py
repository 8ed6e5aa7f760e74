"""Statistics as text: tables, the funnel, small histograms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from datagen.core.text import text_of
from datagen.stats.dataset import Dataset
from datagen.stats.history import Cost
from datagen.stats.measures import Measure
from datagen.stats.summary import BINS, Summary, distribution, histogram

BARS = " ▁▂▃▄▅▆▇█"
SHOWN = (
    "clips.seconds",
    "clips.face_px",
    "gaze.amplitude_deg",
    "faces.yaw.1",
    "faces.pitch.1",
    "faces.roll.1",
    "faces.mouth.span",
    "agree.swap.motion",
    "agree.style.motion",
    "agree.swap.gaze_deg",
    "agree.style.gaze_deg",
    "agree.swap.identity",
    "agree.style.identity",
    "agree.swap.flicker",
    "agree.style.flicker",
)
WIDTH = 110  # columns if the output is not a terminal


def show(dataset: Dataset) -> None:
    """Print all statistics."""
    console = terminal()
    for part in (*_overview(dataset), _funnel(dataset), _histograms(dataset), _costs(dataset)):
        console.print(part)


def terminal() -> Console:
    """A console that prints text literally; as wide as the terminal, or WIDTH."""
    console = Console(highlight=False, markup=False, emoji=False)
    return (
        console
        if console.is_terminal
        else Console(highlight=False, markup=False, emoji=False, width=WIDTH)
    )


def table(title: str, *columns: str, text_columns: int = 1) -> Table:
    """A plain table; the first `text_columns` columns hold text, the others numbers."""
    made = Table(
        title=cell_text(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for number, name in enumerate(columns):
        if number < text_columns:
            made.add_column(Text(name), min_width=16 if text_columns == 1 else 6, overflow="fold")
        else:
            made.add_column(Text(name), justify="right", no_wrap=True)
    return made


def cell_text(value: object) -> Text:
    """Text from data, without markup and control characters."""
    return Text(text_of(value))


def _overview(dataset: Dataset) -> Iterator[RenderableType]:
    made = table(
        str(dataset.folder), "split", "shards", "clips", "frames", "hours", "identities", "size"
    )
    for split, (shards, tar_bytes, summary) in dataset.splits.items():
        made.add_row(*_counts(split, shards, tar_bytes, summary))
    made.add_section()
    entries = dataset.index["shards"]
    made.add_row(*_counts("all", len(entries), dataset.bytes, dataset.summary))
    yield made
    for name, of in (("fps", "fps"), ("subsets", "subset"), ("licences", "license")):
        counts = dataset.summary.clips_of.get(of, Counter())
        yield cell_text(
            f"{name}: "
            + (", ".join(f"{value} ({n:,})" for value, n in sorted(counts.items())) or "none")
        )
    yield Text(
        "identities: people; if the source names none, groups of clips (from one video, or "
        "with nearly the same face)\n"
    )


def _counts(name: str, shards: int, tar_bytes: int, summary: Summary) -> list[Text]:
    counts = summary.to_json(())
    numbers = [f"{number:,}" for number in (shards, counts["clips"], counts["frames"])]
    texts = (
        name,
        *numbers,
        f"{summary.seconds / 3600:.3f}",
        f"{counts['identities']:,}",
        size(tar_bytes),
    )
    return [cell_text(text) for text in texts]


def _funnel(dataset: Dataset) -> RenderableType:
    made = table("From planned to kept", "what", "stage", "clips", "share", "", text_columns=2)
    planned = dataset.books["planned"]
    rows = [(f"- {outcome}: {reason}", stage, n) for outcome, stage, reason, n in dataset.funnel()]
    for what, stage, count in [
        ("planned", "", planned),
        *rows,
        ("= kept", "", dataset.books["kept"]),
    ]:
        share = count / planned if planned else 0.0
        made.add_row(
            cell_text(what[:60]),
            cell_text(stage),
            f"{count:,}",
            f"{share:.1%}",
            Text("█" * round(24 * share)),
        )
    made.columns[-1].justify = "left"
    return made


def _histograms(dataset: Dataset) -> RenderableType:
    made = table("Clips", "measure", "", "p5", "median", "p95", "rule")
    made.columns[1].justify = "left"
    for number, measure in enumerate(dataset.measures):
        if measure.name in SHOWN:
            made.add_row(*_histogram(dataset.summary, number, measure, dataset.rules))
    return made


def _histogram(
    summary: Summary, number: int, measure: Measure, rules: Sequence[Mapping[str, Any]]
) -> list[Text]:
    values = summary.column(number)
    spread = distribution(values)
    counts, _ = histogram(values, measure, BINS)
    bounds = " ".join(
        _bound(rule) for rule in rules if rule["metric"] == measure.path and not measure.span
    )
    numbers = [short(spread[name]) for name in ("p5", "median", "p95")]
    return [cell_text(text) for text in (measure.label, sparkline(counts), *numbers, bounds)]


def _bound(rule: Mapping[str, Any]) -> str:
    ends = [
        f"{sign}{rule[end]:g}"
        for end, sign in (("least", "≥"), ("most", "≤"))
        if rule.get(end) is not None
    ]
    return " ".join(ends) + (f" ({rule['subset']})" if "subset" in rule else "")


def sparkline(counts: Iterable[int]) -> str:
    """One character for each count; only zero is blank."""
    counts = list(counts)
    most = max(counts, default=0)
    return "".join(BARS[0 if not n else max(1, round((len(BARS) - 1) * n / most))] for n in counts)


def _costs(dataset: Dataset) -> RenderableType:
    if not dataset.history.found:
        return Text("No cost of the stages: the ledger of the run is not in this --store.\n")
    made = table("Cost", "stage", "artifacts", "seconds", "s each", "size")
    for stage, cost in dataset.costs:
        made.add_row(cell_text(stage), *_cost(cost))
    made.add_section()
    whole = sum((cost for _, cost in dataset.costs), start=Cost())
    made.add_row("all", *_cost(whole))
    if whole.unknown:
        made.caption = f"Without {whole.unknown:,} artifacts whose cost is not in this ledger."
    return made


def _cost(cost: Cost) -> list[str]:
    known = cost.artifacts - cost.unknown
    if not known:
        return [f"{cost.artifacts:,}", "-", "-", "-"]
    return [
        f"{cost.artifacts:,}",
        f"{cost.seconds:,.1f}",
        f"{cost.seconds / known:.2f}",
        size(cost.bytes),
    ]


def size(count: float) -> str:
    """Bytes in the most readable unit: 12.7 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def short(value: float | None) -> str:
    """Three digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
