"""The lists of public datasets: the good is read, the bad refused with its reason, and nothing
leaves its folder.
"""

from __future__ import annotations

import json
import random
import re
import zipfile

import pytest

from datagen.core.errors import UserError
from datagen.core.keys import is_key
from datagen.engine.exclude import ids_in
from datagen.sources.celebvhq import CelebVHQ
from datagen.sources.listed import texts
from datagen.sources.listed.base import ListedSource, key_for, safe_name
from datagen.sources.listed.raw import retrieved
from datagen.sources.vfhq import VFHQ, entry_of
from tests.fakes.lists import BOX, celebvhq, celebvhq_entry, celebvhq_json, vfhq, vfhq_text

GOOD, DASH, BAR = "abcDEF123-_", "-abcdefghij", "__abcdefg__"
ODD = [
    "../../etc/pw",
    "a; echo x..",
    "$(reboot)..",
    "a b c d e f",
    "a\nb\nc\nd\ne\nf",
    "",
    "-" * 10,
    "a" * 12,
]
ODD += ["é" * 11, "\x00" * 11]


def problems(source: ListedSource) -> dict[str, str | None]:
    found = {entry.id: entry.problem for entry in source.entries()}
    assert source.count() == len(found)
    return found


def attributes(**changed):
    return {**celebvhq_entry(GOOD, 0, 1)["attributes"], **changed}


BAD = {
    "end_before_start": dict(duration={"start_sec": 2.0, "end_sec": 2.0}),
    "start": dict(duration={"start_sec": -0.1, "end_sec": 2.0}),
    "duration": dict(duration=[1, 2]),
    "duration_incomplete": dict(duration={"start_sec": 2.0}),
    "duration_no_number": dict(duration={"start_sec": 2.0, "end_sec": float("nan")}),
    "box": dict(bbox=[0, 0, 1, 1]),
    "box_inverted": dict(bbox={**BOX, "top": 0.9}),
    "box_outside": dict(bbox={**BOX, "right": 1.01}),
    "box_incomplete": dict(bbox={"left": 0.1}),
    "box_no_number": dict(bbox={**BOX, "left": True}),
    "attributes": dict(attributes=None),
    "appearance": dict(attributes=attributes(appearance=[0] * 39)),
    "action": dict(attributes=attributes(action=[0] * 34 + [2])),
    "emotion": dict(attributes=attributes(emotion={"sep_flag": True, "labels": "happy"})),
    "emotion_incomplete": dict(
        attributes=attributes(emotion={"sep_flag": True, "labels": [{"emotion": "happy"}]})
    ),
    "video_id": dict(ytb_id="../../passwd"),
}


def test_every_fault_of_an_entry_has_its_reason(tmp_path):
    clips = {
        f"x_{reason}": celebvhq_entry(GOOD, 1, 2, **changed) for reason, changed in BAD.items()
    }
    clips |= {
        "good": celebvhq_entry(GOOD, 1, 2),
        "x_no_entry": None,
        "../x": celebvhq_entry(GOOD, 1, 2),
    }
    expected = {f"x_{reason}": f"bad_metadata:{reason}" for reason in (*BAD, "no_entry")}
    assert problems(celebvhq(tmp_path, clips)) == {
        **expected,
        "good": None,
        "../x": "bad_metadata:key",
    }


def test_known_faults_of_emotions_cost_no_clip(tmp_path):
    parts = [
        ("happy", -1, 2),
        ("fear", 1, 1),
        ("Sadness", 0, 1),
        ("anger", 0.5, 9),
        ("neutral", 7, 8),
    ]
    labels = [{"emotion": name, "start_sec": start, "end_sec": end} for name, start, end in parts]
    labelled = attributes(emotion={"sep_flag": True, "labels": labels})
    (entry,) = celebvhq(
        tmp_path, {"a_0": celebvhq_entry(GOOD, 1, 5, attributes=labelled)}
    ).entries()
    assert entry.labels == ("look1", "act34", "emotion:anger", "emotion:sadness")


