"""The whole journey from raw video to shards: same bytes whatever happens on the way, nothing lost,
nothing left over.

Most tests share one store and the shards of one small sample (tests/faults); those that kill have a
copy of their own.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from datagen.engine.ledger import read_ledger
from datagen.media import video
from datagen.verify import problems
from datagen.vision.landmarks import FaceMesh
from datagen.vision.regions import face_polygon
from datagen.vision.segmentation import split
from tests import faults
from tests.faults import SAMPLE, Run, call, computed, contents, leftovers, run, started, tree, until

KEPT = "planned 2 = kept 2 + filtered 0 + invalid 0 + failed 0"
LEFT = ("swap", "style", "agree")  # stages that are left to do where a run is killed


@pytest.fixture(scope="module")
def films(raw, store, tmp_path_factory) -> Path:
    """Shards of a folder of videos."""
    output = tmp_path_factory.mktemp("films")
    assert call(*FOLDER, f"source.input={raw}", "--store", store, "--output", output).code == 0
    return output


FOLDER = ("datagen.shards", "--runner", "local", "source=folder")


# --- once and again


def test_a_run_leaves_whole_shards_and_nothing_else(sample):
    assert sorted(contents(sample)) == ["index.json", "train-000000.tar", "train-000001.tar"]
    assert list(problems(sample)) == []
    index = json.loads((sample / "index.json").read_bytes())
    assert index["books"] == {
        "planned": 2,
        "kept": 2,
        "filtered": 0,
        "invalid": 0,
        "failed": 0,
        "reasons": {},
    }
    assert index["rejects"] == []


def test_a_second_run_computes_nothing_and_touches_no_file(sample, store):
    before = tree(sample)
    again = run("datagen.shards", *SAMPLE, "--store", store, "--output", sample)
    assert again.code == 0, again.err
    assert again.out.splitlines() == [
        KEPT,
        f"{sample}: 2 shards, train 2, val 0 samples, 2 s of video",
    ]
    assert tree(sample) == before
    assert computed(store) == {}


def test_another_order_of_files_gives_the_same_shards(films, raw, store, tmp_path, monkeypatch):
    other, output = tmp_path / "raw", tmp_path / "out"
    for path in sorted((p for p in raw.rglob("*") if p.is_file()), reverse=True):
        (other / path.relative_to(raw)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, other / path.relative_to(raw))
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda top: reversed([(at, dirs, names[::-1]) for at, dirs, names in walk(top)])
    )
    again = call(*FOLDER, f"source.input={other}", "--store", store, "--output", output)
    assert (
        "computed 3 artifacts" in again.out
    )  # files at another place are read again, and found to be the same
    assert contents(output) == contents(films)


# --- what is recomputed


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("mask.person_threshold=0.6", {"mask": 1}),
        ("gaze.open_share=0.6", {"gaze": 1}),
        ("style.looks=[chalk]", {"style": 1, "agree": 1}),
        ("swap.seed=3", {"swap": 1, "agree": 1}),
        ("select.rules=[{reason: a, metric: faces.coverage, least: 0}]", {}),
    ],
)
def test_an_option_recomputes_its_stage_and_the_descendants_alone(
    change, stages, sample, store, tmp_path
):
    words = (
        *SAMPLE,
        "--limit",
        "1",
        "--runner",
        "local",
        "--store",
        store,
        "--output",
        tmp_path / "out",
        change,
    )
    plan = _plan(call("datagen.shards", *words, "--dry-run"))
    assert call("datagen.shards", *words).code == 0
    assert computed(store) == stages
    assert plan == stages


def test_another_rule_chooses_from_what_was_measured(sample, store, tmp_path):
    rule = "select.rules=[{reason: stares, metric: gaze.amplitude_deg, least: 10}]"
    out = call("datagen.shards", *SAMPLE, "--store", store, "--output", tmp_path / "out", rule)
    assert "  filtered      1  stares" in out.out.splitlines()
    assert "planned 2 = kept 1 + filtered 1 + invalid 0 + failed 0" in out.out.splitlines()
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    assert [(r["key"], r["reason"]) for r in index["rejects"]] == [
        ("sample-0000-person00-talk", "stares")
    ]
    assert computed(store) == {}


def test_a_dry_run_writes_nothing_and_says_what_a_run_makes(raw, tmp_path):
    words = (
        *FOLDER,
        f"source.input={raw}",
        "--store",
        tmp_path / "store",
        "--output",
        tmp_path / "out",
        "--dry-run",
    )
    before = tree(raw)
    dry = call(*words)
    assert (dry.code, _plan(dry)) == (0, {"source": 3, "shots": 3})
    assert (
        dry.out.splitlines()[-1]
        == "planned 3 = kept 0 + filtered 0 + invalid 0 + failed 0 + pending 3"
    )
    assert list(tmp_path.iterdir()) == []
    assert tree(raw) == before


# --- the same moments


def test_twins_mask_and_points_of_a_frame_are_of_the_same_moment(films, tmp_path):
    sample = next(fields for key, fields in faults.samples(films).items() if key.startswith("one-"))
    streams = {}
    for field in ("mp4", "swapped.mp4", "styled.mp4", "mask.mp4"):
        (tmp_path / field).write_bytes(sample[field])
        streams[field] = np.stack(list(video.frames(tmp_path / field)))
    count = json.loads(sample["json"])["frames"]
    for field in ("mp4", "swapped.mp4", "styled.mp4"):
        assert [faults.number_of(rgb) for rgb in streams[field]] == list(range(count)), field

    with np.load(io.BytesIO(sample["faces.npz"]), allow_pickle=False) as faces:
        points = faces["landmarks"]
    mesh = FaceMesh()
    alone = np.stack([_points(mesh, rgb) for rgb in streams["mp4"]])
    distances = np.linalg.norm(points[:, None] - alone[None], axis=-1).mean(-1)
    assert np.abs(distances.argmin(1) - np.arange(count)).max() <= 1  # neighbours are much alike

    masks = split(streams["mask.mp4"][..., 0])[1][:, ::2, ::2]
    ovals = np.stack([face_polygon(masks.shape[1:], p / 2) for p in alone])
    overlaps = np.array([[(a & b).sum() / (a | b).sum() for b in masks] for a in ovals])
    assert np.abs(overlaps.argmax(1) - np.arange(count)).max() <= 1


# --- interruptions: byte for byte the same shards


@dataclass(frozen=True)
class Harmed:
    """A run on Ray whose worker was killed at work, and what a second run on its store was told
    meanwhile.
    """

    output: Path
    store: Path
    code: int
    log: str
    second: Run


@pytest.fixture(scope="module")
def harmed(store, tmp_path_factory) -> Harmed:
    home = tmp_path_factory.mktemp("harmed")
    begun, output, log = _begun(store, home), home / "out", home / "log"
    words = (*SAMPLE, "--workers", "1", "--store", begun)
    with started(log, "datagen.shards", *words, "--output", output) as driver:
        _at_work(driver, begun)
        second = call("datagen.shards", *words, "--output", home / "second")
        (worker,) = until(lambda: faults.workers(driver.pid))
        worker.kill()
        until(lambda: [w for w in faults.workers(driver.pid) if w.pid != worker.pid])
        code = driver.wait(timeout=300)
    return Harmed(output, begun, code, log.read_text(), second)


def test_a_killed_worker_costs_nothing(harmed, sample):
    assert harmed.code == 0, harmed.log
    assert KEPT in harmed.log
    assert contents(harmed.output) == contents(sample)
    assert leftovers(harmed.store, harmed.output) == []


def test_a_second_run_on_a_store_is_refused(harmed):
    assert harmed.second.code == 2
    assert f"{harmed.store} is in use by another run" in harmed.second.sentence
    assert not (harmed.output.parent / "second" / "index.json").exists()


def test_a_killed_run_goes_on_where_it_was(sample, store, tmp_path):
    """Here in this process, with the other runner; on Ray see tests/faults."""
    begun = _begun(store, tmp_path)
    words = (*SAMPLE, "--store", begun, "--output", tmp_path / "out")
    with started(tmp_path / "log", "datagen.shards", *words, "--workers", "2") as driver:
        _at_work(driver, begun)
        family = psutil.Process(driver.pid).children(recursive=True)
        assert faults.workers(driver.pid)
        driver.kill()
    done = sum(len(list(begun.glob(f"{stage}/*/*/done.json"))) for stage in LEFT)
    again = call("datagen.shards", *words, "--runner", "local")
    assert again.code == 0, again.err
    assert again.out.startswith("the last run was cut off: planned 2 = kept ")
    assert contents(tmp_path / "out") == contents(sample)
    assert 0 < sum(computed(begun).values()) <= 2 * len(LEFT) - done
    assert leftovers(begun, tmp_path / "out") == []
    until(lambda: not faults.alive(family), seconds=60)


def test_half_written_files_of_a_killed_run_are_cleared_away(sample, store, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(sample, output)
    (output / ".train-000000.tar.0123abcd.part").write_bytes(b"half")
    (output / ".index.json.0123abcd.part").write_bytes(b"half")
    assert call("datagen.shards", *SAMPLE, "--store", store, "--output", output).code == 0
    assert leftovers(output) == []
    assert contents(output) == contents(sample)


# --- the disk


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB: too small for the first video of the sample."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_below_the_shards_is_one_sentence(small_disk, sample, store, tmp_path):
    shutil.copytree(store, tmp_path / "store")
    ended = call(
        "datagen.shards", *SAMPLE, "--store", tmp_path / "store", "--output", small_disk / "out"
    )
    assert ended.code == 2
    assert "the disk is full" in ended.sentence
    assert contents(small_disk / "out") == {}


def test_a_full_disk_below_the_store_is_one_sentence(small_disk, tmp_path):
    words = (
        *SAMPLE,
        "--runner",
        "local",
        "--store",
        small_disk / "store",
        "--output",
        tmp_path / "out",
    )
    ended = call("datagen.shards", *words)
    assert ended.code == 2
    assert "the disk is full" in ended.sentence
    assert leftovers(small_disk / "store") == []
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("output", ["/proc/x", "file/out"])
def test_an_unwritable_output_is_one_sentence(output, sample, store, tmp_path):
    (tmp_path / "file").write_text("a file")
    ended = call("datagen.shards", *SAMPLE, "--store", store, "--output", tmp_path / output)
    assert ended.code == 2
    assert f"cannot write to {tmp_path / output}" in ended.sentence


# --- real footage

BAD = {
    "audio_longer_than_video.mp4": ("kept", ""),
    "audio_only.mp4": ("invalid", "no_video"),
    "black.mp4": ("filtered", "no_face"),
    "corrupted_middle.mp4": ("invalid", "damaged"),
    "noface_landscape.mp4": ("filtered", "no_face"),
    "odd_511x383_vp9.mp4": ("kept", ""),
    "one_frame.mp4": ("filtered", "too_short"),
    "rotated_90_metadata.mp4": ("kept", ""),
    "ten_bit_h264.mp4": ("kept", ""),
    "text_renamed.mp4": ("invalid", "unreadable"),
    "truncated_faststart.mp4": ("invalid", "damaged"),
    "variable_frame_rate.mp4": ("kept", ""),
    "zero_byte.mp4": ("invalid", "empty"),
}
FOOTAGE = [
    ("c01_bookshelf_talk_1682x1538.mp4", "kept", ""),
    ("c07_vertical_lake_480x908.mp4", "kept", ""),
    ("c13_four_face_strip_2056x516.mp4", "filtered", "several_faces"),
    ("c15_squats_5fps_720x1280.mp4", "filtered", "small_face"),
    ("c15_squats_5fps_720x1280.mp4", "filtered", "small_face"),
    ("c17_hand_before_face_1280x720.mp4", "kept", ""),
]


def test_every_awkward_file_ends_with_the_fitting_reason(media, tmp_path):
    words = (
        "--input",
        media / "bad",
        "--runner",
        "local",
        "--store",
        tmp_path / "store",
        "--output",
        tmp_path / "out",
    )
    ended = call("datagen.clips", *words)
    assert ended.code == 0
    assert _endings(tmp_path / "store") == [(name, *ending) for name, ending in BAD.items()]
    assert ended.out.splitlines()[-2] == "planned 13 = kept 5 + filtered 3 + invalid 5 + failed 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "endings"),
    [("bad", [(name, *ending) for name, ending in BAD.items()]), ("clips", FOOTAGE)],
)
def test_real_footage_becomes_shards(folder, endings, media, tmp_path):
    output = tmp_path / "out"
    words = (
        "source=folder",
        f"source.input={media / folder}",
        "--store",
        tmp_path / "store",
        "--output",
        output,
    )
    ended = run("datagen.shards", *words)
    assert ended.code == 0, ended.err
    assert _endings(tmp_path / "store") == endings
    assert list(problems(output)) == []
    made = {
        key.rsplit("-", 2)[0]: json.loads(fields["json"])
        for key, fields in faults.samples(output).items()
    }
    assert len(made) == sum(ending == "kept" for _, ending, _ in endings)
    if folder == "clips":
        assert made["c17_hand_before_face_1280x720"]["span"] == [0.4, 6.0]


def _endings(store: Path) -> list[tuple[str, str, str]]:
    """(file, outcome, reason) of all clips of the ledger's one run."""
    clips = [event for event in read_ledger(store / "ledger.jsonl") if event["event"] == "clip"]
    return sorted((clip["source"]["path"], clip["outcome"], clip["reason"]) for clip in clips)


def _begun(store: Path, home: Path) -> Path:
    """A copy of the store in which the stages LEFT are yet to be run."""
    return shutil.copytree(
        store, home / "store", ignore=shutil.ignore_patterns(*LEFT, "ledger.jsonl")
    )


def _at_work(driver: subprocess.Popen, store: Path) -> None:
    """Wait until the run has done the first of the stages LEFT and not yet all that comes after."""
    until(lambda: driver.poll() is not None or list(store.glob(f"{LEFT[0]}/*/*/done.json")))
    assert driver.poll() is None, "it ended too soon"


def _plan(dry: Run) -> dict[str, int]:
    """Stage -> number of artifacts that a dry run says would be made."""
    rows = re.findall(r"^(\w+) +\d+ there +(\d+) to make$", dry.out, re.M)
    return {stage: int(count) for stage, count in rows if int(count)}


def _points(mesh: FaceMesh, rgb: np.ndarray) -> np.ndarray:
    """The face points [478, 2] px of one frame, found without those before."""
    mesh.reset()
    points = mesh(rgb)
    assert points is not None
    return points[:, :2]
