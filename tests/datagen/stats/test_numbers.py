"""The numbers are those of the tars, they add, and a folder that is no whole folder of shards is
one sentence.
"""

from __future__ import annotations

import json
import math
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datagen.core.errors import UserError
from datagen.engine.store import Store
from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.history import Cost
from datagen.stats.measures import MEASURES, Measure
from datagen.stats.summary import Summary, distribution, histogram
from tests.datagen.stats import made_up
from tests.faults import call, samples

NOWHERE = Path("no-ledger")


def read(folder: Path, ledger: Path = NOWHERE) -> Dataset:
    return read_dataset(folder, ledger)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return made_up.shards(tmp_path_factory.mktemp("many"), 40, 9, per_shard=7, films=False)


def recount(folder: Path) -> dict:
    """The same numbers by opening every member, without any of the code under test."""
    count: dict = {
        "clips": 0,
        "frames": 0,
        "seconds": 0.0,
        "bytes": {"all": 0},
        "splits": {},
        "values": {},
        "map": {},
    }
    people = set()
    for fields in samples(folder).values():
        sample_json = json.loads(fields["json"])
        count["clips"] += 1
        count["frames"] += sample_json["frames"]
        count["seconds"] += sample_json["metrics"]["clips"]["seconds"]
        count["splits"][sample_json["split"]] = count["splits"].get(sample_json["split"], 0) + 1
        people.add(sample_json["identity"] or sample_json["group"])
        for field, data in fields.items():
            count["bytes"][field] = count["bytes"].get(field, 0) + len(data)
            count["bytes"]["all"] += len(data)
        for name, value in {
            "gaze.amplitude_deg": sample_json["metrics"]["gaze"]["amplitude_deg"],
            "faces.yaw.1": sample_json["metrics"]["faces"]["yaw"][1],
            "faces.mouth.span": sample_json["metrics"]["faces"]["mouth"][2]
            - sample_json["metrics"]["faces"]["mouth"][0],
            "agree.swap.motion": sample_json["metrics"]["agree"]["swap"]["motion"],
            "agree.style.mouth_r": sample_json["metrics"]["agree"]["style"]["mouth_r"],
        }.items():
            count["values"].setdefault(name, []).extend([] if value is None else [value])
        for yaw, pitch, frames in sample_json["metrics"]["gaze"]["map"]:
            count["map"][yaw, pitch] = count["map"].get((yaw, pitch), 0) + frames
    return count | {"identities": len(people)}


def agrees(result: dict, counted: dict) -> None:
    for name in ("clips", "frames", "bytes", "splits", "identities"):
        assert result[name] == counted[name], name
    assert result["seconds"] == pytest.approx(counted["seconds"], abs=1e-3)
    assert {(yaw, pitch): n for yaw, pitch, n in result["gaze_map"]} == counted["map"]
    for name, values in counted["values"].items():
        measured = result["measures"][name]
        assert measured["count"] == len(values)
        if values:
            expected = [np.mean(values), np.median(values), min(values), max(values)]
            assert [measured[n] for n in ("mean", "median", "min", "max")] == pytest.approx(
                expected, rel=1e-5
            )


def test_numbers_equal_a_recount_of_the_tars(many):
    agrees(read(many).to_json()["all"], recount(many))


def test_numbers_of_the_real_sample_equal_a_recount(sample):
    result = read(sample).to_json()
    agrees(result["all"], recount(sample))
    assert all(result["all"]["measures"][measure.name]["count"] == 2 for measure in MEASURES[:10])
    assert sum(n for _, _, n in result["all"]["gaze_map"]) > 20


