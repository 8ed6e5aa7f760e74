"""What the command prints: tables, funnel, histograms, JSON, and two datasets side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from datagen.stats.compare import separation
from datagen.stats.terminal import size, sparkline
from tests.datagen.stats import made_up
from tests.faults import Run, call


def stats(*words: object) -> Run:
    ended = call("datagen.stats", *words, "report=false", "card=false")
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """21 clips in four shards, 9 lost, with their ledger."""
    target = tmp_path_factory.mktemp("terminal")
    made_up.ledger(target / "store" / "ledger.jsonl", 21, 9)
    return made_up.shards(target / "shards", 21, 9, per_shard=7, films=False)


def row(text: str, *beginning: str) -> list[str]:
    """The words of the line that begins with these."""
    (line,) = [
        words
        for line in text.splitlines()
        if (words := line.split())[: len(beginning)] == list(beginning)
    ]
    return line[len(beginning) :]


def test_tables_say_what_the_json_says(folder):
    shown = stats("--input", folder, "--store", folder.parent / "store").out
    result = json.loads(stats("--input", folder, "--store", folder.parent / "store", "--json").out)
    every = result["all"]
    assert row(shown, "all", str(len(result["shards"])))[:2] == ["21", f"{every['frames']:,}"]
    for split, counts in result["splits"].items():
        assert row(shown, split)[:2] == [str(counts["shards"]), str(counts["clips"])]
        assert row(shown, split)[-2:] == size(counts["tar_bytes"]).split()
    assert row(shown, "planned")[:2] == ["30", "100.0%"] and row(shown, "=", "kept")[:2] == [
        "21",
        "70.0%",
    ]
    for loss in result["losses"]:
        assert row(shown, "-", f"{loss['outcome']}:", loss["reason"])[:2] == [
            loss["stage"],
            str(loss["clips"]),
        ]
    gaze = every["measures"]["gaze.amplitude_deg"]
    assert row(shown, "gaze", "amplitude", "[deg]")[-5:] == [*(f"{gaze[n]:.3g}" for n in ("p5", "median", "p95")), "≥8", "(gaze)"]  # fmt: skip  # noqa: E501
    assert row(shown, "swap")[:2] == [str(result["costs"]["swap"]["artifacts"]), "15.0"]
    assert all(len(line) <= 110 for line in shown.splitlines())


def test_words_of_the_data_are_no_markup(tmp_path):
    made_up.shards(tmp_path / "s", films=False, reason="[red]x[/red] :smile: {y}")
    shown = stats("--input", tmp_path / "s", "--store", tmp_path).out
    assert (
        "[red]x[/red] :smile: {y}" in shown
        and "the ledger of the run is not in this --store" in shown
    )


def test_an_empty_dataset_is_shown(tmp_path):
    shown = stats(
        "--input", made_up.shards(tmp_path / "s", kept=0, lost=0), "--store", tmp_path
    ).out
    assert row(shown, "planned")[:2] == ["0", "0.0%"]
    assert row(shown, "length", "[s]")[-3:] == ["-", "-", "-"]


def test_two_datasets_side_by_side(folder, tmp_path):
    other = made_up.shards(tmp_path / "b", 7, 2, films=False, license="CC0-1.0")
    shown = stats("--compare", folder, other).out
    assert row(shown, "clips") == ["21", "7", "0.33"]
    assert row(shown, "license", "CC0-1.0") == ["0", "7"]
    assert row(shown, "=", "kept") == ["21", "70.0%", "7", "77.8%"]
    assert "In both: 7 clips, 7 groups" in shown and "another machine" not in shown
    result = json.loads(stats("--compare", folder, other, "--json").out)
    assert result["a"]["all"]["clips"] == 21 and result["b"]["all"]["licenses"] == {"CC0-1.0": 7}
    assert result["measures"]["clips.seconds"]["b"]["count"] == 7


def test_a_group_in_train_of_one_and_val_of_the_other_is_a_leak(tmp_path):
    usual = made_up.shards(tmp_path / "a", 6, films=False)  # person3 is in val
    swapped = made_up.shards(
        tmp_path / "c", 4, films=False, identity=lambda n: "person3" if n == 0 else f"p{n}"
    )
    shown = stats("--compare", usual, swapped).out
    assert (
        "1 groups are in train of one and in val of the other, the first is identity:person3"
        in shown
    )


@pytest.mark.parametrize("compares", [False, True])
def test_eighty_columns_are_enough_for_all_words(compares, folder, monkeypatch):
    from rich.console import Console

    from datagen.stats import compare, terminal

    for module in (compare, terminal):
        monkeypatch.setattr(module, "terminal", lambda: Console(width=80, markup=False))
    words = ["--compare", folder, folder] if compares else ["--input", folder]
    shown = stats(*words, "--store", folder.parent / "store").out
    assert all(len(line) <= 80 for line in shown.splitlines())
    for result in ("gaze amplitude", "swapped: flicker", "planned", "identities", "small_face"):
        assert result in shown, result
    assert "\u2026" not in shown


def test_control_characters_of_the_data_do_not_reach_the_terminal(tmp_path):
    folder = made_up.shards(
        tmp_path / "a\x1b[31m", films=False, reason="r\x1b[31m", license="l\x9b"
    )
    index = json.loads((folder / "index.json").read_text())
    for entry in index["shards"]:
        entry["split"] = "tr\x1bain"
    (folder / "index.json").write_text(json.dumps(index))
    assert not set(stats("--input", folder, "--store", tmp_path).out) & {"\x1b", "\x9b"}


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["--shown", "many"], "--shown is 'many', a whole number is expected"),
        (["--shown", "-1"], "--shown is -1"),
        (
            ["input=null", "store=[5]"],
            "--input is null, a text is expected; --store is [5], a text is expected",
        ),
        (["--input=", "--store="], "--input is empty, a folder is expected; --store is empty"),
        (["compare=[a]"], "--compare is ['a'], two values are expected: --compare A B"),
        (["--compare=a"], "--compare needs a value, or one more"),
        (["--compare", "a", "--json"], "--compare needs a value, or one more"),
        (["--input", __file__], "holds no index.json"),
    ],
)
def test_mistaken_options_are_one_sentence(words, result):
    ended = call("datagen.stats", *words)
    assert ended.code == 2 and result in ended.sentence, ended.err


def test_an_output_that_cannot_be_is_one_sentence(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        ended = call("datagen.stats", "--input", folder, "--output", output, "--store", tmp_path)
        assert ended.code == 2 and "cannot write to" in ended.sentence, ended.err


def test_compare_takes_two_folders(folder):
    one = call("datagen.stats", "--compare", folder)
    assert (
        one.code == 2
        and one.sentence == "error: --compare needs a value, or one more (see --help)."
    )
    none = call("datagen.stats", "--compare", folder, folder.parent / "none")
    assert none.code == 2 and re.search(r"none holds no index.json", none.sentence)


def test_separation_is_the_kolmogorov_smirnov_statistic():
    draw = np.random.default_rng(0)
    a, b = draw.normal(0, 1, 50), draw.normal(0.5, 2, 31).round(1)
    assert separation(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-4)
    assert separation(a, a) == 0 and separation(a, a + 100) == 1 and separation(a, a[:0]) is None


def test_small_histograms_show_whatever_is_there():
    assert sparkline([0, 1, 500, 1000]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "


def test_sizes_read_well():
    assert [size(n) for n in (0, 999, 12_707_840, 3.1e9, 5e15)] == [
        "0 B",
        "999 B",
        "12.7 MB",
        "3.1 GB",
        "5000.0 TB",
    ]
