"""Words out of names and lists: shown as text by every command, alive in no terminal and in no
page.
"""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser

import pytest

from datagen.core.text import line_of, text_of
from datagen.engine.ledger import read_ledger
from tests.datagen.stats import made_up
from tests.fakes import lists as listed
from tests.faults import call, contents

ESCAPES = ("\x1b[2J", "\x1b]0;title\x07", "\r", "\u202e", "\x9b31m", "\u2028", "\x00", "\udcff")
MARKUP = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=x>",
    "[red]x[/red]",
)
VIDEO = "M2Ohb0FAaJU"


def assert_plain(text: str) -> None:
    """Lines of words that a terminal shows and does not obey."""
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)
    text.encode()


@pytest.mark.parametrize("word", ESCAPES)
def test_words_are_text(word):
    assert_plain(text_of(f"a{word}b"))
    assert (
        "\n" not in line_of(f"a{word}\nb")
        and text_of("Zoë 東京 \U0001f600") == "Zoë 東京 \U0001f600"
    )


@pytest.mark.parametrize("word", ESCAPES + ("\n",))
def test_mistakes_name_files_as_text(word, tmp_path):
    ended = call("datagen.verify", "--input", tmp_path / f"a{word.replace(chr(0), '')}b")
    assert ended.code == 2 and ended.sentence
    assert_plain(ended.err)


def test_names_of_videos_are_text_in_every_command(tmp_path):
    """A file's name may hold anything but a slash and a zero, and bytes that are no text."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, word in enumerate([*ESCAPES, *MARKUP, "\n"]):
        name = f"{number}{word}.mp4".replace("\x00", "").replace("/", "")
        with open(os.fsencode(raw) + b"/" + os.fsencode(name), "wb") as file:
            file.write(b"no video")
    store = tmp_path / "store"
    ended = call(
        "datagen.clips",
        "--input",
        raw,
        "--store",
        store,
        "--output",
        tmp_path / "out",
        "--runner",
        "local",
    )
    assert ended.code == 0 and "invalid 13" in ended.out
    assert_plain(ended.out)
    for event in read_ledger(store / "ledger.jsonl"):
        if event["event"] == "clip":
            ended = call("datagen.why", event["key"], "--store", store)
            assert ended.code == 0 and "unreadable" in ended.out
            assert_plain(ended.out)
    ended = call("datagen.why", "mp4", "--store", store)
    assert "13 clips match" in ended.out
    assert_plain(ended.out)


class Page(HTMLParser):
    """Names of all elements, and attributes that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.odd: list[tuple[str, str]] = []
        self.is_script = False

    def handle_starttag(self, tag, attributes) -> None:
        self.is_script = tag == "script"
        self.odd += [
            (tag, name) for name, value in attributes if name.startswith("on") or value == "x"
        ]

    def handle_data(self, data) -> None:
        if self.is_script:
            self.scripts.append(data)


def test_names_of_lists_are_text_in_page_card_and_terminal(tmp_path):
    """As a listed source tells them: path, labels, detail, licence, the name of an archive."""
    words = [f"{a}{b}" for a, b in zip(MARKUP, ESCAPES, strict=False)]
    every = {
        name: (lambda n, name=name: words[n % 4] + name)
        for name in ("identity", "source", "reason", "license")
    }
    folder = made_up.shards(tmp_path / "shards", 4, 4, **every)
    (tmp_path / "store").mkdir()
    made_up.ledger(tmp_path / "store" / "ledger.jsonl", 4, 4, **every)
    ended = call("datagen.stats", "--input", folder, "--store", tmp_path / "store")
    assert ended.code == 0
    assert_plain(re.sub(r"\x1b\[[0-9;]*m", "", ended.out))
    page = (folder / "report.html").read_text()
    found = Page()
    found.feed(page)
    assert found.odd == []
    assert not any(
        "<script" in script or "<img" in script or "<svg onload=x" in script
        for script in found.scripts
    )
    assert not set(page) & set("\x1b\x9b\x07\u202e\u2028")
    card = (folder / "README.md").read_text()
    assert not set(card) & set("\x1b\x9b\x07\u202e") and "<script>" not in card
    assert sum(1 for word in MARKUP if word.split("=")[0].strip("<\"'>[]") in page) >= 2, (
        "the words are there"
    )


def test_a_list_with_hostile_names_is_planned_as_text(tmp_path):
    """Ids of entries that are none reach the ledger, the index and why as words; the books hold
    them all.
    """
    clips = {
        word: listed.celebvhq_entry(VIDEO, 1, 4)
        for word in [*ESCAPES[:-1], *MARKUP, "../../x", "/etc/x", "-rf"]
    }
    clips |= {
        "odd": listed.celebvhq_entry(MARKUP[0], 1, 4),
        "other": {"ytb_id": ESCAPES[0], "duration": MARKUP[1]},
    }
    metadata = listed.celebvhq_json(tmp_path / "list.json", clips)
    store, output = tmp_path / "store", tmp_path / "shards"
    ended = call(
        "datagen.shards",
        "source=celebvhq",
        f"source.metadata={metadata}",
        f"source.raw={tmp_path}",
        "--store",
        store,
        "--output",
        output,
        "--runner",
        "local",
    )
    assert (
        ended.code == 0
        and f"planned {len(clips)} = kept 0 + filtered 0 + invalid {len(clips)}" in ended.out
    )
    assert_plain(ended.out)
    assert {path.name for path in tmp_path.iterdir()} <= {"list.json", "store", "shards"}
    assert set(contents(output)) <= {"index.json", ".lock"}
    for row in json.loads((output / "index.json").read_text())["rejects"]:
        ended = call("datagen.why", row["key"], "--store", store)
        assert ended.code == 0
        assert_plain(ended.out)
