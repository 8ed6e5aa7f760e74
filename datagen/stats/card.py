"""The dataset card: README.md beside the shards, in Hugging Face's format, from the shards alone.

The same shards give the same bytes. Statements that hold only for the default backends are made
only if those made the clips.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.core.text import text_of
from datagen.shards.index import SPLITS
from datagen.stages import stage_position
from datagen.stats import seal
from datagen.stats.dataset import Dataset
from datagen.stats.facts import BackendUse, backend_uses, backends, duration, rules, tar_bytes
from datagen.stats.films import frame_size
from datagen.stats.measures import TWINS
from datagen.stats.rows import Row
from datagen.stats.summary import Summary, distribution, total
from datagen.stats.terminal import size
from datagen.stats.trust import ShardEntry

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = Path(__file__).parent / "page"
DEFAULTS = {
    "faces": "MeshFaces",
    "gaze": "IrisGaze",
    "swap": "LandmarkSwap",
    "style": "FilterStyle",
}
HUB_SPLITS = {"train": "train", "val": "validation"}
ARRAYS = {
    "boxes": (4,),
    "landmarks": (478, 2),
    "confidence": (),
    "gaze": (2,),
    "head": (3,),
    "eyes": (),
}
TASKS = ["image-to-video"]
TAGS = [
    "webdataset",
    "video",
    "face",
    "portrait-animation",
    "talking-head",
    "face-swap",
    "synthetic",
    "megactor",
]
# Hugging Face's identifiers of the licences that pictures and data come under
CC = {"by": (2.0, 2.5, 3.0, 4.0), "by-sa": (3.0, 4.0), "by-nd": (4.0,), "by-nc": (2.0, 3.0, 4.0)}
CC |= {"by-nc-sa": (2.0, 3.0, 4.0), "by-nc-nd": (3.0, 4.0)}
HUB_LICENCES = {f"cc-{kind}-{version}" for kind, versions in CC.items() for version in versions} | {
    *(
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "pddl",
        "odc-by",
        "odbl",
        "unlicense",
    ),
    *(
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "etalab-2.0",
        "gfdl",
        "c-uda",
        "unknown",
    ),
}
SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
SHOWN = (
    "clips.seconds",
    "clips.face_px",
    "gaze.amplitude_deg",
    "gaze.coverage",
    "faces.yaw.1",
    "faces.pitch.1",
    "faces.yaw.span",
    "faces.mouth.span",
    "faces.eyes.span",
    "mask.face_share",
)
LONGEST = 300  # characters of a text from the data
MOST = 40  # rows of a table
# What has a meaning in Markdown; an underscore inside a word has none
SPECIAL = re.compile(r"[\\`*{}\[\]#|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=/)|(?<=www)\.", re.IGNORECASE)


def write_card(dataset: Dataset, path: Path, overwrite: bool = False) -> bool:
    """Write README.md at `path`; False if there is one that was edited or is not ours."""
    if not (seal.is_free(path, "card") or overwrite):
        return False
    seal.write(path, card(dataset).encode(), "card")
    return True


def card(dataset: Dataset) -> str:
    """The whole card without its last line."""
    text = _pages().get_template("card.md").render(_counts(dataset) | _made(dataset))
    return f"---\n{head(dataset)}\n---\n\n{text}"


def _pages() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=FileSystemLoader(PAGE),
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters.update(size=size, duration=duration, literal=lambda text: Markup(ascii(text)))
    return pages


def head(dataset: Dataset) -> str:
    """The card's YAML."""
    from huggingface_hub import DatasetCardData

    metadata: dict[str, Any] = {
        "pretty_name": "Portrait animation shards",
        **_licence(row.rights.get("license", "") for row in dataset.rows),
        "task_categories": TASKS,
        "tags": TAGS,
        "annotations_creators": ["machine-generated"],
        "size_categories": [
            next((name for most, name in SIZES if dataset.summary.clips < most), "10M<n<100M")
        ],
    }
    if splits := _entries(dataset):
        files = [{"split": HUB_SPLITS[split], "path": f"{split}-*.tar"} for split in splits]
        metadata |= {
            "configs": [{"config_name": "default", "data_files": files}],
            "dataset_info": _info(dataset),
        }
    return DatasetCardData(**metadata).to_yaml(original_order=list(metadata))


