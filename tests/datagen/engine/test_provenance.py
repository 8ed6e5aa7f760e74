"""Pictures that no camera took say so in their own file."""

from __future__ import annotations

import io
import json

import av

from datagen.shards.reader import members


def test_twins_are_marked_and_targets_are_not(sample):
    index = json.loads((sample / "index.json").read_bytes())
    tags = {}
    for entry in index["shards"]:
        for key, field, data in members(
            sample / entry["file"], {"mp4", "swapped.mp4", "styled.mp4"}
        ):
            with av.open(io.BytesIO(data)) as film:
                tags[key, field] = dict(film.metadata)
    for (_, field), told in tags.items():
        marked = told.get("comment", ""), told.get("digital_source_type")
        if field == "mp4":
            assert marked == ("", None)
        else:
            assert marked[0].startswith("synthetic: ") and marked[1] == "compositeSynthetic"
    assert {field for _, field in tags} == {"mp4", "swapped.mp4", "styled.mp4"}
