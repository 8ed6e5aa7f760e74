"""The report's text, without a browser."""

from __future__ import annotations

import math
import re
from pathlib import Path

from datagen.engine.store import Store
from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.facts import duration
from datagen.stats.report import number, page, share, table
from tests.datagen.stats import made_up


def made(folder: Path, **words) -> Dataset:
    return read_dataset(
        made_up.shards(folder / "shards", films=False, **words), folder / "no ledger"
    )


def text(dataset: Dataset) -> str:
    return page(dataset, Store(str(dataset.folder / "no store")))


def test_the_table_holds_every_number(tmp_path):
    dataset = made(tmp_path, kept=5, lost=2)
    result = table(dataset)
    names = [told_column["name"] for told_column in result["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in result["rows"]]
    assert len(rows) == 7 and {measure.name for measure in dataset.measures} - {*names} == {
        "clips.seconds"
    }
    for row in rows[:5]:
        metrics = made_up.described(int(row["key"].removeprefix("clip-")), {})["metrics"]
        low, middle, high = metrics["faces"]["yaw"]
        assert row["seconds"] == metrics["clips"]["seconds"] and row["agree.style.mouth_r"] is None
        assert row["faces.yaw.1"] == middle and row["faces.yaw.span"] == round(high - low, 6)
        assert row["agree.swap.identity"] == metrics["agree"]["swap"]["identity"]
    assert [row["outcome"] for row in rows[5:]] == [loss.outcome for loss in dataset.losses]


def test_the_same_dataset_gives_the_same_bytes(tmp_path):
    dataset = made(tmp_path, kept=3)
    assert text(dataset) == text(dataset)


def test_it_asks_for_nothing_outside(tmp_path):
    whole = text(made(tmp_path, kept=3, lost=3))
    before, _, _ = whole.partition('<script type="module">')  # the library names its makers
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["'](?!data:|#)|@import|url\((?!data:|#)""", before
    )


def test_numbers_in_words():
    assert [number(value) for value in (0.01234, 12345.6, math.nan, None, -3)] == [
        "0.0123",
        "12,346",
        "–",
        "–",
        "-3",
    ]
    assert [number(value, 2) for value in (999.6, 99.7, 0.9984, -12.3)] == [
        "1,000",
        "100",
        "1",
        "-12",
    ]
    assert [duration(value) for value in (33.92, 600, 36000)] == ["33.9 s", "10.0 min", "10.0 h"]
    assert share(1, 8) == "12.5%" and share(0, 0) == "–"


def test_no_store(tmp_path):
    assert "No pictures and no details: the store of the run" in text(
        made(tmp_path, kept=1, lost=1)
    )
