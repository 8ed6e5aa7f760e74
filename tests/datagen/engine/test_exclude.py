"""People who said no are in no new shard, and found in old ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from datagen.engine.clip import Clip
from datagen.engine.exclude import Excluded
from datagen.shards import writer as pack
from datagen.shards.reader import members
from tests.faults import SAMPLE, call
from tests.training import numbered


def said(folder) -> list[dict]:
    """The json members of all samples."""
    index = json.loads((folder / "index.json").read_bytes())
    return [
        json.loads(data)
        for e in index["shards"]
        for _, _, data in members(folder / e["file"], {"json"})
    ]


def listed(tmp_path, *ids: str):
    path = tmp_path / "ids.txt"
    path.write_text("# who said no\n" + "".join(f"{each}  # by letter\n" for each in ids))
    return path


@pytest.mark.parametrize("name", ["key", "identity"])
def test_who_said_no_is_left_out_of_new_shards(name, sample, store, tmp_path):
    output = tmp_path / "shards"
    shutil.copytree(sample, output)
    out, kept = said(sample)
    made = call(
        "datagen.shards", *SAMPLE, "--runner", "local", "--store", store, "--output", output
    )
    assert made.code == 0, made.err
    again = call(
        *("datagen.shards", *SAMPLE, "--runner", "local", "--store", store, "--output", output),
        *("--exclude", listed(tmp_path, out[name])),
    )
    assert again.code == 0, again.err  # without --overwrite: that these go was asked for
    assert [each["key"] for each in said(output)] == [kept["key"]]
    index = json.loads((output / "index.json").read_bytes())
    assert index["rejects"] == [
        {"key": out["key"], "outcome": "filtered", "reason": "excluded", "stage": ""}
    ]
    assert index["books"]["filtered"] == 1


def test_a_donor_who_said_no_lends_no_face(sample, store, tmp_path):
    donors = {each["synthetic"]["swapped.mp4"]["donor"] for each in said(sample)}
    words = ("--runner", "local", "--store", store, "--output", tmp_path / "shards")
    made = call("datagen.shards", *SAMPLE, *words, "--exclude", listed(tmp_path, *donors))
    assert made.code == 0, made.err
    others = {each["synthetic"]["swapped.mp4"]["donor"] for each in said(tmp_path / "shards")}
    assert others and not others & donors


@pytest.mark.parametrize("name", ["key", "identity", "donor"])
def test_old_shards_are_searched(name, sample, tmp_path):
    first, _ = said(sample)
    wanted = first["synthetic"]["swapped.mp4"]["donor"] if name == "donor" else first[name]
    found = call("datagen.verify", "--input", sample, "--exclude", listed(tmp_path, wanted))
    assert found.code == 1
    assert f"train-000000.tar: sample {first['key']} shows {wanted}" in found.out
    assert "make the shards again with it" in found.out


def test_shards_without_anybody_on_the_list_are_whole(sample, tmp_path):
    found = call(
        "datagen.verify", "--input", sample, "--exclude", listed(tmp_path, "somebody else")
    )
    assert found.code == 0 and "are whole" in found.out


def test_shots_of_a_folder_of_videos_go_with_their_video(raw, store, tmp_path):
    words = (
        "--runner",
        "local",
        "source=folder",
        "select=sample",
        f"source.input={raw}",
        "--store",
        store,
        "--output",
        tmp_path / "out",
    )
    assert call("datagen.shards", *words).code == 0
    shown = said(tmp_path / "out")
    path = shown[0]["source"]["path"]
    again = call("datagen.shards", *words, "--exclude", listed(tmp_path, path))
    assert again.code == 0, again.err
    assert (
        path not in {each["source"]["path"] for each in said(tmp_path / "out")} and len(shown) > 1
    )


def test_lists_of_all_editors_are_read_alike(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeffanna\r\nclip#2.mp4 # by letter\r\n".encode())
    assert Excluded.read(str(path)).ids == {"anna", "clip#2.mp4"}
    assert (
        Excluded(frozenset(["anna"])).of_sample(
            {"synthetic": {"swapped.mp4": {"donor": "anna.jpg"}}}
        )
        == "anna"
    )


def test_the_same_group_is_told(tmp_path):
    samples = [
        numbered.sample(tmp_path, f"clip-{n}", 4, "train", identity=f"p{n}", group="face")
        for n in range(2)
    ]
    pack.pack([replace(each, group="face") for each in samples], tmp_path, {})
    found = call("datagen.verify", "--input", tmp_path, "--exclude", listed(tmp_path, "p1"))
    assert "sample clip-1 shows p1" in found.out and "sample clip-0 may show p1 too" in found.out


@pytest.mark.parametrize(
    ("text", "told"), [(None, "cannot be read"), (b"# nobody\n", "names nobody"), (b"\xff", "text")]
)
def test_a_bad_list_is_one_sentence_and_nothing_is_done(text, told, tmp_path):
    path = tmp_path / "ids.txt"
    if text is not None:
        path.write_bytes(text)
    ended = call(
        "datagen.shards",
        *SAMPLE,
        "--output",
        tmp_path / "out",
        "--store",
        tmp_path / "store",
        "--exclude",
        path,
    )
    assert ended.code == 2 and told in ended.sentence
    assert not (tmp_path / "out").exists()


def test_shots_and_files_of_a_video_go_with_it():
    excluded = Excluded(frozenset(["one.mp4", "film-01234567"]))
    assert excluded.of_clip(Clip("a-00000000-001", {"path": "sub/one.mp4"})) == "one.mp4"
    assert excluded.of_clip(Clip("film-01234567-004", {"path": "b.mp4"})) == "film-01234567"
    assert excluded.of_clip(Clip("film-0123456", {"path": "two.mp4"})) is None
