"""Flags are Hydra overrides spelt like flags; mistakes are one sentence and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

from datagen.cli import help_text, overrides, quoted
from tests.conftest import REPOSITORY
from tests.faults import call

COMMANDS = ["shards", "clips", "faces", "mask", "gaze", "swap", "style", "stats", "verify", "why"]
TRAINING = ["fit", "cache", "evaluate", "ablation"]


def run(*words: str, cwd=REPOSITORY) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--input", "raw/"], ["input='raw/'"]),
        (["--input=2024"], ["input='2024'"]),
        (["--dry-run"], ["dry_run=true"]),
        (["--dry-run=false"], ["dry_run=false"]),
        (["--stage.blend", "0.7"], ["stage.blend=0.7"]),
        (["swap=landmark", "+a.b=[1,2]"], ["swap=landmark", "+a.b=[1,2]"]),
        (["--cfg", "job", "-m", "workers=1,2"], ["--cfg", "job", "-m", "workers=1,2"]),
        (["--input", "my raw/it's [1],2.mp4"], [r"input='my raw/it\'s [1],2.mp4'"]),
        (["some-key"], ["key='some-key'"]),
        (["--dry-run", "false", "--workers", "2"], ["dry_run=false", "workers=2"]),
    ],
)
def test_flags_become_overrides(words, expected):
    assert overrides(words, frozenset({"dry_run"}), "key") == expected


def test_pairs_take_two_words():
    words = ["--compare", "a b", "2", "--json"]
    assert overrides(words, frozenset({"json"}), pairs=frozenset({"compare"})) == [
        "compare=['a b','2']",
        "json=true",
    ]


def test_switches_are_truth_values():
    ended = run("datagen.stats", "json=no", "report=1")
    assert ended.returncode == 2
    assert ended.stderr == "error: --json is 'no', --report is 1: true or false is expected.\n"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two words",
        "it's",
        'say "x"',
        "a,b",
        "[1]",
        "{a: 1}",
        "a=b",
        "$x",
        "back\\",
        "ü",
        "a\\'b",
    ],
)
def test_quoted_values_reach_the_program_as_they_are(text):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert override.value() == text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_an_example(name):
    text = help_text(f"datagen/{name}")
    assert f"python -m datagen.{name}" in text
    assert "--" in text
    for line in text.splitlines():
        if line.startswith("  --"):
            assert len(line.split(None, 1)) == 2, line


@pytest.mark.parametrize("name", TRAINING)
def test_help_of_training_names_every_option_and_an_example(name):
    text = help_text(name)
    assert f"python -m training.{name}" in text or f"make {name}" in text
    for line in text.splitlines():
        if line.startswith("  --"):
            assert len(line.split(None, 1)) == 2, line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_pays_for_no_heavy_import(name):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"datagen.{name}", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr[-500:]
    loaded = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert not loaded & {"numpy", "cv2", "av", "torch", "ray", "mediapipe", "hydra"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["datagen.swap"], "missing: --input"),
        (["datagen.swap", "--inptu", "x"], "did you mean input?"),
        (["datagen.swap", "--input"], "--input needs a value"),
        (
            ["datagen.swap", "--input", "nowhere"],
            "nowhere should be a folder of videos, found nothing",
        ),
        (["datagen.swap", "--input", "pyproject.toml"], "found a file"),
        (["datagen.swap", "--input", "conf"], "but no video"),
        (["datagen.shards", "--workers", "0"], "--workers is 0, a whole number from 1 is expected"),
        (["datagen.shards", "--workers", "0", "--limit", "-1", "--runner", "x"], "--limit is -1"),
        (
            ["datagen.shards", "source=fodler"],
            "there is no 'source/fodler'; source can be celebvhq or folder or",
        ),
        (["datagen.shards", "source=folder"], "missing: --source.input"),
        (["datagen.verify", "--input", "nowhere"], "nowhere holds no index.json"),
        (["datagen.shards", "--input", "raw"], "say source=folder source.input=FOLDER"),
        (["datagen.clips", "raw"], "'raw' is no option"),
        (["datagen.shards", "-v"], "'-v' is no option"),
        (
            ["datagen.shards", "source.clips=x", "--dry-run"],
            "clips, people and fps are whole numbers from 1",
        ),
        (["datagen.shards", "--store", "foo://x", "--dry-run"], "--store foo://x"),
        (
            ["datagen.shards", "--workers", "0", "select.val_share=2"],
            "from 1 is expected; select.val_share is 2",
        ),
        (["datagen.shards", "clips.size=511"], "clips.size is 511"),
        (["datagen.shards", "--shard-samples", "0"], "--shard-samples is 0"),
        (
            ["datagen.shards", "select.rules=[{reason: r, metric: clip.x, least: 1}]"],
            "a metric of source, shots, clips, faces",
        ),
        (["datagen.why", "x", "--store", "nowhere"], "nowhere/ledger.jsonl does not exist"),
        (["datagen.swap", "--input", "conf", "--donors", "nowhere"], "conf holds"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    result = run(*words)
    assert result.returncode == 2, result.stderr
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    for name in (
        "_cached_find_gcs_addresses",
        "find_bootstrap_address",
    ):  # there may be somebody else's
        monkeypatch.setattr(f"ray._private.services.{name}", cache(lambda *given: None))
    words = (
        "--limit",
        "1",
        "ray.address=auto",
        "--store",
        tmp_path / "store",
        "--output",
        tmp_path / "out",
    )
    ended = call("datagen.shards", *words)
    assert ended.code == 2 and "Ray (auto) cannot be started or reached" in ended.sentence
