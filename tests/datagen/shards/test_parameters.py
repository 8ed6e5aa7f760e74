"""How clips were cut is read from the shards, never guessed where they say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.core.errors import UserError
from datagen.shards.parameters import (
    ClipParameters,
    agreed_parameters,
    clip_parameters,
    sample_parameters,
)

WIDE = {"stages": {"clips": {"parameters": {"size": 256, "fps": 30, "margin": 3}}}}


def test_an_index_says_how_its_clips_were_cut():
    assert clip_parameters(WIDE) == ClipParameters(256, 30.0, 3.0)


def test_shards_from_before_have_the_only_values_of_then():
    assert clip_parameters({}) == ClipParameters(512, 25.0, 2.3)
    assert sample_parameters({"stages": {"clips": {"backend": "Clips"}}}) is None


@pytest.mark.parametrize(
    "stages", [3, [], {"clips": 1}, {"clips": {"parameters": {"margin": "wide"}}}, {"clips": []}]
)
def test_a_damaged_description_is_one_sentence(stages):
    with pytest.raises(UserError, match="do not say how their clips were cut"):
        clip_parameters({"stages": stages})


def test_clips_of_different_makings_are_refused():
    samples = [None, sample_parameters(WIDE), ClipParameters(256, 30.0, 2.3)]
    assert agreed_parameters(Path("shards"), WIDE, samples[:2]).margin == 3
    with pytest.raises(UserError, match=r"different makings \(.*margin 3 and .*margin 2.3\)"):
        agreed_parameters(Path("shards"), WIDE, samples)