def test_the_published_layout_is_read(media):
    good = CelebVHQ(raw="raw", metadata=str(media / "meta" / "celebvhq_format_synthetic.json"))
    assert set(problems(good).values()) == {None} and good.count() == 20
    first = next(good.entries())
    assert (first.id, first.video, first.span) == (
        "-SYNTHETIC0_0_0",
        "-SYNTHETIC0",
        (95.19, 106.37),
    )
    assert first.box == (0.3634, 0.0, 0.6412, 0.9181)
    assert first.labels[:2] == ("blurry", "oval_face") and first.labels[-2:] == (
        "emotion:happy",
        "emotion:neutral",
    )
    bad = CelebVHQ(raw="raw", metadata=str(media / "meta" / "celebvhq_format_bad_entries.json"))
    assert {
        name: (problem or "").removeprefix("bad_metadata:")
        for name, problem in problems(bad).items()
    } == {
        "bad_end_before_start_0": "end_before_start",
        "bad_bbox_inverted_0": "box_inverted",
        "bad_bbox_above_one_0": "box_outside",
        "bad_bbox_missing_side_0": "box_incomplete",
        "bad_no_attributes_0": "attributes",
        "bad_appearance_39_long_0": "appearance",
        "bad_number_as_text_0": "duration_no_number",
        "bad_sep_flag_true_but_text_0": "emotion",
        "bad_null_duration_0": "duration",
        "../bad_path_in_key_0": "key",
        "bad_shell_in_id_0": "video_id",
    }


def test_the_known_part_of_the_text_files_is_read(media):
    source = VFHQ(raw="raw", metadata=str(media / "meta" / "vfhq_format_synthetic"))
    found = {entry.id: entry for entry in source.entries()}
    assert {
        e.id.split("+")[1]: (e.problem or "").removeprefix("bad_metadata:")
        for e in found.values()
        if e.problem
    } == {
        "BADBOXOUT01": "box_outside",
        "BADNOFPS001": "no_fps",
        "BADORDER001": "frame_order",
    }
    entry = found["Clip+SYNTHETIC01+P0+C0+F1537-1825"]
    assert (entry.span, entry.fps, entry.size, entry.box) == (
        (1538, 1824),
        29.97,
        (1920, 1080),
        (496, 30, 1210, 744),
    )
    assert [video for video in source.videos()] == ["-SYNTHETIC2", "SYNTHETIC01", "_SYNTHETIC3"]
    assert len(source.videos()["SYNTHETIC01"]) == 3 == source.count() - 5


# --- VFHQ

