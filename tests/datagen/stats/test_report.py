"""The report is opened in a browser: what it shows is right, what moves moves, and nothing in the
data comes alive.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from datagen.engine.store import Store
from datagen.job import ledger_path
from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.history import LostClip
from datagen.stats.pictures import sheets
from datagen.stats.report import SHOWN, write_report
from datagen.stats.terminal import size
from tests.datagen.stats import made_up
from tests.datagen.stats.browser import Table, browser

HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "{{7*7}} ${7*7} <!-- -->",
    "\"'><svg onload=window.hacked=1> & &lt;b&gt;",
    "=cmd|' /C calc'!A0",
    "Zoë 東京 \u202edlrow\u202c \U0001f600",
    "<" + "long" * 75,
    "]]></style></template></article>\n<b>bold</b>\u2028.",
)
NAME = "<img src=x onerror=window.hacked=1> {{7*7}} é"


@pytest.fixture(scope="module")
def tab():
    with browser() as driver:
        yield Table(driver)


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> Path:
    """A report of 30 kept and 9 lost clips."""
    return report(made(tmp_path_factory.mktemp("usual"), kept=30, lost=9))


def made(folder: Path, name: str = "shards", **words) -> Dataset:
    made_up.shards(folder / name, **words)
    words.pop("films", None)
    return read_dataset(folder / name, made_up.ledger(folder / "ledger.jsonl", **words))


def report(dataset: Dataset, store: Store | None = None) -> Path:
    path = dataset.folder.parent / "report.html"
    write_report(dataset, store or Store(str(dataset.folder / "no store")), path)
    return path


def test_the_sample(tab, sample, store):
    tab.visit(report(read_dataset(sample, ledger_path(str(store))), Store(str(store))))
    assert tab.texts("h2:not(dialog *)") == tab.texts("body > nav a")[1:]
    assert len(tab.texts("#gallery ~ .clip")) == tab.clips == 2
    assert tab.count("#gallery ~ .clip img") == 6
    assert all(
        tab.run("return [...document.querySelectorAll('.plot svg')].map(s => s.clientHeight)")
    )


def test_every_part_is_there(tab, usual):
    tab.visit(usual)
    assert tab.texts("#losses tbody tr:first-child td")[3] == "39"
    assert tab.texts("#losses tbody tr:last-child td")[3:] == ["30", "76.9%"]
    assert tab.texts("#losses tbody tr td:nth-child(3)") == [
        "",
        "damaged",
        "small_face",
        "crash",
        "",
    ]
    assert len(tab.texts("#gallery ~ .clip")) == SHOWN
    assert len(tab.texts(".loss")) == 9 and "said the stage" in tab.texts(".loss")[0]
    assert all(
        tab.texts(f"{part} .plot") for part in (".funnel", "#distributions ~ *", "#twins ~ *")
    )
    labels = tab.run(
        "return [...document.querySelectorAll('[role=img]')].map(one => one.ariaLabel)"
    )
    assert all(labels) and len(set(labels)) == len(labels)


def test_pictures_stand_in_the_page_without_javascript(usual):
    before, _, _ = usual.read_text("utf-8").partition('<template id="pool">')
    assert (
        before.count('<article class="clip"') == SHOWN
        and before.count("data:image/jpeg") >= 3 * SHOWN
    )
    assert before.count('<article class="loss"') == 9 and before.count("<svg ") > 10


def test_a_title_sorts_and_what_was_not_measured_comes_last(tab, usual):
    tab.visit(usual)
    angles = sorted(
        made_up.described(number, {})["metrics"]["faces"]["yaw"][1] for number in range(30)
    )
    assert angles[0] < 0 < angles[-1]
    for order in (angles, angles[::-1]):
        tab.sort("head yaw, median")
        assert [float(cell) for cell in tab.column("head yaw, median")] == order[:25]
    tab.one("#table .dt-paging-button[data-dt-idx='1']").click()
    assert [cell for cell in tab.column("head yaw, median") if cell] == [
        f"{angle:g}" for angle in angles[4::-1]
    ]


def test_kept_and_lost(tab, usual):
    tab.visit(usual)
    assert tab.clips == 39
    tab.one("[data-show=lost]").click()
    assert tab.clips == 9 and set(tab.column("outcome")) == {"filtered", "invalid", "failed"}
    tab.fill("reason: one of", "damaged")
    assert tab.clips == 3 and set(tab.column("reason")) == {"damaged"}
    tab.one("[data-show=kept]").click()
    assert tab.clips == 0
    tab.one("#reset").click()
    assert tab.clips == 39
    assert tab.count("[data-show=all][aria-pressed=true]") and {
        *tab.texts(".filter select :checked")
    } == {"all"}


def test_filters(tab, usual):
    tab.visit(usual)
    amplitudes = [
        made_up.described(number, {})["metrics"]["gaze"]["amplitude_deg"] for number in range(30)
    ]
    tab.fill("gaze amplitude: at least", 8)
    inside = sum(8 <= value <= 12.5 for value in amplitudes)
    assert tab.clips == sum(value >= 8 for value in amplitudes) > inside
    tab.fill("gaze amplitude: at most", 12.5)
    assert tab.clips == inside > 0
    assert all(8 <= float(cell) <= 12.5 for cell in tab.column("gaze amplitude"))
    tab.fill("subsets: one of", "gaze")
    assert tab.clips == inside
    tab.fill("identity: one of", "person3")
    assert tab.clips == (8 <= amplitudes[3] <= 12.5)
    tab.one("#reset").click()
    tab.one("#table .dt-search input").send_keys("raw/7.mp4")
    assert tab.column("key") == ["clip-000007"]


def test_worst_and_best(tab, usual):
    tab.visit(usual)
    tab.one('#score option[value="agree.style.flicker"]').click()
    flicker = {
        n: made_up.described(n, {})["metrics"]["agree"]["style"]["flicker"] for n in range(30)
    }
    order = [f"clip-{n:06d}" for n in sorted(flicker, key=lambda n: flicker[n])]
    assert (tab.texts("#best .clip h3"), tab.texts("#worst .clip h3")) == (
        order[:2],
        order[::-1][:2],
    )
    assert (
        float(tab.texts("#worst .facts strong")[0]) == max(flicker.values())
        and tab.count("#worst .chosen") == 2
    )
    tab.check()


def test_a_row_opens_with_the_keyboard(tab, usual):
    from selenium.webdriver.common.keys import Keys

    tab.visit(usual)
    tab.one("#all-clips .open").send_keys(Keys.ENTER)
    assert tab.texts("#detail-title") == ["clip-000000"]
    tab.one("#next").click()
    assert tab.texts("#detail-title") == ["clip-000001"]
    shown_values = dict(
        zip(tab.texts("#detail-values dt"), tab.texts("#detail-values dd"), strict=True)
    )
    assert shown_values["identity"] == "person1" and shown_values["frames"] == str(
        made_up.described(1, {})["frames"]
    )
    tab.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not tab.run("return document.getElementById('detail').open")


def test_from_a_clip_that_is_filtered_out_it_goes_on_to_its_neighbours(tab, usual):
    tab.visit(usual)
    opened = [key for key in tab.texts("#gallery ~ .clip .open") if "1" not in key][-1]
    left = [key for key in (f"clip-{number:06d}" for number in range(39)) if "1" in key]
    after, before = [key for key in left if key > opened], [key for key in left if key < opened]
    assert after and before
    tab.fill("key: contains", "1")
    for button, expected in (("#next", after[0]), ("#previous", before[-1])):
        card = (
            "[...document.querySelectorAll('#gallery ~ .clip .open')].find(one => "
            "one.textContent === arguments[0])"
        )
        tab.run(f"{card}.click()", opened)
        assert tab.texts("#detail-title") == [opened]
        tab.one(button).click()
        assert tab.texts("#detail-title") == [expected]


def test_a_key_that_the_page_spells_otherwise_breaks_nothing_else(tab, tmp_path):
    dataset = made(tmp_path, kept=3, lost=0)
    rows = [
        replace(row, key=f"odd\r{row.key}" if number == 1 else row.key)
        for number, row in enumerate(dataset.rows)
    ]
    tab.visit(report(replace(dataset, shards={rows[0].shard: rows})))
    assert tab.clips == 3 and tab.complaints() == []


def test_sizes_are_those_of_the_files(tab, usual):
    tab.visit(usual)
    tiles = dict(zip(tab.texts(".tiles dt"), tab.texts(".tiles dd"), strict=True))
    files = sum(tar.stat().st_size for tar in (usual.parent / "shards").glob("*.tar"))
    assert tiles["Size"] == f"{size(files)} in 2 shards"
    assert tiles["Frames"].endswith(" 25 fps, 64 x 64 px")
    assert "people or, if the source names none, groups" in tiles["Identities"]


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_every_window(tab, usual, dark):
    tab.visit(usual, dark=dark)
    for width in (360, 800, 1600):
        tab.resize(width)
        tab.check()
    ground = tab.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 3 * 128) == dark


def hostile(folder: Path) -> Dataset:
    """Every word that comes from data is one that should not be."""

    def word(number: int) -> str:
        return HOSTILE[number % len(HOSTILE)]

    every = {name: word for name in ("identity", "source", "reason", "license")}
    dataset = made(folder, NAME, kept=8, lost=8, **every)
    losses = (
        LostClip(w, loss.outcome, w, w, w, w)
        for loss, w in zip(dataset.losses, HOSTILE, strict=True)
    )
    return replace(dataset, history=replace(dataset.history, losses=tuple(losses)))


def test_nothing_in_the_data_comes_alive(tab, tmp_path):
    tab.visit(report(hostile(tmp_path)))
    tab.resize(360)
    tab.check()
    for end in ("worst", "best"):
        assert len(tab.texts(f"#{end} .clip")) == 2
    tab.one("[data-show=lost]").click()
    for title in ("key", "stage", "reason", "source"):
        assert sorted(tab.column(title)) == sorted(HOSTILE)
    assert sorted(tab.texts(".loss h4")) == sorted(HOSTILE)
    assert sorted(tab.texts(".reason .group > .word")) == sorted(HOSTILE)
    tab.one("#table .dt-search input").send_keys("<svg onload & &lt;b&gt;")
    assert tab.column("key") == [HOSTILE[3]]
    tab.one("#all-clips .open").click()
    assert tab.texts("#detail-title") == [HOSTILE[3]]
    assert tab.texts("#detail-values dd").count(HOSTILE[3]) == 4  # stage, reason, detail, source
    assert tab.run("return window.hacked") is None
    assert tab.complaints() == []
    assert tab.texts("h1") == [NAME] and tab.driver.title == f"{NAME}: dataset report"


def test_the_policy_stops_what_gets_in(tab, usual):
    """Should a word ever become HTML, nothing in it runs and nothing is fetched."""
    tab.visit(usual)
    tab.run("""
        const images = "<img src='data:,' onerror='window.hacked = 1'><img src='http://127.0.0.1:9/x.png'>";
        document.body.insertAdjacentHTML("beforeend", images);
        document.body.append(Object.assign(
            document.createElement("script"), {textContent: "window.hacked = 1"}))""")
    done = tab.wait(
        "fetch('http://127.0.0.1:9/').then(arguments[0], () => arguments[0]('refused'))"
    )
    assert done == "refused" and tab.run("return window.hacked") is None
    shown_values = tab.complaints()
    for refused in ("inline event handler", "inline script", "loading the image", "connect"):
        assert any(
            refused in line.lower() and "Content Security Policy" in line for line in shown_values
        ), shown_values


def test_one_clip(tab, tmp_path):
    tab.visit(report(made(tmp_path, kept=1, lost=0)))
    assert tab.clips == 1
    assert tab.texts("#lost ~ .empty") == ["Nothing was lost."]
    assert tab.texts("#best .clip h3") == ["clip-000000"]
    assert tab.texts("#worst") == ["Too few clips have this score."]


def test_none_kept(tab, tmp_path):
    tab.visit(report(made(tmp_path, kept=0, lost=3)))
    assert tab.clips == 3
    assert tab.texts(".tiles dd")[0] == "0 of 3 planned"
    assert tab.texts("section[aria-labelledby=gallery] .empty") == ["No clip was kept."]
    assert tab.texts("#extremes ~ .empty") == ["No clip has a score."]


def test_nothing_planned(tab, tmp_path):
    tab.visit(report(made(tmp_path, kept=0, lost=0)))
    assert tab.texts("#funnel ~ .empty") == ["Nothing was planned: the source held no video."]
    assert tab.texts("#all-clips tbody td") == ["There is no clip."]


def test_pictures_of_lost_clips(tab, tmp_path, monkeypatch):
    dataset = made(tmp_path, kept=1, lost=14, reason="dark", films=False)
    picture = sheets(dataset, {"clip-000000": 1})["clip-000000"][0]
    monkeypatch.setattr(
        "datagen.stats.report.thumbnails", lambda *_: {"clip-000013": picture, "clip-000002": None}
    )
    tab.visit(report(dataset))
    assert tab.count(".loss") == 14 and tab.count(".loss img") == 1
    assert Counter(tab.texts(".loss .none")) == {"no picture": 1, "not among the 1 pictured": 12}
    tab.fill("key: contains", "13")
    tab.one("#all-clips .thumbnail").click()
    assert tab.texts("#detail-title") == ["clip-000013"] and tab.count("#detail-pictures img") == 1


def test_ten_thousand_clips(tab, tmp_path):
    dataset = made(tmp_path, kept=9_500, lost=500, films=False)
    tab.visit(report(dataset))
    assert tab.clips == 10_000
    for _ in range(2):
        tab.sort("frames")
    assert tab.column("frames")[0] == str(max(row.frames for row in dataset.rows))
    assert tab.complaints() == []
