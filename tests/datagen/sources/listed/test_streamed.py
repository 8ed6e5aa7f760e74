"""A large JSON list is read piece by piece: the same as at once, in little memory, and what is
broken says so.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from itertools import islice

import pytest

from datagen.core.errors import UserError
from datagen.sources.celebvhq import CelebVHQ
from datagen.sources.listed import streamed
from tests.fakes.lists import celebvhq_entry


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_list_is_read_in_pieces_as_it_is_at_once(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "CHUNK", chunk)
    clips = {f"é{i}": [None, 12, -0.5e-3, 'a\\"}', {"x": [i]}, True][i % 6] for i in range(40)}
    whole = {"first": 12, "clips": clips, "last": {"a": [1, 2]}}
    for indent in (None, 1):
        (tmp_path / "a.json").write_text(json.dumps(whole, indent=indent, ensure_ascii=False))
        rows = list(streamed.members(tmp_path / "a.json", "clips"))
        assert rows == [
            ("", "first", 12),
            *(("clips", k, v) for k, v in clips.items()),
            ("", "last", {"a": [1, 2]}),
        ]


NO_LISTS = [
    "",
    "[]",
    '{"clips": {"a": {}',
    '{"clips": 3}',
    '{"clips": {"a": 1 "b": 2}}',
    "{1: 2}",
    "\xff",
]
NO_LISTS += ["[" * 99999, '{"a": ' + "[" * 99999]


@pytest.mark.parametrize("text", NO_LISTS, ids=range(len(NO_LISTS)))
def test_what_is_no_whole_list_is_one_sentence(text, tmp_path):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="a.json is not complete JSON of the expected form"):
        list(streamed.members(tmp_path / "a.json", "clips"))


def test_as_many_entries_as_there_are_take_little_memory(tmp_path):
    rng = random.Random(0)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    videos = ["".join(rng.choices(letters, k=11)) for _ in range(13844)]
    entry = json.dumps(celebvhq_entry("VIDEO", 1.5, 4.25))
    with (tmp_path / "celebvhq_info.json").open("w") as file:
        rows = (
            f'"{videos[i % 13844]}_{i}": ' + entry.replace("VIDEO", videos[i % 13844])
            for i in range(35666)
        )
        file.write('{"meta_info": {}, "clips": {' + ",\n".join(rows) + "}}")
    source = CelebVHQ(raw="raw", metadata=str(tmp_path / "celebvhq_info.json"))
    assert source.count() == sum(entry.problem is None for entry in source.entries()) == 35666
    tracemalloc.start()
    try:
        assert sum(1 for _ in islice(source.entries(), 5000)) == 5000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (
        peak < (tmp_path / "celebvhq_info.json").stat().st_size / 2
    )  # decoded, all of it takes six times as much
