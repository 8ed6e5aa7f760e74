"""Which clips are shown: a gallery that stays, the worst and best of each score."""

from __future__ import annotations

import math

import pytest

from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.pictures import extremes, gallery
from tests.datagen.stats.made_up import shards


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Dataset:
    folder = shards(tmp_path_factory.mktemp("many"), kept=60, films=False)
    return read_dataset(folder, folder / "no ledger")


def test_gallery_is_spread_and_stays(many):
    keys = [row.key for row in many.rows]
    few = gallery(many, 10)
    assert few == sorted(set(few)) and len(few) == 10 and set(few) <= set(keys)
    assert few not in (sorted(keys)[:10], sorted(keys)[-10:])
    assert set(few) < set(gallery(many, 11))
    assert gallery(many, 1000) == sorted(keys)
    assert gallery(many, 0) == []


def test_extremes_are_those_of_a_recount(many):
    found = extremes(many, 4)
    scores = [measure for measure in many.measures if measure.better]
    assert list(found) == [measure.name for measure in scores]
    for measure in scores:
        number = list(many.measures).index(measure)
        rows = [row for row in many.rows if not math.isnan(row.values[number])]
        worst, best = found[measure.name]
        sign = 1 if measure.better == "low" else -1
        assert worst == [
            row.key
            for row in sorted(rows, key=lambda row: (-sign * row.values[number], row.key))[:4]
        ]
        left = [row for row in rows if row.key not in worst]
        assert best == [
            row.key
            for row in sorted(left, key=lambda row: (sign * row.values[number], row.key))[:4]
        ]
    assert found["agree.style.mouth_r"] == ([], [])  # never measured
    assert found["gaze.coverage"][0] == sorted(row.key for row in many.rows)[:4]  # all are equal


@pytest.mark.parametrize(("clips", "worst", "best"), [(1, 0, 1), (2, 1, 1), (5, 2, 3), (7, 3, 3)])
def test_no_clip_is_both_worst_and_best(many, clips, worst, best):
    few = Dataset(
        many.folder,
        many.index,
        many.measures,
        {"train-000000.tar": many.rows[:clips]},
        many.history,
    )
    found = extremes(few, 3)["agree.swap.motion"]
    assert (len(found[0]), len(found[1])) == (worst, best)
    assert not set(found[0]) & set(found[1])
