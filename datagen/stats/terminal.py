"""Statistics as text: tables, the funnel, small histograms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from datagen.stats.dataset import Dataset
from datagen.stats.measures import Measure
from datagen.stats.summary import Summary, distribution, histogram

BARS = " ▁▂▃▄▅▆▇█"
BINS = 16
SHOWN = (
    "clips.seconds", "clips.face_px", "gaze.amplitude_deg", "faces.yaw.1", "faces.pitch.1", "faces.roll.1",
    "faces.mouth.span", "agree.swap.landmarks", "agree.style.landmarks", "agree.swap.gaze_deg", "agree.style.gaze_deg",
    "agree.swap.similarity", "agree.style.similarity", "agree.swap.flicker", "agree.style.flicker",
)  # fmt: skip
WIDTH = 110  # columns where the output is no terminal


def show(dataset: Dataset) -> None:
    """Print everything at a glance."""
    console = terminal()
    for part in (_overview(dataset), _funnel(dataset), _histograms(dataset), _costs(dataset)):
        console.print(part)


def terminal() -> Console:
    """Words are shown as they are; as wide as the terminal, or WIDTH."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=WIDTH)


def table(title: str, *columns: str, words: int = 1) -> Table:
    """A plain table; the first `words` columns hold words, the others numbers."""
    made = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        made.add_column(Text(name), justify="left" if number < words else "right", no_wrap=number >= words)
    return made


def _overview(dataset: Dataset) -> RenderableType:
    made = table(
        str(dataset.folder),
        "split",
        "shards",
        "clips",
        "frames",
        "hours",
        "identities",
        "groups",
        "size",
        "fps",
        "subsets",
    )
    files = {entry["file"]: entry["split"] for entry in dataset.index["shards"]}
    for split in sorted(set(files.values())):
        parts = [dataset.summaries[file] for file, name in files.items() if name == split]
        made.add_row(*_counts(split, len(parts), sum(parts, start=Summary())))
    made.add_section()
    made.add_row(*_counts("all", len(files), dataset.summary))
    return made


def _counts(name: str, shards: int, summary: Summary) -> list[Text]:
    told = summary.to_json(())
    numbers = [told[key] for key in ("clips", "frames")]
    return [
        Text(str(word))
        for word in (
            name,
            f"{shards:,}",
            *(f"{number:,}" for number in numbers),
            f"{summary.seconds / 3600:.3f}",
            f"{told['identities']:,}",
            f"{told['groups']:,}",
            size(summary.bytes),
            ", ".join(told["fps"]) or "-",
            ", ".join(f"{name} {n}" for name, n in told["subsets"].items()) or "-",
        )
    ]


def _funnel(dataset: Dataset) -> RenderableType:
    made = table("From planned to kept", "what", "stage", "clips", "share", "", words=2)
    planned = dataset.books["planned"]
    rows = [(f"- {outcome}: {reason}", stage, n) for outcome, stage, reason, n in dataset.funnel()]
    for what, stage, count in [("planned", "", planned), *rows, ("= kept", "", dataset.books["kept"])]:
        share = count / planned if planned else 0.0
        made.add_row(Text(what[:60]), Text(stage), f"{count:,}", f"{share:.1%}", Text("█" * round(24 * share)))
    made.columns[-1].justify = "left"
    return made


def _histograms(dataset: Dataset) -> RenderableType:
    made = table("Clips", "measure", "", "from - to", "p5", "median", "p95", "rule", words=2)
    made.columns[1].no_wrap = True
    for number, measure in enumerate(dataset.measures):
        if measure.name in SHOWN:
            made.add_row(*_histogram(dataset.summary, number, measure, dataset.rules))
    return made


def _histogram(summary: Summary, number: int, measure: Measure, rules: Sequence[Mapping[str, Any]]) -> list[Text]:
    values = summary.column(number)
    told = distribution(values)
    counts, _ = histogram(values, measure, BINS)
    bounds = " ".join(_bound(rule) for rule in rules if rule["metric"] == measure.path and not measure.span)
    numbers = [_short(told[name]) for name in ("p5", "median", "p95")]
    ends = f"{measure.low:g} - {measure.high:g}"
    return [Text(word) for word in (measure.label, sparkline(counts), ends, *numbers, bounds)]


def _bound(rule: Mapping[str, Any]) -> str:
    ends = [f"{sign}{rule[end]:g}" for end, sign in (("least", "≥"), ("most", "≤")) if rule.get(end) is not None]
    return " ".join(ends) + (f" ({rule['subset']})" if "subset" in rule else "")


def sparkline(counts: Iterable[int]) -> str:
    """One character for each count; whatever is there is seen."""
    counts = list(counts)
    most = max(counts, default=0)
    return "".join(BARS[0 if not n else max(1, round((len(BARS) - 1) * n / most))] for n in counts)


def _costs(dataset: Dataset) -> RenderableType:
    costs = dataset.to_json()["costs"]
    if costs is None:
        return Text("Seconds and bytes of each stage: the ledger of the run is not in this --store.\n")
    made = table("What it took", "stage", "artefacts", "seconds", "s each", "size")
    for stage, cost in costs.items():
        each = cost["seconds"] / cost["artefacts"]
        made.add_row(stage, f"{cost['artefacts']:,}", f"{cost['seconds']:,.1f}", f"{each:.2f}", size(cost["bytes"]))
    total = [sum(cost[name] for cost in costs.values()) for name in ("artefacts", "seconds", "bytes")]
    made.add_section()
    made.add_row("all", f"{total[0]:,}", f"{total[1]:,.1f}", "", size(total[2]))
    return made


def size(count: float) -> str:
    """Bytes in the unit that reads best: 12.7 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
