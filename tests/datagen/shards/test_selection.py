"""The rule file and the splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datagen.core.errors import UserError
from datagen.engine.clip import Artifact, Clip
from datagen.shards import people
from datagen.shards.people import same_people
from datagen.shards.selection import Candidate, Rule, Selection, duplicates, groups
from datagen.vision.fingerprint import distance, near_pairs
from datagen.vision.identity import encoded


def clip(**metrics) -> Clip:
    return Clip("k", {}, artifacts={name: Artifact(Path("x"), m) for name, m in metrics.items()})


def test_first_rule_that_says_no_gives_the_reason():
    selection = Selection(
        [
            {"reason": "small_face", "metric": "clips.face_px", "least": 96},
            {"reason": "crowd", "metric": "clips.faces", "most": 1},
            {"reason": "drifts", "metric": "agree.swap.landmarks", "most": 0.02},
        ]
    )
    small = clip(clips={"face_px": 75.5, "faces": 4})
    verdict = selection.verdict("clips", small)
    assert verdict is not None
    assert (verdict.reason, verdict.detail) == (
        "small_face",
        "clips.face_px is 75.5, at least 96 is asked for",
    )
    assert selection.verdict("clips", clip(clips={"face_px": 96, "faces": 1})) is None
    drifting = selection.verdict("agree", clip(agree={"swap": {"landmarks": 0.03}}))
    assert drifting is not None
    assert drifting.reason == "drifts"


def test_unmeasured_passes_unless_required():
    measured = clip(agree={"swap": {"mouth_r": None}})
    assert Rule("r", "agree.swap.mouth_r", least=0.5).verdict(measured.metrics("agree")) is None
    assert (
        Rule("r", "agree.swap.mouth_r", least=0.5, required=True).verdict(measured.metrics("agree"))
        is not None
    )
    assert Rule("r", "faces.yaw.2", most=30).verdict({"yaw": [1, 2, 40]}) is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Selection([{"reason": "r", "metrik": "clips.x"}]),
        lambda: Selection([], val_share=1.5),
        lambda: Rule("r", "clips.x.y", least=1).verdict({"x": 3}),
    ],
)
def test_mistakes_in_the_rule_file_are_said(make):
    with pytest.raises(UserError):
        make()


def test_split_depends_on_the_group_alone_and_shares_fit():
    selection = Selection([], val_share=0.2)
    names = [f"group{i}" for i in range(2000)]
    drawn = [selection.split(name) for name in names]
    assert drawn == [Selection([], val_share=0.2).split(name) for name in names]
    assert 0.17 < drawn.count("val") / len(drawn) < 0.23


def test_groups_join_videos_people_and_near_duplicates_transitively():
    a, b = "0" * 64, "f" + "0" * 63  # 4 of 256 bits apart
    far = "5" * 64
    candidates = [
        Candidate("k1", "c1", ("video:1", "g1"), fingerprints=[a]),
        Candidate("k2", "c2", ("video:1", "g2"), fingerprints=[far]),
        Candidate("k3", "c3", ("video:3",), fingerprints=[b]),
        Candidate("k4", "c4", ("video:4",), fingerprints=["a" * 64]),
    ]
    joined = groups(candidates, Selection([]))
    assert joined["k1"] == joined["k2"] == joined["k3"] != joined["k4"]
    assert groups(candidates[::-1], Selection([])) == joined


def test_known_people_are_joined_by_name_alone():
    same = ["0" * 64]
    known = [Candidate(f"k{i}", f"c{i}", (f"identity:{i}",), True, same) for i in range(2)]
    assert len(set(groups(known, Selection([])).values())) == 2
    stranger = Candidate("k9", "c9", ("video:9",), False, same)
    assert len(set(groups([known[0], stranger], Selection([])).values())) == 1


def faces(*places: float) -> list[str]:
    """Codes of faces that lie on a line."""
    return [encoded(np.eye(128)[0] * place) for place in places]


def test_clips_of_one_person_are_one_group_and_a_chain_of_faces_is_not():
    codes = [*faces(-0.4, -0.1, 0.2, 0.48), None]
    candidates = [
        Candidate(f"k{i}", f"c{i}", (f"video:{i}",), identity=code) for i, code in enumerate(codes)
    ]
    found = groups(candidates, Selection([], same_person=0.4))
    assert (
        found["k0"] == found["k1"] != found["k2"] == found["k3"] and len(set(found.values())) == 3
    )
    assert len(set(groups(candidates, Selection([], same_person=0)).values())) == 5


def test_a_stranger_joins_the_known_person_with_that_face():
    codes = faces(0.0, 0.1, 0.0, 0.05)
    names = ["anna", "ben", "anna", None]
    assert list(same_people(codes, names, 0.4)) in ([(3, 0)], [(3, 1)])
    assert list(same_people(codes[:3], names[:3], 0.4)) == []


def test_people_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr(people, "BLOCK", 3)
    rng = np.random.default_rng(0)
    persons = rng.normal(0, 0.07, (7, 128))
    who = rng.integers(7, size=60)
    codes = [encoded(persons[person] + rng.normal(0, 0.01, 128)) for person in who]
    led = dict(same_people(codes, [None] * 60, 0.6))
    assert len(led) == 60 - len(set(who))
    assert all(who[clip] == who[leader] and leader not in led for clip, leader in led.items())


def test_duplicate_is_the_one_with_the_larger_key():
    candidates = [
        Candidate("b", "same", ("v",)),
        Candidate("a", "same", ("w",)),
        Candidate("c", "other", ("x",)),
    ]
    assert duplicates(candidates) == {"b"}


def test_near_pairs_equal_comparing_all_with_all():
    import random

    draw = random.Random(0)
    codes = [[f"{draw.getrandbits(256):064x}"] for _ in range(60)]
    for i in range(0, 60, 3):  # neighbours a few bits apart
        flips = sum(1 << bit for bit in draw.sample(range(256), draw.randrange(1, 40)))
        codes[i + 1] = [f"{int(codes[i][0], 16) ^ flips:064x}"]
    brute = [
        (i, j) for j in range(60) for i in range(j) if distance(codes[i][0], codes[j][0]) <= 20
    ]
    assert near_pairs(codes, 20) == sorted(brute)
    assert brute
