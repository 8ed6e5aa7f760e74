"""The dataset card: its numbers are right, words from data stay words, edits stay, every size gives
a sound card.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from datagen.core.text import text_of
from datagen.stats import card as cards
from datagen.stats.card import card, write_card
from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.measures import with_rules
from datagen.stats.terminal import size
from tests import faults
from tests.datagen.stats import made_up
from tests.datagen.stats.markdown import Page, body

HOSTILE = (
    "<script>alert(1)</script> | `code` ``` **b** [x](javascript:alert(1)) "
    "![i](http://e.x/i.png) &amp; \\| "
    "$x$ ~~s~~ _u_ https://e.x www.e.x @me\n\n---\n# h\n- l\n<!-- c --> {{ 7*7 }} {% raw "
    "%} \ud800 \u202e 日本"
)
LINKS = {
    "https://arxiv.org/abs/2405.20851",
    "https://github.com/webdataset/webdataset",
    "https://huggingface.co/docs/datasets",
}


def page(dataset: Dataset) -> Page:
    return Page(body(card(dataset)))


def metadata(dataset: Dataset) -> dict[str, Any]:
    return yaml.safe_load(cards.head(dataset))


def made(target: Path, *numbers: int, **words: Any) -> Dataset:
    return read_dataset(
        made_up.shards(target / "shards", *numbers, films=False, **words),
        target / "ledger.jsonl",
    )


def test_numbers_equal_a_recount(tmp_path):
    dataset = made(tmp_path, 40, 7)
    shown = page(dataset)
    result = [json.loads(fields["json"]) for fields in faults.samples(tmp_path / "shards").values()]
    for split, clips, duration, frames, identities, groups, shards, _ in shown.tables[
        "split clips"
    ]:
        mine = [one for one in result if split in ("all", cards.HUB_SPLITS[one["split"]])]
        assert (int(clips), int(frames.replace(",", ""))) == (
            len(mine),
            sum(one["frames"] for one in mine),
        )
        seconds = sum(one["metrics"]["clips"]["seconds"] for one in mine)
        assert duration == (f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min")
        assert (int(identities), int(groups)) == (
            len({o["identity"] for o in mine}),
            len({o["group"] for o in mine}),
        )
        assert shards == ("2" if split == "all" else "1")
    values = [one["metrics"]["gaze"]["amplitude_deg"] for one in result]
    row = next(row for row in shown.tables["measure p5"] if row[0] == "gaze amplitude")
    assert row[1:] == [f"{value:.3g}" for value in np.percentile(values, [5, 50, 95])] + [
        "deg",
        "40",
    ]
    for title, key, end in (("flicker", "flicker", 95), ("blink correlation", "blink_r", 5)):
        pairs = [
            [one["metrics"]["agree"][twin][key] for one in result] for twin in ("swap", "style")
        ]
        row = next(row for row in shown.tables["score better"] if row[0] == title)
        assert row[2:6] == [
            f"{np.percentile(values, at):.3g}" for values in pairs for at in (50, end)
        ]
    lost = Counter(
        (row["outcome"], row["stage"], row["reason"]) for row in dataset.index["rejects"]
    )
    assert {tuple(row[1:]): int(row[0]) for row in shown.tables["clips outcome"]} == lost
    assert "Planned 47 clips = kept 40 + filtered 2 + invalid 3 + failed 2." in shown.text
    (subset,) = shown.tables["subset clips"]
    assert subset == [
        "gaze",
        str(sum("gaze" in one["subsets"] for one in result)),
        "gaze amplitude at least 8 deg",
    ]
    rules = {row[0]: row[3] for row in shown.tables["reason measure"]}
    assert rules["swap_moved"] == "at most 0.025"
    assert rules["style_lost_face"] == "at least 0.95, and measured at all"


def test_words_from_data_stay_words(tmp_path):
    names = ("identity", "source", "license", "reason")
    dataset = made(tmp_path, 6, 3, **dict.fromkeys(names, HOSTILE))
    hostile = _with_hostile_makers(dataset)
    plain = page(made(tmp_path / "plain", 6, 3))
    shown = page(hostile)
    words = " ".join(text_of(HOSTILE).split())
    assert {row[3] for row in shown.tables["clips outcome"]} == {words}
    assert {row[1] for row in shown.tables["clips licence"]} == {words}
    assert {tuple(row[:2]) for row in shown.tables["stage backend"]} == {(words, words)}
    assert {tuple(row[:3]) for row in shown.tables["name and version licence"]} == {
        (words, words, words)
    }
    assert [(row[0], row[2]) for row in shown.tables["subset clips"]] == [
        (words, words + " at least 1")
    ]
    assert shown.tables["reason measure"][0][:2] == [words, words]
    assert shown.links == plain.links == LINKS
    assert set(shown.tags) == set(plain.tags)
    assert shown.comments == []
    assert set(shown.tables) == set(plain.tables)
    assert {len({len(row) for row in rows}) for rows in shown.tables.values()} == {1}
    assert metadata(hostile)["license_name"].startswith("script-alert-1-script-code-b-x-javascript")


def _with_hostile_makers(dataset: Dataset) -> Dataset:
    """The same clips as if a subset, a rule, every stage and its weights had the hostile name."""
    maker = {"backend": HOSTILE, "version": 1, "weights": {HOSTILE: HOSTILE}}
    rule = {"reason": HOSTILE, "metric": HOSTILE, "least": 1}
    measures = with_rules([rule])
    empty = np.full(len(measures), np.nan)
    changed = {
        file: [
            replace(row, stages={HOSTILE: maker}, subsets=(HOSTILE,), values=empty) for row in rows
        ]
        for file, rows in dataset.shards.items()
    }
    index = {**dataset.index, "select": {"rules": [rule], "subsets": {HOSTILE: [rule]}}}
    return replace(dataset, shards=changed, index=index, measures=measures)


def test_a_subset_s_name_is_a_word_in_the_code_too(tmp_path):
    dataset = _with_hostile_makers(made(tmp_path, 3, 0))
    (code,) = re.findall(r"```python\n([^`]*select\(.*?)```\n", card(dataset), re.S)
    (name,) = re.findall(r"lambda sample: ('.*') in sample", code)
    assert eval(name) == HOSTILE
    compile(code, "card", "exec")


def test_the_same_dataset_gives_the_same_bytes(tmp_path):
    for target in ("one", "two"):
        dataset = made(tmp_path / target, 12, 5)
        write_card(dataset, tmp_path / target / "README.md")
    first, second = (tmp_path / target / "README.md" for target in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    before = first.stat()
    assert write_card(dataset, first)
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert write_card(made(tmp_path / "more", 13, 5), first)
    assert first.read_bytes() != second.read_bytes()


def test_one_clip(tmp_path):
    shown = page(made(tmp_path, 1, 0))
    assert [row[:2] for row in shown.tables["split clips"]] == [["train", "1"], ["all", "1"]]
    assert "clips outcome" not in shown.tables
    assert "both splits" not in shown.text
    cells = {cell for rows in shown.tables.values() for row in rows for cell in row}
    assert "nan" not in cells
    (score,) = [row for row in shown.tables["score better"] if row[0] == "mouth correlation"]
    assert score[4:6] == ["-", "-"]


def test_none_kept(tmp_path):
    dataset = made(tmp_path, 0, 7)
    shown, result = page(dataset), metadata(dataset)
    assert "No clip was kept, so there are no shards here." in shown.text
    assert set(shown.tables) == {"clips outcome", "reason measure", "subset clips"}
    assert sum(int(row[0]) for row in shown.tables["clips outcome"]) == 7
    assert not {"license", "configs", "dataset_info"} & result.keys()
    assert "```python" not in card(dataset)


def test_thousands_of_clips_of_many_terms(tmp_path):
    dataset = made(
        tmp_path,
        1_200,
        100,
        license=lambda number: f"terms {number % 50}",
        reason=lambda number: f"r{number}",
    )
    text = card(dataset)
    shown = Page(body(text))
    assert shown.tables["split clips"][-1][1] == "1,200"
    assert metadata(dataset)["size_categories"] == ["1K<n<10K"]
    assert len(shown.tables["clips licence"]) == len(shown.tables["clips outcome"]) == cards.MOST
    assert "And 10 more; each sample" in shown.text and "And 60 more reasons" in shown.text
    assert len(text) < 40_000
    assert (metadata(dataset)["license"], metadata(dataset)["license_name"]) == ("other", "several")


def test_unknown_terms_and_filmed_people_are_said_plainly(tmp_path):
    dataset = made(tmp_path, 6, 0, license=lambda number: "unknown" if number < 4 else "CC-BY-4.0")
    shown = page(dataset)
    assert "Warning. The licence of the source video is unknown for 4 of 6 clips" in shown.text
    assert (
        "6 of 6 clips show real people. The toolkit does not know whether they consented"
        in shown.text
    )
    assert "synthetic people" not in shown.text
    assert [row[:3] for row in shown.tables["clips licence"]] == [
        ["4", "unknown", "with the owner's name"],
        ["2", "CC-BY-4.0", "with the owner's name"],
    ]
    assert metadata(dataset)["license"] == ["cc-by-4.0", "unknown"]


def test_versions_are_added_up(tmp_path, monkeypatch):
    plain = made_up.described

    def described(number: int, words: dict[str, Any]) -> dict[str, Any]:
        sentence = plain(number, words)
        if number >= 4:
            sentence["stages"]["swap"] = {
                "backend": "Other",
                "version": 7,
                "weights": {"inswapper 128": "non-commercial"},
            }
        return sentence

    monkeypatch.setattr(made_up, "described", described)
    shown = page(made(tmp_path, 6, 0))
    assert [row for row in shown.tables["stage backend"] if row[0] == "swap"] == [
        ["swap", "LandmarkSwap", "1", "4"],
        ["swap", "Other", "7", "2"],
    ]
    assert [row[0] for row in shown.tables["stage backend"]] == [
        *("clips", "faces", "gaze", "swap", "swap", "style", "agree"),
    ]
    assert shown.tables["name and version licence"] == [
        ["inswapper 128", "non-commercial", "swap", "2"],
        ["mediapipe 0.10.14", "Apache-2.0", "clips, faces, gaze, swap, style, agree", "6"],
    ]


OF_DEFAULTS = {
    "faces": ("1 where the face was found",),
    "gaze": ("without a gaze model", "Zero is not calibrated"),
    "swap": (
        "The toolkit's own donors (personNN) are synthetic",
        "Both twins are made with",
        "surroundings",
    ),
    "style": ("as a drawing", "Both twins are made with", "surroundings"),
}


@pytest.mark.parametrize("stage", OF_DEFAULTS)
def test_what_is_true_of_a_default_backend_alone_is_not_said_of_others(tmp_path, stage):
    dataset = made(tmp_path, 6, 0)
    usual = page(dataset).text
    other = page(_made_by(dataset, stage, "Elsewhere")).text
    for words in OF_DEFAULTS[stage]:
        assert words in usual.replace("\n", " ") and words not in other.replace("\n", " ")
    assert "Elsewhere" in other


def _made_by(dataset: Dataset, stage: str, backend: str) -> Dataset:
    """The same, as if one clip had been made by another backend."""
    shards = {file: list(rows) for file, rows in dataset.shards.items()}
    rows = next(iter(shards.values()))
    maker = {"backend": backend, "version": 1, "weights": {}}
    rows[0] = replace(rows[0], stages={**rows[0].stages, stage: maker})
    return replace(dataset, shards=shards)


def test_sizes_are_those_of_files_and_pictures(tmp_path):
    folder = made_up.shards(tmp_path / "shards", 6, 0)
    dataset = read_dataset(folder, tmp_path / "no ledger")
    shown = page(dataset)
    for row in shown.tables["split clips"]:
        tars = folder.glob(
            "*.tar" if row[0] == "all" else "train-*.tar" if row[0] == "train" else "val-*.tar"
        )
        assert row[7] == size(sum(tar.stat().st_size for tar in tars))
    assert "Frames have 64 x 64 px" in shown.text
    assert "Frames have" not in page(made(tmp_path / "no films", 6, 0)).text


def test_a_person_in_both_splits_is_warned_of(tmp_path):
    clips = {"identity": lambda number: f"p{number % 3}"}  # clip 3 and 10 are validation
    assert (
        "2 identities and 2 groups are in both splits"
        in page(made(tmp_path / "leak", 11, 0, **clips)).text
    )
    alone = {"identity": lambda number: "val" if number % 7 == 3 else "train"}
    assert (
        "No identity and no group is in both splits."
        in page(made(tmp_path / "whole", 11, 0, **alone)).text
    )


LICENCES = [
    (["CC-BY-4.0"], {"license": "cc-by-4.0"}),
    (["CC BY 4.0", " cc-by-4.0 "], {"license": "cc-by-4.0"}),
    (["Apache-2.0", "CC0-1.0"], {"license": ["apache-2.0", "cc0-1.0"]}),
    (["", "unknown"], {"license": "unknown"}),
    (["CC-BY-4.0", "ours"], {"license": "other", "license_name": "several"}),
    (["Ours, 2nd ed."], {"license": "other", "license_name": "ours-2nd-ed"}),
    (["自分の"], {"license": "other", "license_name": "see-the-card"}),
    ([], {}),
]


@pytest.mark.parametrize(("sentence", "expected"), LICENCES)
def test_licences_have_hugging_face_s_names(sentence, expected):
    assert cards._licence(sentence) == expected


SIZES = [
    (0, "n<1K"),
    (999, "n<1K"),
    (1000, "1K<n<10K"),
    (99_999, "10K<n<100K"),
    (10**6, "1M<n<10M"),
]


@pytest.mark.parametrize(("count", "expected"), [*SIZES, (10**7, "10M<n<100M")])
def test_size_categories(tmp_path, count, expected):
    dataset = made(tmp_path, 1, 0)
    dataset.__dict__["summary"] = replace(dataset.summary, clips=count)
    assert metadata(dataset)["size_categories"] == [expected]
