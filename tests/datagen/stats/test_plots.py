"""The plots: their numbers are the dataset's, and nothing that comes from data is more than words
in them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.measures import Measure
from datagen.stats.plots import GROUPS, STEPS, Plot, plots
from datagen.stats.summary import histogram
from datagen.stats.svg import shown
from tests.datagen.stats.made_up import shards

HREF = "{http://www.w3.org/1999/xlink}href"
NAMES = {
    "funnel",
    "gaze.map",
    "gaze.amplitude_deg",
    "clips.seconds",
    "clips.face_px",
    "faces.yaw.span",
    "twins.flicker",
}
HOSTILE = (
    "<script>alert(1)</script>",
    "$x^2$ and \\frac{1}{",
    "理由",
    "a\x00b\nc \u202e d",
    "W" * 500,
    "\ud800",
    "",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """40 clips, and 9 lost for three reasons."""
    folder = shards(tmp_path_factory.mktemp("plots"), kept=40, lost=9, films=False)
    return read_dataset(folder, folder / "no ledger")


@pytest.fixture(scope="module")
def drawn(dataset) -> dict[str, Plot]:
    return by_name(dataset)


def by_name(dataset: Dataset) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots(dataset)}


def tree(plot: Plot) -> ElementTree.Element:
    """The plot as XML, which it has to be."""
    return ElementTree.fromstring(plot.svg)


def texts_in(plot: Plot) -> list[str]:
    """All words in a plot."""
    return [element.text or "" for element in tree(plot).iter("{http://www.w3.org/2000/svg}text")]


def paths(plot: Plot, paint: str) -> list[np.ndarray]:
    """Corners [n, 2] in points of every path painted so, e.g. "fill: #56b4e9"."""
    found = [
        element
        for element in tree(plot).iter("{http://www.w3.org/2000/svg}path")
        if paint in element.get("style", "")
    ]
    return [
        np.array(re.findall(r"[-\d.]+", element.get("d", "")), float).reshape(-1, 2)
        for element in found
    ]


def with_values(dataset: Dataset, values: Mapping[str, Sequence[float]]) -> Dataset:
    """As many clips as there are values, with these instead of their own."""
    names = [measure.name for measure in dataset.measures]
    rows = []
    for number, row in enumerate(dataset.rows[: len(next(iter(values.values())))]):
        changed = row.values.copy()
        for name, column in values.items():
            changed[names.index(name)] = column[number]
        rows.append(replace(row, values=changed))
    return Dataset(
        dataset.folder, dataset.index, dataset.measures, {"train-000000.tar": rows}, dataset.history
    )


def with_rules(
    dataset: Dataset, rules: Sequence[Mapping], measures: Sequence[Measure] = ()
) -> Dataset:
    index = {**dataset.index, "select": {"rules": rules, "subsets": {}}}
    column = np.full((1, len(measures)), 0.5)
    rows = [replace(row, values=np.append(row.values, column)) for row in dataset.rows]
    return Dataset(
        dataset.folder,
        index,
        [*dataset.measures, *measures],
        {"train-000000.tar": rows},
        dataset.history,
    )


def bound(metric: str, **ends: float) -> dict:
    return {"reason": "r", "metric": metric, "least": None, "most": None, **ends}


def test_every_plot_may_stand_in_a_page(drawn):
    ids = [
        element.get("id")
        for plot in drawn.values()
        for element in tree(plot).iter()
        if element.get("id")
    ]
    assert len(ids) == len(set(ids)) > 0
    assert drawn.keys() >= NAMES
    assert all(re.fullmatch(r"[A-Za-z0-9._]+", name) for name in drawn)
    assert [plot.group for plot in drawn.values()] == sorted(
        (p.group for p in drawn.values()), key=GROUPS.index
    )
    assert {plot.group for plot in drawn.values()} == set(GROUPS)
    for plot in drawn.values():
        assert plot.svg.startswith("<svg ") and plot.about.endswith(".")
        links = [element.get(HREF, "#") for element in tree(plot).iter()]
        assert all(link.startswith(("#", "data:image/png")) for link in links)
        assert not {"style", "script", "metadata"} & {
            element.tag.rpartition("}")[2] for element in tree(plot).iter()
        }


def test_every_measure_has_its_plot(dataset, drawn):
    for measure in dataset.measures:
        twin = re.fullmatch(r"agree\.(swap|style)\.(\w+)", measure.name)
        assert (f"twins.{twin[2]}" if twin else measure.name) in drawn


def test_bytes_hang_on_the_numbers_alone(dataset, drawn):
    with matplotlib.rc_context({"font.size": 20, "axes.linewidth": 5, "svg.hashsalt": "other"}):
        before = dict(matplotlib.rcParams)
        assert by_name(dataset) == drawn
        assert dict(matplotlib.rcParams) == before


def test_funnel_tells_every_loss_with_clips_and_share(dataset, drawn):
    words = texts_in(drawn["funnel"])
    assert words[:3] == ["planned", "49", "100.0%"]
    assert words[-3:] == ["kept", "40", "81.6%"]
    losses = dataset.funnel()
    assert len(losses) == 3
    for outcome, stage, reason, clips in losses:
        at = words.index(f"{stage}: {reason} ({outcome})")
        assert words[at + 1 : at + 3] == [str(clips), f"{clips / 49:.1%}"]
    assert drawn["funnel"].about == "49 planned = 40 kept + 3 filtered + 3 invalid + 3 failed."


def test_bars_of_the_funnel_are_as_long_as_their_share(drawn):
    planned, kept = (np.ptp(bar[:, 0]) for bar in paths(drawn["funnel"], "fill: #0072b2"))
    assert kept / planned == pytest.approx(40 / 49, abs=1e-3)
    (filtered,) = paths(drawn["funnel"], "fill: #e69f00")
    assert np.ptp(filtered[:, 0]) / planned == pytest.approx(3 / 49, abs=1e-3)


def test_many_reasons_are_summed_up(tmp_path):
    folder = shards(
        tmp_path,
        kept=1,
        lost=90,
        films=False,
        reason=lambda number: f"reason{min(number, 50):02}",
    )
    dataset = read_dataset(folder, folder / "no ledger")
    words = texts_in(by_name(dataset)["funnel"])
    assert len(dataset.funnel()) > STEPS
    assert len(words) == 3 * (STEPS + 2)
    counts = [int(count) for count in words[4:-3:3]]
    assert sum(counts) == 90
    assert f"{len(dataset.funnel()) - STEPS + 1} more reasons" in words


@pytest.mark.parametrize(("kept", "lost"), [(0, 0), (0, 4), (1, 0)])
def test_nothing_and_next_to_nothing(tmp_path, kept, lost):
    folder = shards(tmp_path, kept=kept, lost=lost, films=False)
    drawn = by_name(read_dataset(folder, folder / "no ledger"))
    assert texts_in(drawn["funnel"])[1] == str(kept + lost)
    assert ("nothing measured" in texts_in(drawn["clips.seconds"])) == (kept == 0)
    assert ("nothing measured" in texts_in(drawn["gaze.map"])) == (kept == 0)
    assert drawn["twins.mouth_r"].about.endswith("styled: nothing measured.")


def test_bars_are_the_histogram(dataset, drawn):
    number = [measure.name for measure in dataset.measures].index("gaze.amplitude_deg")
    counts, _ = histogram(dataset.summary.column(number), dataset.measures[number], 32)
    (outline,) = paths(drawn["gaze.amplitude_deg"], "fill: #56b4e9")
    bottom = outline[:, 1].max()
    heights = {round(float(bottom - y), 3) for y in outline[:, 1]}
    unit = max(heights) / counts.max()
    assert {round(height / unit) for height in heights} == set(counts.tolist()) | {0}


def test_threshold_is_drawn_where_it_is_and_counted(dataset, drawn):
    plot = drawn["gaze.amplitude_deg"]
    assert "gaze subset: at least 8" in texts_in(plot)
    (line,) = paths(plot, "stroke-dasharray")
    (outline,) = paths(plot, "fill: #56b4e9")
    assert np.ptp(line[:, 0]) == 0
    assert (line[0, 0] - outline[:, 0].min()) / np.ptp(outline[:, 0]) == pytest.approx(
        8 / 32, abs=1e-3
    )
    number = [measure.name for measure in dataset.measures].index("gaze.amplitude_deg")
    met = sum(row.values[number] >= 8 for row in dataset.rows)
    assert f"gaze subset: at least 8 ({met} of 40)" in plot.about


def test_twins_share_a_plot_and_each_has_its_threshold(drawn):
    plot = drawn["twins.motion"]
    assert {"swapped", "styled", "swapped: at most 0.025", "styled: at most 0.025"} <= set(
        texts_in(plot)
    )
    assert [len(paths(plot, f"stroke: {colour}")) > 0 for colour in ("#0072b2", "#d55e00")] == [
        True,
        True,
    ]


def test_threshold_outside_of_the_range_is_an_arrow_at_its_edge(dataset):
    rules = [bound("gaze.amplitude_deg", most=90), bound("clips.face_px", least=-5)]
    drawn = by_name(with_rules(dataset, rules))
    assert "rule: at most 90 \u2192" in texts_in(drawn["gaze.amplitude_deg"])
    assert "\u2190 rule: at least -5" in texts_in(drawn["clips.face_px"])
    (line,) = paths(drawn["gaze.amplitude_deg"], "stroke-dasharray")
    assert line[0, 0] == paths(drawn["gaze.amplitude_deg"], "fill: #56b4e9")[0][:, 0].max()


def test_metric_that_only_a_rule_names_has_a_plot(dataset):
    path, other = 'style."><img src=x>$y$', 'style."><img src=x>$y&'
    drawn = by_name(
        with_rules(dataset, [bound(path, most=0.7)], [Measure(path, path), Measure(other, other)])
    )
    (plot,) = (plot for plot in drawn.values() if plot.title == path)
    assert other in {plot.title for plot in drawn.values()}
    assert re.fullmatch(r"[A-Za-z0-9._]+", plot.name)
    assert {path, "rule: at most 0.7"} <= set(texts_in(plot))
    assert tree(plot).get("aria-label") == path and "<img" not in plot.svg


def test_what_lies_beyond_is_told(dataset):
    values = {"gaze.amplitude_deg": [5.0, 40.0, 50.0], "faces.yaw.1": [-70.0, 0.0, 0.0]}
    drawn = by_name(with_values(dataset, values))
    amplitude, yaw = drawn["gaze.amplitude_deg"], drawn["faces.yaw.1"]
    assert (
        "\u2265 32" in texts_in(amplitude) and "2 above 32 in the outermost bin" in amplitude.about
    )
    assert (
        "\u2264 \u221260" in texts_in(yaw)
        and "60" in texts_in(yaw)
        and "1 below -60 in the outermost bin" in yaw.about
    )


def test_odd_values(dataset):
    drawn = by_name(
        with_values(
            dataset,
            {
                "clips.seconds": [math.nan] * 4,
                "clips.face_px": [150.0] * 4,
                "gaze.amplitude_deg": [math.inf, -math.inf, math.inf, -math.inf],
                "faces.roll.1": [math.nan, 3.0, math.nan, math.nan],
            },
        )
    )
    assert drawn["clips.seconds"].about == "nothing measured."
    assert texts_in(drawn["clips.seconds"]) == ["nothing measured"]
    assert drawn["clips.face_px"].about == "4 clips at 150 px; rule: at least 96 (4 of 4)."
    assert drawn["gaze.amplitude_deg"].about.startswith("4 clips from -inf to inf")
    assert drawn["faces.roll.1"].about == "1 clip at 3 deg."


def test_odd_thresholds(dataset):
    rules = [
        bound("clips.face_px", most=math.inf),
        bound("clips.seconds", most=1e300),
        bound("gaze.coverage", least=math.nan),
    ]
    drawn = by_name(with_rules(dataset, rules))
    assert "rule: at most 1e+300 \u2192" in texts_in(drawn["clips.seconds"])
    for name in ("clips.face_px", "gaze.coverage"):
        assert not [word for word in texts_in(drawn[name]) if word.startswith("rule")]


@pytest.mark.parametrize("word", HOSTILE)
def test_words_from_data_are_shown_as_they_are(tmp_path, word):
    folder = shards(tmp_path, kept=0, lost=1, films=False)
    dataset = read_dataset(folder, folder / "no ledger")
    history = replace(dataset.history, losses=(replace(dataset.losses[0], reason=word, stage=""),))
    plot = by_name(replace(dataset, history=history))["funnel"]
    assert f"{shown(word, 27)} ({dataset.losses[0].outcome})" in texts_in(plot)
    assert "<script" not in plot.svg
    plot.svg.encode()


def test_words_are_shortened_and_cleaned():
    assert shown("tiny_faces", 10) == "tiny_faces"
    assert shown("tiny_facets", 10) == "tiny_face\u2026"
    assert shown("日本語日本語", 7) == "日本語\u2026"
    assert shown(" a\x00\n\t b\ud800\u202e ", 40) == "a\ufffd b\ufffd\ufffd"
    assert len(shown("W" * 500, 27)) < 20


def test_all_plots_of_any_dataset_are_small(tmp_path):
    folder = shards(
        tmp_path,
        kept=300,
        lost=200,
        films=False,
        reason=lambda number: f"{'<&' * 200}{number}",
    )
    drawn = plots(read_dataset(folder, folder / "no ledger"))
    assert sum(len(plot.svg.encode()) for plot in drawn) < 400_000
