"""Every command over a folder of videos: same shape out, a line for each file, and a story for each
clip.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.media import video
from datagen.sources.rendering.people import donor, portrait
from tests import faults
from tests.conftest import REPOSITORY
from tests.faults import BROKEN, Run, call

SUFFIX = {
    "clips": "mp4",
    "faces": "npz",
    "mask": "mp4",
    "gaze": "npz",
    "swap": "mp4",
    "style": "mp4",
}
README = REPOSITORY / "README.md"


def verb(name: str, raw: Path, store: Path, *words: object) -> Run:
    return call(f"datagen.{name}", "--input", raw, "--store", store, "--runner", "local", *words)


@pytest.mark.parametrize("name", SUFFIX)
def test_a_command_leaves_a_folder_of_the_same_shape(name, raw, store, tmp_path):
    ended = verb(name, raw, store, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    *lines, books, where = ended.out.splitlines()
    assert books == "planned 3 = kept 2 + filtered 0 + invalid 1 + failed 0"
    assert where == f"results are in {tmp_path / 'out'}"
    made = f"one-000.{SUFFIX[name]}", f"sub/two-000.{SUFFIX[name]}"
    assert sorted(line.split(":")[0] for line in lines) == sorted([Path(BROKEN).stem, *made])
    assert next(line for line in lines if line.startswith("broken")).startswith(
        "broken: invalid, unreadable: "
    )
    results = {
        p.relative_to(tmp_path / "out").as_posix()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    views = {path.replace(".npz", ".mp4") for path in made}
    assert results == {*made, *views, *(path.rsplit(".", 1)[0] + ".json" for path in made)}
    for path in results:
        _opens(tmp_path / "out" / path)


def _opens(path: Path) -> None:
    if path.suffix == ".mp4":
        probe = video.probe(path)
        assert (probe.width, probe.height, probe.fps, probe.seconds) == (
            512,
            512,
            25,
            pytest.approx(28 / 25),
        )
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            assert file["landmarks"].shape[:2] == (28, 478)
    else:
        assert json.loads(path.read_text())


def test_results_lie_beside_the_input_and_a_second_time_nothing_changes(raw, store, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    first = verb("clips", tmp_path / "raw", store)
    assert first.out.splitlines()[-1] == f"results are in {tmp_path / 'raw-clips'}"
    before = faults.tree(tmp_path / "raw-clips")
    assert verb("clips", tmp_path / "raw", store) == first
    assert faults.tree(tmp_path / "raw-clips") == before


def test_a_file_that_differs_is_replaced_only_when_asked(raw, store, tmp_path):
    (tmp_path / "one-000.mp4").write_text("mine")
    refused = verb("clips", raw, store, "--output", tmp_path)
    assert refused.code == 2
    assert f"{tmp_path / 'one-000.mp4'} exists and differs: add --overwrite" in refused.sentence
    assert (tmp_path / "one-000.mp4").read_text() == "mine"
    assert verb("clips", raw, store, "--output", tmp_path, "--overwrite").code == 0
    _opens(tmp_path / "one-000.mp4")


def test_a_dry_run_writes_nothing(raw, tmp_path):
    ended = verb("swap", raw, tmp_path / "store", "--output", tmp_path / "out", "--dry-run")
    assert ended.code == 0
    assert list(tmp_path.iterdir()) == []


# --- donors


@pytest.fixture
def donors(tmp_path) -> Path:
    (tmp_path / "donors").mkdir()
    return tmp_path / "donors"


def test_the_face_of_a_donor_folder_is_put_in(raw, store, donors, tmp_path):
    cv2.imwrite(str(donors / "her.png"), portrait(donor(2))[..., ::-1])
    ended = verb("swap", raw, store, "--donors", donors, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    for name in ("one-000", "sub/two-000"):
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["donor"] == "her.png"


@pytest.mark.parametrize(
    ("pictures", "sentence"),
    [([], "holds no picture"), (["wall.png"], "wall.png shows no face")],
)
def test_a_donor_folder_without_faces_is_one_sentence(
    pictures, sentence, raw, store, donors, tmp_path
):
    for name in pictures:
        cv2.imwrite(str(donors / name), np.full((256, 256, 3), 128, np.uint8))
    ended = verb("swap", raw, store, "--donors", donors, "--output", tmp_path / "out")
    assert ended.code == 2
    assert sentence in ended.sentence
    assert not (tmp_path / "out").exists()


# --- looking after it


def test_why_tells_the_story_of_a_clip(raw, store, tmp_path):
    verb("gaze", raw, store, "--output", tmp_path)
    kept = call("datagen.why", "one-", "--store", store)
    assert kept.code == 0
    key, where, *stages, end = [
        line for line in kept.out.splitlines() if not line.startswith("  earlier")
    ]
    assert key.startswith("one-") and key.endswith("-000")
    assert where == "  from name folder, path one.mp4, 0.00 to 1.12 s"
    assert [line.split()[0] for line in stages] == ["source", "clips", "faces", "gaze"]
    assert "amplitude_deg" in stages[-1]
    assert end == "  => kept"

    invalid = call("datagen.why", BROKEN, "--store", store)
    assert invalid.code == 0
    assert "  => invalid at shots: unreadable (broken.mp4 is no video file" in invalid.out


def test_why_lists_the_clips_that_fit_and_knows_when_there_is_none(raw, store, tmp_path):
    verb("clips", raw, store, "--output", tmp_path)
    several = call("datagen.why", "o", "--store", store)
    assert re.search(r"^\d clips match 'o':$", several.out, re.M)
    assert re.search(r"^  two-\w+-000: kept$", several.out, re.M)
    nobody = call("datagen.why", "nobody", "--store", store)
    assert nobody.code == 2
    assert "no clip 'nobody'" in nobody.sentence


def test_verify_tells_whole_shards_from_cut_ones(sample, tmp_path):
    shards = sample
    whole = call("datagen.verify", "--input", shards)
    assert (whole.code, whole.out) == (0, f"{shards}: 2 shards with 2 samples are whole.\n")
    shutil.copytree(shards, tmp_path / "cut")
    with (tmp_path / "cut" / "train-000001.tar").open("r+b") as file:
        file.truncate(100 * 1024)
    cut = call("datagen.verify", "--input", tmp_path / "cut")
    assert cut.code == 1
    assert "train-000001.tar" in cut.out


# --- README


def shown_commands() -> list[str]:
    """The lines `python -m ...` of the README's sh blocks, without their comments."""
    blocks = (
        re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.M | re.S) if README.exists() else []
    )
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m ")]


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
def test_the_readme_shows_every_command():
    shown = {line.split()[2] for line in shown_commands()}
    datagen = {
        f"datagen.{name}"
        for name in (
            "shards",
            "stats",
            "why",
            "verify",
            "doctor",
            "download",
            "prepare",
            "weights",
            *SUFFIX,
        )
    }
    model = {f"model.{name}" for name in ("animate", "convert")}
    assert shown == datagen | model | {f"training.{name}" for name in ("fit", "evaluate", "cache")}


@pytest.mark.parametrize("line", shown_commands())
def test_commands_of_the_readme_are_understood(line, capsys):
    """Composed, not run."""
    _, _, module, *words = shlex.split(line)
    ended = call(module, *words, "--cfg", "job")
    assert ended.code == 0, ended.err
    assert re.search(r"^(store|input|output|folder|limit): ", ended.out, re.M), ended.out


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
def test_targets_and_files_of_the_readme_exist():
    text = README.read_text()
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    assert {
        word
        for words in re.findall(r"^make ([a-z ]+?) *(?:#|$)", text, re.M)
        for word in words.split()
    } <= targets
    for name in re.findall(r"`((?:docs|conf)/[\w/.-]+)`", text):
        assert (REPOSITORY / name).exists(), name
