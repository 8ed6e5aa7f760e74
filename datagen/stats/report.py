"""The HTML report on a dataset: one self-contained page, without network access.

Nothing that comes from data is run. DataTables comes from the package itables. The
Content-Security-Policy allows two scripts, by the hash of their text.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np

from datagen.core.errors import UserError
from datagen.engine.store import Store
from datagen.stats import seal
from datagen.stats.dataset import Dataset
from datagen.stats.facts import backend_uses, duration, rules, tar_bytes
from datagen.stats.films import frame_size
from datagen.stats.history import LostClip
from datagen.stats.measures import TWINS, Measure
from datagen.stats.pictures import extremes, gallery, sheets, thumbnails
from datagen.stats.plots import Plot, plots
from datagen.stats.rows import Row
from datagen.stats.summary import distribution
from datagen.stats.terminal import size

FACTS = (
    "clips.face_px",
    "gaze.amplitude_deg",
    "faces.yaw.span",
    "faces.mouth.span",
)  # of each clip in the gallery
COUNTED = ("split", "group", "identity", "fps", "license", "subset")
ENDS = ("mean", "min", "p5", "median", "p95", "max")
SHOWN, MOST_SHOWN = 16, 500  # clips in the gallery; browsers fail on pages with many more
MOMENTS, FEW = 3, 1  # per clip in the gallery, and per other clip with pictures
LOST_SHOWN = 12  # clips per reason, or as many as have a picture
DETAIL_LENGTH = 300  # characters of a loss's detail; a traceback can have thousands
TEXT_COLUMNS = {  # column of the table -> kind of its filter
    "key": "key",
    "outcome": "word",
    "stage": "word",
    "reason": "word",
    "detail": "word",
    "split": "word",
    "subsets": "list",
    "identity": "word",
    "source": "word",
    "licence": "word",
    "shard": "word",
}
NUMBER_COLUMNS = ("seconds", "frames", "fps")  # columns of the table; the measures follow


def write_report(
    dataset: Dataset, store: Store, path: Path, shown: int = SHOWN, overwrite: bool = False
) -> None:
    """Write the page to `path`; UserError if a file there may not be replaced.

    `shown` is the number of clips in the gallery. The pictures of lost clips come from the store.
    The same dataset gives the same bytes.
    """
    if not 0 <= shown <= MOST_SHOWN:
        raise UserError(f"shown is {shown}: 0 to {MOST_SHOWN} clips in the gallery are expected.")
    if not (seal.is_free(path, "report") or overwrite):
        raise UserError(
            f"{path} was edited or not written by this command: --overwrite replaces it, "
            "--output writes elsewhere."
        )
    seal.write(path, page(dataset, store, shown).encode(errors="replace"), "report")


def page(dataset: Dataset, store: Store, shown: int = SHOWN) -> str:
    """The page's HTML."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            **_parts(),
            **_pictures(dataset, shown),
            **_counts(dataset),
            **_lost(dataset, thumbnails(dataset, store)),
            plots=_grouped(plots(dataset)),
            table=table(dataset),
            backend_uses=backend_uses(dataset.rows),
            rules=rules(dataset),
        )
    )


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("datagen.stats", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.filters |= {"number": number, "share": share, "duration": duration, "size": size}
    made.filters["thousands"] = "{:,}".format
    return made


def table(dataset: Dataset) -> dict[str, object]:
    """All clips, kept and lost: {"columns": [{name, title, unit, about, kind}], "rows": [[cell]]}.

    Missing numbers are null; measures have six digits.
    """
    chosen = [
        index for index, measure in enumerate(dataset.measures) if measure.name != "clips.seconds"
    ]
    columns = [_column(name, name, kind=kind) for name, kind in TEXT_COLUMNS.items()]
    columns += [_column(name, name) for name in NUMBER_COLUMNS]
    columns += [
        _column(m.name, m.title, m.unit, m.about)
        for m in (dataset.measures[index] for index in chosen)
    ]
    kept = [
        [*_kept_cells(row), *map(_rounded, row.values[chosen].tolist())] for row in dataset.rows
    ]
    nothing = [None] * len(chosen)
    return {
        "columns": columns,
        "rows": kept + [[*_lost_cells(loss), *nothing] for loss in dataset.losses],
    }


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many digits, rounded to a whole one if larger; a dash if there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 10 ** (digits - 1) else f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _parts() -> dict[str, str]:
    """The page's scripts with their hashes, and its styles."""
    own, library = Path(__file__).parent / "page", _library()
    scripts = {
        "library": _globally((library / "dt_bundle.js").read_text("utf-8")),
        "script": _inline((own / "report.js").read_text("utf-8")),
    }
    style = (library / "dt_bundle.css").read_text("utf-8") + (own / "report.css").read_text("utf-8")
    return {**scripts, "hashes": " ".join(map(_hash, scripts.values())), "style": style}


def _library() -> Path:
    """The folder of DataTables in itables, which is not imported because it imports pandas."""
    found = importlib.util.find_spec("itables")
    if found is None or found.origin is None:
        raise UserError("the package itables is not installed: `pip install itables`.")
    return Path(found.origin).parent / "html"


def _globally(module: str) -> str:
    """The library as an inline script: its default export is made global, as it has no address."""
    found = re.search(r"export\s*\{[^{}]*?([\w$]+) as default\b", module)
    if found is None:
        raise UserError(
            "itables has no DataTables of the expected form: install a version of "
            "itables >= 2.9, < 3."
        )
    return _inline(f"{module}\nglobalThis.DataTable = {found[1]};\n")


def _inline(script: str) -> str:
    """Escape what HTML would interpret in a script; it occurs only in strings and patterns."""
    return re.sub(r"<(?=!--|/?script)", r"\\x3c", script, flags=re.IGNORECASE)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _counts(dataset: Dataset) -> dict[str, object]:
    summary = dataset.summary
    return {
        "name": dataset.folder.resolve().name,
        "books": dataset.books,
        "summary": summary,
        "of": {name: sorted(summary.clips_of.get(name, {}).items(), key=_most) for name in COUNTED},
        "shards": len(dataset.index["shards"]),
        "funnel": dataset.funnel(),
        "ends": list(ENDS),
        "numbers": [(m, *_ends(summary.column(i))) for i, m in enumerate(dataset.measures)],
        "costs": dataset.costs,
        "found": dataset.history.found,
        "bytes": tar_bytes(dataset.index["shards"]),
        "frame_size": frame_size(dataset),
    }


def _ends(values: np.ndarray) -> tuple[int, list[str]]:
    """(the number of values [n], each of ENDS as text)."""
    spread = distribution(values)
    return len(values), [number(spread[name]) for name in ENDS]


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _grouped(made: Iterable[Plot]) -> dict[str, list[Plot]]:
    groups: dict[str, list[Plot]] = {}
    for plot in made:
        groups.setdefault(plot.group, []).append(plot)
    return groups


def _pictures(dataset: Dataset, shown: int) -> dict[str, object]:
    """The gallery, the worst and best clips of each score, and the pictures of all of these."""
    chosen, ends = gallery(dataset, shown), extremes(dataset)
    far = {key for worst, best in ends.values() for key in (*worst, *best)}
    made = sheets(dataset, {**dict.fromkeys(sorted(far), FEW), **dict.fromkeys(chosen, MOMENTS)})
    rows = {row.key: row for row in dataset.rows if row.key in made}
    cards = {key: _card(rows[key], made[key], dataset.measures) for key in made}
    return {
        "gallery": [cards[key] for key in chosen],
        "pool": [card for key, card in cards.items() if key not in set(chosen)],
        "extremes": {
            name: {"worst": worst, "best": best}
            for name, (worst, best) in ends.items()
            if worst or best
        },
        "scores": sorted(
            (m for m in dataset.measures if any(ends.get(m.name, ()))), key=_of_no_twin
        ),
        "facts": [measure for measure in dataset.measures if measure.name in FACTS],
        "twins": [
            (a.title.partition(": ")[2], a, b)
            for a, b in zip(TWINS["swap"], TWINS["style"], strict=True)
        ],
    }


def _of_no_twin(measure: Measure) -> bool:
    return measure not in (*TWINS["swap"], *TWINS["style"])


def _card(row: Row, pictures: Sequence[str], measures: Sequence[Measure]) -> dict[str, object]:
    values = dict(zip((measure.name for measure in measures), row.values.tolist(), strict=True))
    return {"row": row, "sheets": pictures, "values": values}


def _column(
    name: str, title: str, unit: str = "", about: str = "", kind: str = "number"
) -> dict[str, str]:
    return {"name": name, "title": title, "unit": unit, "about": about, "kind": kind}


def _kept_cells(row: Row) -> list[object]:
    texts = [
        row.key,
        "kept",
        "",
        "",
        "",
        row.split,
        row.subsets,
        row.identity,
        row.source,
        _licence(row),
        row.shard,
    ]
    return [*texts, _rounded(row.seconds), row.frames, _rounded(row.fps)]


def _lost_cells(loss: LostClip) -> list[object]:
    texts = [
        loss.key,
        loss.outcome,
        loss.stage,
        loss.reason,
        _first_line(loss.detail),
        "",
        (),
        "",
        loss.source,
        "",
        "",
    ]
    return [*texts, None if loss.seconds is None else _rounded(loss.seconds), None, None]


def _licence(row: Row) -> str:
    return str(row.rights.get("license", "unknown"))


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:DETAIL_LENGTH]


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _lost(dataset: Dataset, pictures: Mapping[str, str | None]) -> dict[str, object]:
    """A group for each line of the funnel, with some of its clips, those with pictures first."""
    groups: dict[tuple[str, str, str], list[LostClip]] = {}
    for loss in sorted(
        dataset.losses, key=lambda loss: (not pictures.get(loss.key), loss.key not in pictures)
    ):
        groups.setdefault((loss.outcome, loss.stage, loss.reason), []).append(loss)
    made = [
        {"outcome": outcome, "stage": stage, "reason": reason, "count": count}
        | {"cards": _loss_cards(groups[outcome, stage, reason], pictures)}
        for outcome, stage, reason, count in dataset.funnel()
    ]
    return {"lost": made, "pictured": sum(map(bool, pictures.values()))}


def _loss_cards(
    losses: Sequence[LostClip], pictures: Mapping[str, str | None]
) -> list[dict[str, object]]:
    """The first losses of a group; "left_out" if no picture was searched for."""
    seen = max(LOST_SHOWN, sum(bool(pictures.get(loss.key)) for loss in losses))
    return [
        {
            "loss": loss,
            "detail": _first_line(loss.detail),
            "picture": pictures.get(loss.key),
            "left_out": bool(loss.records) and loss.key not in pictures,
        }
        for loss in losses[:seen]
    ]