def shown(value: object) -> object:
    """A value as Markdown: text is escaped; numbers have three digits or separated thousands."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return value if hasattr(value, "__html__") else _escaped("-" if value is None else str(value))


def _escaped(text: str) -> str:
    line = " ".join(text_of(text).split())
    short = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    html = short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\g<0>", html)


def _licence(licences: Iterable[str]) -> dict[str, str | list[str]]:
    """Hugging Face's licence identifiers if all clips have one, else "other" with a name."""
    names = sorted({name.strip() or "unknown" for name in licences})
    known = sorted({"-".join(name.lower().split()) for name in names})
    if not names:
        return {}
    if HUB_LICENCES.issuperset(known):
        return {"license": known[0] if len(known) == 1 else known}
    slug = (
        re.sub(r"[^a-z0-9.]+", "-", names[0].lower()).strip("-.")[:60]
        if len(names) == 1
        else "several"
    )
    return {"license": "other", "license_name": slug or "see-the-card"}


def _info(dataset: Dataset) -> dict[str, object]:
    """dataset_info: without it, `datasets` guesses the json's fields from the first five clips.

    It then fails on clips that differ. `download_size` is that of the tars, `dataset_size` that of
    their members.
    """
    sums = {split: _sum(dataset, entries) for split, entries in _entries(dataset).items()}
    return {
        "features": _features(),
        "splits": [
            {"name": HUB_SPLITS[s], "num_bytes": n.bytes, "num_examples": n.clips}
            for s, n in sums.items()
        ],
        "download_size": tar_bytes(dataset.index["shards"]),
        "dataset_size": dataset.summary.bytes,
    }


def _features() -> list[Mapping[str, object]]:
    videos = ("mask.mp4", "mp4", "styled.mp4", "swapped.mp4")
    return [
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
        {
            "name": "faces.npz",
            "struct": [{"name": name, **_array(shape)} for name, shape in ARRAYS.items()],
        },
        {"name": "json", "dtype": "json"},
        *({"name": name, "dtype": "video"} for name in videos),
    ]


def _array(shape: Sequence[int]) -> dict[str, object]:
    """float32 [T, *shape] as Hugging Face writes it."""
    inner: object = "float32"
    for length in reversed(shape):
        inner = {"list": inner, "length": length}
    return {"list": inner}


def _counts(dataset: Dataset) -> dict[str, object]:
    """The numbers for the template."""
    entries = _entries(dataset)
    return {
        "splits": [
            _split(HUB_SPLITS[split], found, _sum(dataset, found))
            for split, found in entries.items()
        ],
        "all": _split("all", dataset.index["shards"], dataset.summary),
        "first": next(iter(entries), None),
        "shared": {what: _shared(dataset, entries, what) for what in ("identity", "group")},
        "books": dataset.books,
        "losses": _table(dataset.funnel()),
        "fps": sorted(dataset.summary.clips_of.get("fps", ()), key=float),
        "frame_size": frame_size(dataset),
        "shows": _shows(dataset),
        "scores": _scores(dataset),
    }


def _made(dataset: Dataset) -> dict[str, object]:
    """For the template: how the clips were made, and under which terms."""
    rows = dataset.rows
    terms = Counter(map(_rights, rows))
    by_count = sorted(terms.items(), key=lambda item: (-item[1], item[0]))
    found = backend_uses(rows)
    return {
        "rules": [rule for rule in rules(dataset) if rule["subset"] is None],
        "subsets": _subsets(dataset),
        "select": dataset.index.get("select", {}),
        "by_default": {
            stage: backends(rows, stage) == {backend} for stage, backend in DEFAULTS.items()
        },
        "backends": {stage: sorted(backends(rows, stage)) for stage in DEFAULTS},
        "makers": _table(_makers(found)),
        "weights": _table(_weights(rows)),
        "rights": _table(by_count),
        "unknown": sum(
            count for (licence, *_), count in terms.items() if licence.lower() == "unknown"
        ),
        "made_up": sum(count for (*_, made_up), count in terms.items() if made_up),
    }


