"""From a dataset's list and raw files to shards: the right frames, with their rights; what is lost
is in the books.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from datagen.media import video
from datagen.sources.listed.base import safe_name
from tests import faults
from tests.fakes.lists import celebvhq, celebvhq_entry, vfhq, vfhq_text

VIDEO, ABSENT, REMOVED = "-_talking_-", "absent_____", "do_not_use_"
FRAMES = {f"Clip+{VIDEO}+P0+C0+F0-29": range(1, 29), f"Clip+{VIDEO}+P0+C1+F30-59": range(31, 59)}
BOX = (64, 128, 576, 640)
BOOKS = "planned 5 = kept 2 + filtered 1 + invalid 2 + failed 0"


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory) -> Path:
    """A raw file, in which a person talks in part of the picture, and VFHQ's list, in which not all
    is well.
    """
    folder = tmp_path_factory.mktemp("vfhq")
    step = np.arange(60) - 30

    def placed(rgb: np.ndarray, index: int) -> np.ndarray:
        picture = np.full((640, 640, 3), 90, np.uint8)
        picture[128:640, 64:576] = faults.numbered(rgb, index)
        return picture

    motion = faults.poses(
        60, mouth=0.5 + 0.4 * np.sin(step), head_yaw=0.3 * step, gaze_yaw=np.sin(step / 5) * 10
    )
    faults.film(folder / f"{safe_name(VIDEO)}.mp4", 3, motion, placed)
    texts = {name: vfhq_text(VIDEO, 25.0, BOX, (640, 640)) for name in FRAMES}
    texts |= {
        f"Clip+{name}+P0+C0+F0-29": vfhq_text(name, 25.0, BOX, (640, 640))
        for name in (ABSENT, REMOVED)
    }
    texts[f"Clip+{VIDEO}+P0+C2+F9-8"] = vfhq_text(VIDEO)
    vfhq(folder, texts)
    (folder / "out.txt").write_text(f"{REMOVED}\n")
    return folder


@pytest.fixture(scope="module")
def shards(downloaded, store, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("shards")
    ended = faults.call("datagen.shards", *words(downloaded), "--store", store, "--output", output)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert BOOKS in lines
    for lost in ("filtered      1  removed:opted_out", "invalid       1  not_downloaded"):
        assert f"  {lost}" in lines
    assert "  invalid       1  bad_metadata:frame_order" in lines
    assert lines[-1].startswith(
        "clips not downloaded yet: 1; `python -m datagen.download source=vfhq`"
    )
    return output


def words(folder: Path) -> list[str]:
    paths = {"raw": folder, "metadata": folder / "meta_info.zip", "opt_out": folder / "out.txt"}
    return [
        "source=vfhq",
        "select=sample",  # the raw file shows people who are drawn
        "--runner",
        "local",
        *(f"source.{name}={path}" for name, path in paths.items()),
    ]


def test_the_shards_hold_the_listed_frames_and_say_whose_they_are(shards, tmp_path):
    samples = {
        json.loads(fields["json"])["source"]["id"]: fields
        for fields in faults.samples(shards).values()
    }
    assert samples.keys() == FRAMES.keys()
    metadata_of = {name: json.loads(fields["json"]) for name, fields in samples.items()}
    for name, frames in FRAMES.items():
        path = tmp_path / "clip.mp4"
        path.write_bytes(samples[name]["mp4"])
        assert [faults.number_of(rgb) for rgb in video.frames(path)] == list(frames)
        assert metadata_of[name]["source"]["video"] == VIDEO and metadata_of[name]["source"][
            "span"
        ] == [
            frames[0],
            frames[-1],
        ]
        assert metadata_of[name]["source"]["cut"]["size"] == [640, 640]
        assert metadata_of[name]["source"]["cut"]["region"] == [64, 128, 512, 512]
        assert (
            "non-commercial" in metadata_of[name]["rights"]["license"]
            and "internal" in metadata_of[name]["rights"]["terms"]
        )
    (rights,) = json.loads((shards / "index.json").read_bytes())["rights"]
    assert (
        rights["samples"] == len(metadata_of)
        and "non-commercial" in rights["license"]
        and "internal" in rights["terms"]
    )
    assert {json_["group"] for json_ in metadata_of.values()} == {
        metadata_of[name]["group"] for name in FRAMES
    }
    assert len({json_["split"] for json_ in metadata_of.values()}) == 1
    assert len({json_["source"]["sha256"] for json_ in metadata_of.values()}) == 2


def test_without_the_raw_file_what_was_cut_before_is_enough(shards, downloaded, store, tmp_path):
    shutil.copytree(downloaded, tmp_path / "raw")  # with dates, so it is the same file
    source = vfhq_of(tmp_path / "raw")
    outcomes = {entry.id: source.keep(entry) for entry in source.videos()[VIDEO]}
    assert outcomes == dict.fromkeys(FRAMES, "done")
    (tmp_path / "raw" / f"{safe_name(VIDEO)}.mp4").unlink()
    run = (*words(tmp_path / "raw"), "--output", tmp_path / "out")
    again = faults.call("datagen.shards", *run, "--store", store)
    assert BOOKS in again.out.splitlines() and faults.computed(store) == {}
    assert faults.contents(tmp_path / "out") == faults.contents(shards)
    # and in another store, which has nothing yet
    clips = {clip.source["id"]: clip for clip in source.plan()}
    for index, name in enumerate(FRAMES):
        (tmp_path / str(index)).mkdir()
        artifact = source.stage()(clips[name], tmp_path / str(index))
        assert [faults.number_of(rgb) for rgb in video.frames(artifact.path)] == list(FRAMES[name])
    assert not list((tmp_path / "raw").rglob("*.part"))


def test_what_was_cut_with_other_options_is_not_taken_but_a_filter_only_filters(
    downloaded, tmp_path
):
    shutil.copytree(downloaded, tmp_path / "raw")
    source = vfhq_of(tmp_path / "raw", min_side=600)
    entry = source.videos()[VIDEO][0]
    assert source.keep(entry) == "done"
    (tmp_path / "raw" / f"{safe_name(VIDEO)}.mp4").unlink()
    clip = source.clip(entry)
    with pytest.raises(Exception, match="small_picture: .* is 512 px, at least 600"):
        source.stage()(clip, tmp_path)
    assert vfhq_of(tmp_path / "raw").stage()(clip, tmp_path).metrics["cut"]["side"] == 512
    with pytest.raises(Exception, match="not_downloaded"):
        vfhq_of(tmp_path / "raw", crf=20).stage()(clip, tmp_path)


def test_a_cut_that_somebody_removed_is_not_here(downloaded, tmp_path):
    shutil.copytree(downloaded, tmp_path / "raw")
    source = vfhq_of(tmp_path / "raw")
    entry = source.videos()[VIDEO][0]
    assert source.keep(entry) == "done"
    (tmp_path / "raw" / f"{safe_name(VIDEO)}.mp4").unlink()
    (cut,) = (tmp_path / "raw" / "cuts").glob("*.mp4")
    cut.unlink()
    with pytest.raises(Exception, match="not_downloaded"):
        source.stage()(source.clip(entry), tmp_path)


def test_the_same_seconds_in_the_other_dataset_are_the_same_clip(downloaded, tmp_path):
    """Same video, frames and square: the same file, and the same group."""
    box = {"left": 0.12, "right": 0.88, "top": 0.22, "bottom": 1.0}  # the square less what is added
    shutil.copytree(downloaded, tmp_path / "raw")
    other = celebvhq(tmp_path / "raw", {f"{VIDEO}_0": celebvhq_entry(VIDEO, 0.04, 1.16, bbox=box)})
    cuts = []
    for source in (vfhq_of(tmp_path / "raw"), other):
        clip = next(clip for clip in source.plan() if "problem" not in clip.source)
        (tmp_path / source.name).mkdir()
        artifact = source.stage()(clip, tmp_path / source.name)
        cuts.append((artifact.path.read_bytes(), artifact.metrics, clip.group))
    assert cuts[0] == cuts[1]
    options = [
        f"source.raw={tmp_path / 'raw'}",
        f"source.metadata={tmp_path / 'raw' / 'celebvhq_info.json'}",
    ]
    dry = faults.call(
        "datagen.shards", "source=celebvhq", *options, "--store", tmp_path / "s", "--dry-run"
    )
    assert (
        dry.out.splitlines()[-1]
        == "planned 1 = kept 0 + filtered 0 + invalid 0 + failed 0 + pending 1"
    )


def test_a_listed_clip_may_become_one_clip_for_each_shot(downloaded, tmp_path):
    dry = faults.call(
        "datagen.shards",
        *words(downloaded),
        "source.shots=true",
        "--store",
        tmp_path / "s",
        "--dry-run",
    )
    assert "shots           0 there        3 to make" in dry.out.splitlines()


def vfhq_of(folder: Path, **options):
    from datagen.sources.vfhq import VFHQ

    return VFHQ(
        raw=str(folder),
        metadata=str(folder / "meta_info.zip"),
        opt_out=str(folder / "out.txt"),
        **options,
    )
