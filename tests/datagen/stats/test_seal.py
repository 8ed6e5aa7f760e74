"""Files that the statistics write beside the shards: what a person has edited stays, a bad place is
one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.core.errors import UserError
from datagen.stats import report
from datagen.stats.card import write_card
from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.report import write_report
from tests.datagen.stats import made_up

NONE: Any = None  # for what is not looked at


def dataset_of(target: Path) -> Dataset:
    return read_dataset(made_up.shards(target / "shards", 3, 1, films=False), target / "no ledger")


@pytest.fixture(autouse=True)
def page(monkeypatch) -> None:
    """What a report holds is no subject here."""
    monkeypatch.setattr(report, "page", lambda *_: "<p>new</p>\n")


@pytest.mark.parametrize(
    "edit", [lambda _: b"<p>mine</p>", lambda page: page.replace(b"new", b"mine", 1)]
)
def test_another_s_or_an_edited_file_is_left_alone(tmp_path, edit):
    path = tmp_path / "report.html"
    write_report(NONE, NONE, path)
    ours = path.read_bytes()
    path.write_bytes(edit(ours))
    with pytest.raises(
        UserError, match="was edited or not written by this command: --overwrite replaces it"
    ):
        write_report(NONE, NONE, path)
    assert path.read_bytes() == edit(ours)
    write_report(NONE, NONE, path, overwrite=True)
    assert path.read_bytes() == ours


def test_what_was_written_here_is_replaced(tmp_path, monkeypatch):
    write_report(NONE, NONE, tmp_path / "report.html")
    monkeypatch.setattr(report, "page", lambda *_: "<p>newer</p>\n")
    write_report(NONE, NONE, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<p>newer</p>")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "folder/report.html",
            "report.html is a folder, the report is a file: move the folder, or choose another",
        ),
        ("file/report.html", "cannot write to .*file: File exists; choose another folder"),
        (
            "file/deeper/report.html",
            "cannot write to .*deeper: Not a directory; choose another folder",
        ),
    ],
)
def test_where_no_report_can_be_written_is_one_sentence(tmp_path, target, message):
    (tmp_path / "folder" / "report.html").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=message):
        write_report(NONE, NONE, tmp_path / target, overwrite=True)


@pytest.mark.parametrize("shown", [-1, 501])
def test_a_gallery_has_bounds(tmp_path, shown):
    with pytest.raises(
        UserError, match=f"shown is {shown}: 0 to 500 clips in the gallery are expected."
    ):
        write_report(NONE, NONE, tmp_path / "report.html", shown)


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "foreign": lambda data: b"# Mine\n",
    "empty": lambda data: b"",
    "a word": lambda data: data.replace(b"Portrait animation shards", b"My people", 1),
    "appended": lambda data: data + b"more\n",
    "no last line": lambda data: data[: data.rstrip().rfind(b"\n") + 1],
    "line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "no text": lambda data: b"\xff\xfe\x00",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_card_is_never_lost(tmp_path, edit):
    dataset, path = dataset_of(tmp_path), tmp_path / "README.md"
    assert write_card(dataset, path)
    ours = path.read_bytes()
    edited = EDITS[edit](ours)
    path.write_bytes(edited)
    assert not write_card(dataset, path)
    assert path.read_bytes() == edited
    assert write_card(dataset, path, overwrite=True)
    assert path.read_bytes() == ours
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["README.md"]


def test_a_folder_in_the_card_s_place_is_one_sentence(tmp_path):
    (tmp_path / "README.md").mkdir()
    with pytest.raises(UserError, match="README.md is a folder, the card is a file: move"):
        write_card(dataset_of(tmp_path), tmp_path / "README.md", overwrite=True)
