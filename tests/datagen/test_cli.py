"""Flags are Hydra overrides spelt like flags; mistakes are one sentence and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import pytest

from datagen.cli import overrides, quoted
from datagen.options import REQUIRED, mistake, option, options_of
from tests.conftest import REPOSITORY
from tests.faults import call

STAGES = ["clips", "faces", "mask", "gaze", "swap", "style"]
OTHERS = ["shards", "stats", "verify", "why", "doctor", "download", "prepare", "weights"]
COMMANDS = [f"datagen.{name}" for name in STAGES + OTHERS]
MODEL = [f"training.{name}" for name in ("fit", "cache", "evaluate", "ablation")]
MODEL += ["model.animate", "model.convert"]


@dataclass
class Deep:
    after: int = option(5, "troubles")


@dataclass
class Shared:
    dry_run: bool = option(False, "write nothing")
    limit: int | None = option(None, "take only the first N")


@dataclass
class Toy(Shared):
    key: str = option(REQUIRED, "of a clip", positional=True)
    input: str = option("raw", "folder")
    weights: str | None = option(None, "folder of a model")
    compare: tuple[str, str] | None = option(None, "two folders")
    looks: list[str] = option(["ink", "chalk"], "one or more")
    margin: int | float | str | None = option("auto", "side over side")
    from_: str | None = option(None, "where from")
    deep: Deep = option(Deep(), "deep.after troubles")


TOY = options_of(Toy)


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
        (["--weights", "2024"], ["weights='2024'"]),
        (["--weights", "null"], ["weights=null"]),
        (["--key", "null"], ["key='null'"]),
        (["--from", "a", "from=b"], ["from_='a'", "from_=b"]),
        (["--compare", "a b", "2", "--dry-run"], ["compare=['a b','2']", "dry_run=true"]),
        (["--compare=a", "b"], ["compare=['a','b']"]),
    ],
)
def test_flags_become_overrides(words, expected):
    flags, found = overrides(words, TOY)
    assert [*flags, *found] == expected


def test_options_are_declared_once():
    rows = {name: option.row() for name, option in TOY.items()}
    assert list(rows)[:2] == ["key", "input"] and list(rows)[-2:] == ["dry_run", "limit"]
    assert rows["key"] == "of a clip (the bare word) (required)"
    assert rows["compare"] == "two folders (two values)"
    assert rows["looks"] == "one or more (default [ink, chalk])"
    assert rows["dry_run"] == "write nothing (default false)"
    assert rows["deep"] == "deep.after troubles" and TOY["from"].flag == "--from"
    assert Toy().looks is not Toy().looks


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("limit", "abc", "--limit is 'abc', a whole number is expected"),
        ("dry_run", "no", "--dry-run is 'no', true or false is expected"),
        ("input", None, "--input is null, a text is expected"),
        ("compare", ["a"], "--compare is ['a'], two values are expected: --compare A B"),
        ("looks", "ink", "--looks is 'ink', a list like [ink, chalk] is expected"),
        ("from_", ["a"], "--from is ['a'], a text is expected"),
        ("deep", 3, "--deep is 3, options like deep.after=5 are expected"),
        ("deep.after", "x", "deep.after is 'x', a whole number is expected"),
    ],
)
def test_a_wrong_type_is_told_in_the_words_of_the_option(key, value, sentence):
    assert mistake(Toy, key, value) == sentence


def test_all_values_of_a_wrong_type_are_told_at_once():
    ended = run("datagen.stats", "json=no", "report=1", "compare=[a]", "--shown", "many")
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: --json is 'no', true or false is expected; --report is 1, true or false is "
        "expected; --compare is ['a'], two values are expected: --compare A B; --shown is "
        "'many', a whole number is expected (see --help).\n"
    )


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


@pytest.mark.parametrize("name", COMMANDS + MODEL)
def test_help_names_every_option_and_an_example(name):
    ended = call(name, "--help")
    assert ended.code == 0
    assert f"python -m {name}" in ended.out or f"make {name.split('.')[-1]}" in ended.out
    rows = [line for line in ended.out.splitlines() if line.startswith("  --")]
    assert rows and all(len(row.split(None, 1)) == 2 for row in rows)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_pays_for_no_heavy_import(name):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", name, "--help"],
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
        (["datagen.swap", "--sed", "1"], "did you mean swap.seed?"),
        (["datagen.swap", "swap.sede=1"], "did you mean swap.seed?"),
        (["datagen.swap", "--validate-every", "1"], "no option 'validate_every' (see --help)"),
        (["datagen.swap", "gaze=l2cs"], "there is no option 'gaze'"),
        (["datagen.shards", "source.input=x"], "there is no option 'source.input' (see --help)"),
        (["datagen.download", "--breaker.aftr", "1"], "did you mean breaker.after?"),
        (["datagen.shards", "ray=null"], "ray=null: one of cluster, local is expected"),
        (["datagen.shards", "--limit", "abc"], "--limit is 'abc', a whole number is expected"),
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