def same(one: Any, other: Any) -> bool:
    """Equal, but for the last digit of numbers that were rounded."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == (pytest.approx(other, rel=1e-5) if isinstance(one, float) else other)


def test_shards_add_to_the_whole(many):
    dataset = read(many)
    assert len(dataset.summaries) == len(list(many.glob("*.tar"))) > 5
    one, *others = [Summary.of(rows) for rows in dataset.shards.values()]
    for other in reversed(others):
        one = other + one
    whole = Summary.of(dataset.rows).to_json(dataset.measures)
    assert same(one.to_json(dataset.measures), whole)
    result = dataset.to_json()
    assert (
        sum(shard["clips"] for shard in result["shards"].values()) == result["all"]["clips"] == 40
    )


def test_funnel_accounts_for_every_clip(many):
    dataset = read(many)
    losses = dataset.funnel()
    assert [row[1] for row in losses] == ["shots", "clips", "swap"]
    assert dataset.books["planned"] == dataset.books["kept"] + sum(row[3] for row in losses) == 49


def test_an_empty_dataset_has_numbers_too(tmp_path):
    result = read(made_up.shards(tmp_path, kept=0, lost=5)).to_json()
    assert result["all"]["clips"] == 0 and result["books"]["planned"] == 5
    assert result["all"]["measures"]["gaze.amplitude_deg"]["median"] is None
    json.dumps(result, allow_nan=False)


def test_costs_and_lost_clips_come_from_the_ledger_of_the_run_that_made_the_shards(tmp_path):
    folder = made_up.shards(tmp_path / "shards", films=False)
    book = made_up.ledger(tmp_path / "ledger.jsonl")
    other = made_up.ledger(tmp_path / "other.jsonl", kept=5)
    book.write_text(book.read_text() + other.read_text().replace("run1", "run2"))
    dataset = read(folder, book)
    assert dataset.history.found
    assert dataset.history.costs["swap"] == Cost(9, 4.5, 9000)
    assert [loss.source for loss in dataset.losses] == ["raw/6.mp4", "raw/7.mp4", "raw/8.mp4"]
    assert not read(folder, other).history.found
    assert read(folder, other).to_json()["costs"] is None


def test_of_several_runs_the_one_with_these_outcomes_counts(tmp_path):
    """Other rules, and a single stage over the same videos, leave the same keys in the same
    ledger.
    """
    folder = made_up.shards(tmp_path / "shards", films=False)
    book = made_up.ledger(tmp_path / "ledger.jsonl")
    right = book.read_text()
    stricter = (
        right.replace("run1", "run2")
        .replace("small_face", "other_rule")
        .replace("said the stage", "wrong")
    )
    events = [json.loads(line) for line in right.replace("run1", "run3").splitlines()]
    for event in events:
        event |= (
            {"records": {"clips": "another"}, "seconds": {"clips": 99}}
            if event["event"] == "clip"
            else {}
        )
    book.write_text(right + stricter + "".join(json.dumps(event) + "\n" for event in events))
    found = read(folder, book).history
    assert found.costs["clips"] == Cost(9, 4.5, 9000) and {
        loss.detail for loss in found.losses
    } == {"said the stage"}


def test_artifacts_of_which_the_ledger_says_nothing_are_counted_as_unknown(tmp_path):
    folder = made_up.shards(tmp_path / "shards", films=False)
    book = made_up.ledger(tmp_path / "ledger.jsonl")
    book.write_text(book.read_text().replace('"seconds":{"agree"', '"seconds":{}, "x":{"agree"'))
    assert read(folder, book).history.costs["swap"] == Cost(9, unknown=9)


ODD = [
    {"run": 5},
    {"run": "run1", "event": []},
    {"records": [1]},
    {"records": None},
    {"seconds": "x"},
    {"span": "ab"},
]
ODD += [
    {"span": [1]},
    {"source": None},
    {"seconds": {"swap": "1"}},
    {"seconds": {"other": 1}},
    {"bytes": {"swap": -1}},
]


@pytest.mark.parametrize("odd", [*ODD, "text", [1], None])
def test_what_is_no_event_of_ours_is_left_out(odd, tmp_path):
    folder = made_up.shards(tmp_path / "shards", films=False)
    book = made_up.ledger(tmp_path / "ledger.jsonl")
    before = read(folder, book).history
    first = json.loads(book.read_text().splitlines()[2])
    strange = {**first, "run": "run0", **odd} if isinstance(odd, dict) else odd
    book.write_text(json.dumps(strange) + "\n" + "[" * 100_000 + "\n" + book.read_text())
    assert read(folder, book).history == before


def test_costs_of_the_real_sample(sample, store):
    costs = read(sample, store / "ledger.jsonl").history.costs
    assert {stage: cost.artifacts for stage, cost in costs.items()} == dict.fromkeys(costs, 2)
    assert all(cost.bytes > 0 for cost in costs.values())
    swapped = sum(len(fields["swapped.mp4"]) for fields in samples(sample).values())
    # another test's run on this store may have come to the same outcomes with other donors
    assert costs["swap"].bytes == pytest.approx(swapped, rel=0.2)


def test_rules_of_ones_own_are_measured(tmp_path):
    folder = made_up.shards(tmp_path, films=False)
    index = json.loads((folder / "index.json").read_text())
    index["select"]["rules"].append({"reason": "drawn", "metric": "style.drift", "most": 0.03})
    (folder / "index.json").write_text(json.dumps(index))
    assert read(folder).to_json()["all"]["measures"]["style.drift"]["median"] == 0.02


def test_a_value_is_a_number_or_nothing():
    measure = Measure("faces.yaw", "turn", span=True)
    assert measure.of({"faces": {"yaw": [-3, 0, 4.5]}}) == 7.5
    assert math.isnan(measure.of({"faces": {}}))
    for wrong in ("3", True, ["a", "b"], {"x": 1}, [0, math.inf]):
        with pytest.raises(UserError, match="a number is expected|is not there"):
            measure.of({"faces": {"yaw": wrong}})


def test_what_lies_beyond_the_range_is_in_the_outermost_bins():
    counts, edges = histogram(np.array([-5.0, 0.1, 0.5, 99.0]), Measure("x", "x", low=0, high=1), 4)
    assert counts.tolist() == [2, 0, 1, 1] and edges.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_one_value_and_none_have_a_distribution():
    assert distribution(np.array([2.0]))["p95"] == 2.0
    assert distribution(np.empty(0)) == {
        "count": 0,
        **dict.fromkeys(("mean", "sd", "min", "p5", "median", "p95", "max")),
    }


def rewrite(folder: Path, change) -> None:
    path = folder / "index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


NUMBERS = {
    "frames negative": b'"frames":-5',
    "frames infinite": b'"frames":Infinity',
    "frames true": b'"frames":true',
    "fps is null": b'"fps":null,"frames":9',
    "fps huge": b'"fps":1e999,"frames":9',
}


def spoil(folder: Path, how: str) -> None:
    tar = folder / "train-000000.tar"
    data = tar.read_bytes()
    if how == "no index":
        (folder / "index.json").unlink()
    elif how == "foreign index":
        (folder / "index.json").write_text('{"train": 3}')
    elif how == "index cut":
        (folder / "index.json").write_text((folder / "index.json").read_text()[:200])
    elif how == "no shard":
        tar.unlink()
    elif how == "shard cut":
        tar.write_bytes(data[: len(data) // 2])
    elif how == "no tar":
        tar.write_bytes(bytes(len(data)))
    elif how == "json damaged":
        tar.write_bytes(data.replace(b'"frames":', b'"frames";'))
    elif how == "metric is text":
        tar.write_bytes(
            data.replace(b'"amplitude_deg":', b'"amplitude_deg":"a","x":', 1)[: len(data)]
        )
    elif how == "books do not balance":
        rewrite(folder, lambda index: index["books"].update(planned=99))
    elif how == "path outside":
        rewrite(folder, lambda index: index["shards"][0].update(file="../x.tar"))
    elif how == "deeply nested":
        (folder / "index.json").write_text("[" * 100_000)
    elif how == "shard twice":
        rewrite(folder, lambda index: index["shards"].append(index["shards"][0]))
    elif how == "no keys":
        rewrite(folder, lambda index: index["shards"][0].pop("keys"))
    elif how == "reject is null":
        rewrite(folder, lambda index: index["rejects"].__setitem__(0, None))
    elif how == "bound is text":
        rewrite(folder, lambda index: index["select"]["rules"][0].update(least="9"))
    elif how == "bound is huge":
        rewrite(folder, lambda index: index["select"]["rules"][0].update(least=10**400))
    elif how == "metric is a number":
        rewrite(folder, lambda index: index["select"]["rules"][0].update(metric=5))
    elif how in NUMBERS:
        data = data.replace(b'"frames":', NUMBERS[how] + b',"x":', 1)[: len(data)]
        tar.write_bytes(data)
    elif how == "key turns the line":
        tar.write_bytes(data.replace(b"clip-000000.", b"clip-0\r000.", 6))
    elif how == "lists missing":
        rewrite(folder, lambda index: index.pop("rejects"))


@pytest.mark.parametrize(
    "how",
    [
        *(
            "no index",
            "foreign index",
            "index cut",
            "no shard",
            "shard cut",
            "no tar",
            "json damaged",
            "metric is text",
        ),
        *(
            "books do not balance",
            "path outside",
            "lists missing",
            "deeply nested",
            "shard twice",
            "no keys",
        ),
        *(
            "reject is null",
            "bound is text",
            "bound is huge",
            "metric is a number",
            "key turns the line",
        ),
        *("frames negative", "frames infinite", "frames true", "fps is null", "fps huge"),
    ],
)
def test_a_damaged_or_foreign_folder_is_one_sentence(how, tmp_path):
    folder = made_up.shards(tmp_path / "shards", films=False)
    spoil(folder, how)
    ended = call("datagen.stats", "--input", folder, "--store", tmp_path / "store")
    assert ended.code == 2
    assert re.fullmatch(
        r"error: [^\n]+(make the shards again|fixes it|`make shards`( is expected)?)\.",
        ended.sentence,
    ), ended.sentence
    assert str(folder) in ended.sentence
    assert not (folder / "report.html").exists() and not (folder / "README.md").exists()


def test_members_that_are_no_files_are_refused(tmp_path):
    folder = made_up.shards(tmp_path, films=False)
    tar = folder / "train-000000.tar"
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as file:
        link = tarfile.TarInfo("clip-000000.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(link)
    rewrite(folder, lambda index: index["shards"][0].update(bytes=tar.stat().st_size))
    with pytest.raises(UserError, match="clip-000000.json is not a plain file"):
        read(folder)


def test_words_that_cannot_be_shown_are_replaced(tmp_path):
    words = {
        "source": "a\udcff\x1b[31m\u202eb.mp4",
        "identity": "Łukasz 寛\u3000太 می\u200cخواهم <b>",
    }
    dataset = read(made_up.shards(tmp_path / "s", films=False, **words), NOWHERE)
    row = dataset.rows[0]
    assert row.source == "a\ufffd\ufffd[31m\ufffdb.mp4" and row.identity == words["identity"]
    row.source.encode()


def test_stats_open_no_video_and_leave_the_shards_alone(sample, tmp_path, monkeypatch):
    from datagen.media import video

    def refuse(*_):
        raise AssertionError("a video was opened")

    before = {path.name: path.read_bytes() for path in sample.iterdir()}
    for name in ("probe", "read", "frames", "at_indices"):
        monkeypatch.setattr(video, name, refuse)
    ended = call("datagen.stats", "--input", sample, "--store", tmp_path, "--json")
    assert ended.code == 0 and json.loads(ended.out)["all"]["clips"] == 2
    assert before == {path.name: path.read_bytes() for path in sample.iterdir()}


def test_the_store_is_not_made_by_looking_for_it(sample, tmp_path):
    Store(tmp_path / "none")
    ended = call(
        "datagen.stats",
        "--input",
        sample,
        "--store",
        tmp_path / "none",
        "--output",
        tmp_path / "out",
    )
    assert ended.code == 0 and (tmp_path / "out" / "report.html").exists()
    assert not (tmp_path / "none").exists()