def _entries(dataset: Dataset) -> dict[str, list[ShardEntry]]:
    """split -> its entries in the index, for the splits that have any."""
    shards = dataset.index["shards"]
    found = {split: [entry for entry in shards if entry["split"] == split] for split in SPLITS}
    return {split: entries for split, entries in found.items() if entries}


def _sum(dataset: Dataset, entries: Iterable[ShardEntry]) -> Summary:
    return total(dataset.summaries[entry["file"]] for entry in entries)


def _split(name: str, entries: Sequence[ShardEntry], summary: Summary) -> dict[str, object]:
    counts = {what: len(summary.clips_of.get(what, ())) for what in ("identity", "group")}
    sums = {"bytes": tar_bytes(entries), "seconds": summary.seconds, "frames": summary.frames}
    return {"name": name, "files": len(entries), "clips": summary.clips, **sums, **counts}


def _shared(dataset: Dataset, entries: Mapping[str, Sequence[ShardEntry]], what: str) -> int:
    """The number of identities, or groups, that are in more than one split."""
    names = Counter(
        name for found in entries.values() for name in _sum(dataset, found).clips_of[what]
    )
    return sum(n > 1 for n in names.values())


def _table(rows: Iterable[object]) -> dict[str, object]:
    """The first rows, and the number of those left out."""
    everything = iter(rows)
    return {"rows": list(islice(everything, MOST)), "more": sum(1 for _ in everything)}


def _shows(dataset: Dataset) -> list[dict[str, object]]:
    chosen = [(i, measure) for i, measure in enumerate(dataset.measures) if measure.name in SHOWN]
    return [
        {"measure": measure, **distribution(dataset.summary.column(i))} for i, measure in chosen
    ]


def _scores(dataset: Dataset) -> list[dict[str, object]]:
    """Every score, for the swapped and the styled twin."""
    index_of = {measure.name: i for i, measure in enumerate(dataset.measures)}
    pairs = zip(TWINS["swap"], TWINS["style"], strict=True)
    return [
        {
            "key": swap.path.rpartition(".")[2],
            "measure": swap,
            "title": swap.title.partition(": ")[2],
            "swap": distribution(dataset.summary.column(index_of[swap.name])),
            "style": distribution(dataset.summary.column(index_of[style.name])),
        }
        for swap, style in pairs
    ]


def _subsets(dataset: Dataset) -> list[dict[str, object]]:
    clips = dataset.summary.clips_of.get("subset", Counter())
    wanted: dict[str, list[str]] = {name: [] for name in clips}
    for rule in rules(dataset):
        if rule["subset"] is not None:
            asked = f"{rule['measure'].title} {rule['bound']} {rule['measure'].unit}".strip()
            wanted.setdefault(rule["subset"], []).append(asked)
    return [
        {"name": name, "clips": clips[name], "rules": "; ".join(asked)}
        for name, asked in sorted(wanted.items())
    ]


def _rights(row: Row) -> tuple[str, str, str, str, bool]:
    """(licence, terms, credit, source, whether the person is synthetic) of the source video."""
    licence, terms, credit, source = (
        row.rights.get(n, "").strip() for n in ("license", "terms", "credit", "source")
    )
    return licence or "unknown", terms, credit, source, row.rights.get("synthetic") == "True"


def _makers(found: Iterable[tuple[BackendUse, int]]) -> list[tuple[str, str, str, int]]:
    """(stage, backend, version, clips), in pipeline order; one row for each version."""
    clips: Counter[tuple[str, str, str]] = Counter()
    for (stage, backend, version, _), count in found:
        clips[stage, backend, version] += count
    return [(*maker, count) for maker, count in clips.items()]


def _weights(rows: Iterable[Row]) -> list[tuple[str, str, str, int]]:
    """(name and version, licence, stages, clips) of all weights used for the samples."""
    clips: Counter[tuple[str, str]] = Counter()
    stages: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        used = [
            (str(n), str(lic), stage)
            for stage, m in row.stages.items()
            for n, lic in m.get("weights", {}).items()
        ]
        clips.update({(name, licence) for name, licence, _ in used})
        for name, licence, stage in used:
            stages.setdefault((name, licence), set()).add(stage)
    return [
        (*key, ", ".join(sorted(stages[key], key=stage_position)), n)
        for key, n in sorted(clips.items())
    ]