NAME = f"Clip+{GOOD}+P0+C0+F10-200"
FAULTS = {
    "name": ("Clip+a+b+c", vfhq_text(GOOD)),
    "video_id": ("Clip+../../passwd+P0+C0+F10-200", vfhq_text(GOOD)),
    "frame_order": (f"Clip+{GOOD}+P0+C0+F10-11", vfhq_text(GOOD)),
    "other_video": (NAME, vfhq_text(DASH)),
    "no_fps": (NAME, vfhq_text(GOOD).replace("FPS", "PFS")),
    "fps": (NAME, vfhq_text(GOOD, fps=0)),
    "fps_no_number": (NAME, vfhq_text(GOOD, fps=float("inf"))),
    "no_size": (NAME, vfhq_text(GOOD).replace("H: ", "X: ")),
    "size": (NAME, vfhq_text(GOOD, size=(1280, -720))),
    "size_no_number": (NAME, vfhq_text(GOOD, size=("wide", 720))),
    "no_box": (NAME, vfhq_text(GOOD).replace("CROP", "CORP")),
    "box_inverted": (NAME, vfhq_text(GOOD, box=(500, 10, 100, 500))),
    "box_outside": (NAME, vfhq_text(GOOD, box=(10, 10, 1281, 500))),
    "box_no_number": (NAME, vfhq_text(GOOD, box=(10, "nan", 100, 500))),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_every_fault_of_a_text_has_its_reason(reason):
    name, text = FAULTS[reason]
    assert entry_of(name, text.encode()).problem == f"bad_metadata:{reason}"


def test_a_text_of_many_frames_is_read_by_its_ends():
    text = vfhq_text(GOOD, 23.976, (1, 2, 700, 701), frames=3000)
    entry = entry_of(NAME, text.encode())
    assert (entry.problem, entry.span, entry.fps, entry.box) == (
        None,
        (11, 199),
        23.976,
        (1, 2, 700, 701),
    )


def test_texts_in_a_zip_come_in_order_of_their_names_whatever_theirs_is(tmp_path):
    names = [f"Clip+{video}+P0+C{n}+F10-200" for video in (GOOD, DASH, BAR) for n in range(3)]
    random.Random(1).shuffle(names)
    with zipfile.ZipFile(tmp_path / "meta.zip", "w") as file:
        for index, name in enumerate(names):
            file.writestr(f"part{index % 2}/{name}.txt", vfhq_text(name.split("+")[1]))
            file.writestr(f"__MACOSX/._{name}.txt", b"\0")
        file.writestr(f"../{NAME}9.txt", "outside")
        file.writestr(f"{NAME}8.txt", b"0" * (texts.MAX_BYTES + 1), zipfile.ZIP_DEFLATED)
    source = VFHQ(raw="raw", metadata=str(tmp_path / "meta.zip"))
    found = problems(source)
    good = [name for name, problem in found.items() if problem is None]
    assert good == sorted(names)
    assert found[f"{NAME}9"] == "bad_metadata:unsafe_name"
    assert found[f"{NAME}8"] == "bad_metadata:too_large"


def test_a_damaged_text_costs_only_its_clip(tmp_path):
    other = f"Clip+{DASH}+P0+C0+F10-200"
    source = vfhq(tmp_path, {NAME: vfhq_text(GOOD), other: vfhq_text(DASH)})
    data = (tmp_path / "meta_info.zip").read_bytes()
    at = data.index(b"Video ID: " + GOOD.encode())
    (tmp_path / "meta_info.zip").write_bytes(data[:at] + b"?" + data[at + 1 :])
    assert problems(source) == {NAME: "bad_metadata:damaged", other: None}


# --- both


def test_ids_of_every_kind_are_planned_or_refused_and_stay_in_the_folder(tmp_path):
    names = [GOOD, DASH, BAR, *ODD]
    clips = {f"{name}_{i}": celebvhq_entry(name, 1, 2) for i, name in enumerate(names)}
    source = celebvhq(tmp_path, clips)
    assert [entry.problem is None for entry in source.entries()] == [True] * 3 + [False] * len(ODD)
    planned = list(source.plan())
    assert len({clip.key.lower() for clip in planned}) == len(planned)
    assert all(
        is_key(clip.key) and len(clip.key) <= 84 and ".." not in clip.source["path"]
        for clip in planned
    )
    assert [clip.group for clip in planned][:3] == [f"youtube:{name}" for name in names[:3]]
    for name in ODD:
        with pytest.raises(ValueError):
            safe_name(name)
        assert source.video_path(name) is None


def test_safe_names_are_no_options_and_collide_on_no_disk():
    names = [DASH, BAR, GOOD, GOOD.upper(), GOOD.lower(), GOOD.swapcase()]
    safe = [safe_name(name) for name in names]
    assert len({name.lower() for name in safe}) == len(names)
    assert all(re.fullmatch(r"v_[\w-]{11}-[0-9a-f]{8}", name) for name in safe)


def test_a_second_entry_of_an_id_is_refused(tmp_path):
    path = celebvhq_json(
        tmp_path / "a.json", {"a_0": celebvhq_entry(GOOD, 1, 2), "b_0": celebvhq_entry(GOOD, 1, 2)}
    )
    path.write_text(path.read_text().replace("b_0", "a_0"))
    source = CelebVHQ(raw="raw", metadata=str(path))
    assert problems(source) == {"a_0": None, "a_0#2": "bad_metadata:repeated_id"}
    assert len({clip.key for clip in source.plan()}) == 2


def test_raw_files_are_found_by_safe_name_and_copies_by_id(tmp_path):
    mine = tmp_path / "mine" / "sub"
    mine.mkdir(parents=True)
    (mine / f"{DASH}.webm").touch()
    (mine / f"A talk [with] brackets [{BAR}].mkv").touch()
    (mine / f"{GOOD}.txt").touch()
    source = celebvhq(tmp_path, {"a_0": celebvhq_entry(GOOD, 1, 2)}, local=str(tmp_path / "mine"))
    assert source.video_path(GOOD) is None
    assert source.video_path(DASH) == mine / f"{DASH}.webm"
    assert source.video_path(BAR) == mine / f"A talk [with] brackets [{BAR}].mkv"
    for name in (GOOD, DASH):
        (tmp_path / f"{safe_name(name)}.mp4").touch()
        assert source.video_path(name) == tmp_path / f"{safe_name(name)}.mp4"
    (tmp_path / f"{safe_name(BAR)}.mp4.part").touch()
    assert source.video_path(BAR).suffix == ".mkv"


def test_who_opted_out_is_left_out_by_video_or_clip(tmp_path):
    (tmp_path / "out.txt").write_text(
        f"\ufeff# asked by mail\r\n{DASH}  # all of it\r\n\r\nb_0\r\n"
    )
    assert ids_in(tmp_path / "out.txt", "opt_out") == {DASH, "b_0"}
    clips = {
        "a_0": celebvhq_entry(DASH, 1, 2),
        "b_0": celebvhq_entry(GOOD, 1, 2),
        "b_1": celebvhq_entry(GOOD, 1, 2),
    }
    clips["c_0"] = celebvhq_entry(DASH, 2, 1)
    source = celebvhq(tmp_path, clips, opt_out=str(tmp_path / "out.txt"))
    removed = dict.fromkeys(["a_0", "b_0", "c_0"], "removed:opted_out")
    assert problems(source) == {**removed, "b_1": None}
    assert list(source.videos()) == [GOOD]


def test_a_link_is_no_id(tmp_path):
    (tmp_path / "out.txt").write_text(f"{GOOD}\nhttps://www.youtube.com/watch?v=abcdefghijk\n")
    with pytest.raises(UserError, match="names a link"):
        ids_in(tmp_path / "out.txt", "opt_out")


def test_what_is_missing_says_what_to_fetch(tmp_path):
    with pytest.raises(UserError, match="is not here: fetch celebvhq_info.json from https://"):
        CelebVHQ(raw="raw", metadata=str(tmp_path / "no.json")).count()
    with pytest.raises(UserError, match="is not here: fetch VFHQ's meta_info.zip"):
        VFHQ(raw="raw", metadata=str(tmp_path / "no.zip")).count()
    with pytest.raises(UserError, match="holds no text files"):
        VFHQ(raw="raw", metadata=str(tmp_path)).count()
    with pytest.raises(UserError, match="holds no zip archives"):
        VFHQ(raw="raw", frames=str(tmp_path)).count()
    (tmp_path / "a.zip").write_bytes(b"PK")
    for options in (dict(metadata=str(tmp_path / "a.zip")), dict(frames=str(tmp_path))):
        with pytest.raises(UserError, match="a.zip is not a complete zip archive"):
            VFHQ(raw="raw", **options).count()
    for options in (
        dict(min_side="1"),
        dict(margin=-1),
        dict(crf=60),
        dict(local="no"),
        dict(opt_out="no"),
    ):
        with pytest.raises(UserError, match=next(iter(options))):
            CelebVHQ(raw="raw", **options)


def test_keys_tell_apart_what_looks_alike():
    names = ["a/b", "a//b", "a-b", "a_b", "Clip+a-b", "", "é", "ü", "x" * 300, "x" * 301, "\ud800"]
    keys = [key_for(dataset, name) for dataset in ("celebvhq", "vfhq") for name in names]
    assert len(set(keys)) == len(keys) and all(map(is_key, keys))
    assert max(map(len, keys)) + len("-000") <= 88


def test_plan_and_videos_agree_with_the_entries(tmp_path):
    clips = {
        f"{v}_{i}": celebvhq_entry(v, i, i + 1) for i, v in enumerate([GOOD, DASH, GOOD, BAR, GOOD])
    }
    source = celebvhq(tmp_path, clips)
    ids = [entry.id for entry in source.entries()]
    assert ids == list(clips) == [clip.source["id"] for clip in source.plan()]
    assert {v: [e.id for e in es] for v, es in source.videos().items()} == {
        v: [name for name in ids if name.startswith(v)] for v in (GOOD, DASH, BAR)
    }
    assert all(
        clip.rights["license"] and "internal" in clip.rights["terms"] for clip in source.plan()
    )


def test_the_day_on_which_a_video_was_fetched_is_in_its_rights(tmp_path):
    lines = [
        {
            "video": "abcdefghijk",
            "outcome": "kept",
            "how": "fetched",
            "at": "2026-11-02T23:59:59+00:00",
        },
        {"video": "abcdefghijk", "outcome": "dropped", "at": "2026-11-05T00:00:00+00:00"},
        {
            "video": "bbcdefghijk",
            "outcome": "kept",
            "how": "found",
            "at": "2026-11-02T00:00:00+00:00",
        },
        {"video": "cbcdefghijk", "outcome": "kept", "how": "fetched", "at": "someday"},
    ]
    (tmp_path / "manifest.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"video": "dbc'
    )
    assert retrieved(tmp_path) == {"abcdefghijk": "2026-11-02"}
    assert retrieved(tmp_path / "nowhere") == {}
