"""`python -m datagen.doctor`: everything that is missing is told together, with the command that
mends it.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datagen.weights.registry import BY_HAND, WEIGHTS, Weight
from tests.conftest import REPOSITORY
from tests.faults import SAMPLE, Run, call

GROUPS = ("source", "shots", "clips", "faces", "mask", "gaze", "swap", "style", "agree")
TOY = Weight(
    "toy",
    "a toy",
    "someone/toys",
    "non-commercial research only",
    "swap=toy",
    ("a.bin",),
    2_000_000_000,
)
SPARE = replace(TOY, name="spare")
ASKED = replace(
    TOY,
    name="asked",
    host=BY_HAND,
    source="https://example.org",
)
FETCH = "python -m datagen.weights fetch toy"


@pytest.fixture
def doctor(monkeypatch, tmp_path) -> Callable[..., Run]:
    """The command in an empty folder, with backends and weights of the tests' own, where no network
    answers.
    """
    configs = {
        "swap/toy": "_target_: tests.fakes.toy_backends.ToySwap\nfile: null\ngpus: 0\n",
        "swap/elsewhere": "_target_: not_installed.swap.Swap\n",
        "style/broken": "_target_: tests.fakes.toy_backends.BrokenStyle\n",
    }
    for name, text in configs.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for module in ("datagen.weights.registry", "datagen.doctor.backends", "datagen.doctor.report"):
        monkeypatch.setattr(f"{module}.WEIGHTS", (*WEIGHTS, TOY, SPARE, ASKED))

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return lambda *words: call("datagen.doctor", "--config-dir", tmp_path / "conf", *words)


def parsed(run: Run) -> dict[str, Any]:
    assert run.err == ""
    return json.loads(run.out)


def backends(run: Run) -> dict[str, dict[str, Any]]:
    return {backend["choice"]: backend for backend in parsed(run)["backends"]}


def test_what_comes_with_the_project_can_run_and_nothing_is_written(doctor):
    ended = doctor()
    assert ended.code == 0, ended.out
    assert ended.out.endswith("\nto fix\n  nothing\n\nevery chosen backend can run\n")
    assert re.findall(r"^  (\w+)=\w+ +ready: \S", ended.out, re.M) == list(GROUPS)
    assert re.search(r"^  torch +2\S+ +installed$", ended.out, re.M)
    assert re.search(r"^  GPU +\S", ended.out, re.M) and re.search(
        r"^  store +data/store: \d\S* GB free$", ended.out, re.M
    )
    assert list(Path.cwd().iterdir()) == []


def test_programs_are_told_the_same(doctor):
    report = parsed(doctor("--json"))
    assert report["ready"] is True and report["mend"] == []
    assert [backend["choice"].partition("=")[0] for backend in report["backends"]] == list(GROUPS)
    assert all(
        backend["ready"] and backend["chosen"] and backend["what"] for backend in report["backends"]
    )
    assert {weight["name"]: weight["there"] for weight in report["weights"]}["sd15"] == "no"
    named = {p["name"]: p for p in report["packages"]}
    assert named["ray"]["asked"].startswith("ray[data]") and named["ray"]["state"] == "installed"
    assert [
        weight["licence"] for weight in backends(doctor("--json"))["faces=mesh"]["weights"]
    ] == ["Apache-2.0", "CC0-1.0"]


def test_a_missing_weight_is_told_with_what_fetches_it(doctor):
    ended = doctor("swap=toy")
    assert ended.code == 1
    assert (
        "swap=toy             cannot run: toy (a toy; size: about 2 GB; licence: "
        "non-commercial research only)" in ended.out
    )
    assert "      toy: no; licence: non-commercial research only\n" in ended.out
    assert f"\nto fix\n  {FETCH}\n\nsome chosen backends cannot run\n" in ended.out
    assert len(re.findall(r"^  \w+=\w+ +ready: ", ended.out, re.M)) == len(GROUPS) - 1
    swap = backends(doctor("swap=toy", "--json"))["swap=toy"]
    assert not swap["ready"] and swap["mend"] == [FETCH]
    assert [(weight["name"], weight["host"]) for weight in swap["weights"]] == [
        ("toy", "huggingface"),
        ("asked", BY_HAND),
    ]
    file = Path("data/weights/toy/a.bin")
    file.parent.mkdir(parents=True)
    file.touch()
    assert doctor("swap=toy").code == 0  # the other weight is not what its check asks for


def test_what_no_command_mends_is_named_too(doctor):
    ended = doctor("source=folder", "source.input=/none", "swap=toy")
    assert ended.out.endswith(
        f"\nto fix\n  {FETCH}\n  source=folder: see above\n\nsome chosen backends cannot run\n"
    )


def test_a_weight_for_a_variant_is_told_for_it_alone(doctor):
    weights = backends(doctor("swap=toy", "swap.gpus=1", "--json"))["swap=toy"]["weights"]
    assert [weight["name"] for weight in weights] == ["toy", "spare", "asked"]


def test_all_that_is_wrong_is_told_together(doctor):
    ended = doctor(
        "swap=toy",
        "swap.file=/nowhere",
        "clips.size=63",
        "source=folder",
        "source.input=/none",
        "style=broken",
        "--json",
    )
    assert ended.code == 1
    found = {
        name: backend["problem"]
        for name, backend in backends(ended).items()
        if not backend["ready"]
    }
    assert found == {
        "source=folder": "/none should be a folder of videos, found nothing: name another --input",
        "clips=square": "clips.size is 63: an even number of pixels from 64 is expected",
        "swap=toy": "/nowhere is not there: run `make toy` or name another swap.file",
        "style=broken": "no tone",
    }
    assert parsed(ended)["mend"] == ["make toy", FETCH]


def test_a_backend_whose_package_is_not_there_is_told(doctor):
    swap = backends(doctor("swap=elsewhere", "--json"))["swap=elsewhere"]
    assert swap["problem"] == "the Python package not_installed is not installed"


def test_a_share_of_a_gpu_that_is_not_there_is_missing(doctor, monkeypatch):
    monkeypatch.setattr("datagen.doctor.backends.gpu", lambda: None)
    Path("toy").touch()
    words = ("swap=toy", "swap.gpus=0.5", "swap.file=toy", "--json")
    assert backends(doctor(*words))["swap=toy"]["problem"].startswith(
        "it needs 0.5 of a GPU and torch finds none"
    )
    monkeypatch.setattr("datagen.doctor.backends.gpu", lambda: "a GPU")
    assert doctor(*words).code == 0


def test_every_backend_is_listed_and_only_the_chosen_ones_decide(doctor):
    ended = doctor("--all", "--json", "swap.drift=0.01")
    assert ended.code == 0
    found = backends(ended)
    files = {
        f"{group}={path.stem}"
        for group in GROUPS
        for path in (REPOSITORY / "conf" / group).glob("*.yaml")
    }
    assert {*found} == files | {"swap=toy", "swap=elsewhere", "style=broken"}
    assert (
        found["source=folder"]["problem"] == "it needs source.input"
        and not found["source=folder"]["chosen"]
    )
    assert found["swap=toy"]["mend"] == [FETCH] and parsed(ended)["mend"] == []
    lines = re.findall(
        r"^  (\w+=\w+) +(cannot run|ready)( \(not chosen\))?: ", doctor("--all").out, re.M
    )
    assert {choice for choice, *_ in lines} == {*found}
    assert ("swap=toy", "cannot run", " (not chosen)") in lines and (
        "swap=landmark",
        "ready",
        "",
    ) in lines


@pytest.mark.parametrize(
    ("asked", "code", "states", "mend"),
    [
        (["numpy>=2", "ray[data]>=1"], 0, ["installed", "installed"], []),
        (["numpy>=99"], 0, ["outside the range"], ["python -m pip install 'numpy>=99'"]),
        (["no-such-thing==1.5"], 1, ["missing"], ["python -m pip install 'no-such-thing==1.5'"]),
        (["no-such-thing; sys_platform == 'none'", "numpy"], 0, ["installed"], []),
    ],
)
def test_packages_are_held_against_what_the_project_asks_for(
    asked, code, states, mend, doctor, monkeypatch, tmp_path
):
    text = f"[project]\nrequires-python = '>=3.8'\ndependencies = {json.dumps(asked)}\n"
    text += "optional-dependencies = {more = ['no-such-extra>=1'], dev = ['no-such-tool']}\n"
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr("datagen.doctor.packages.PYPROJECT", tmp_path / "pyproject.toml")
    ended = doctor("--json")
    assert ended.code == code
    assert [package["state"] for package in parsed(ended)["packages"]] == [
        *states,
        "optional, not installed",
    ]
    assert parsed(ended)["mend"] == mend


def test_without_a_checkout_the_installed_project_says_what_it_asks_for(
    doctor, monkeypatch, tmp_path
):
    lines = ["Metadata-Version: 2.4", "Name: megactor-kit", "Version: 9", "Requires-Python: >=3.8"]
    lines += ["Provides-Extra: dev", "Provides-Extra: more", "Requires-Dist: numpy>=2"]
    lines += [
        'Requires-Dist: no-such-extra; extra == "more"',
        'Requires-Dist: no-such-tool; extra == "dev"',
        "",
        "",
    ]
    (tmp_path / "megactor_kit-9.dist-info").mkdir()
    (tmp_path / "megactor_kit-9.dist-info" / "METADATA").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("datagen.doctor.packages.PYPROJECT", Path("nowhere"))
    packages = parsed(doctor("--json"))["packages"]
    assert [(p["name"], p["state"]) for p in packages] == [
        ("numpy", "installed"),
        ("no-such-extra", "optional, not installed"),
    ]


def test_another_python_and_a_folder_that_cannot_be_used_are_told(doctor, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nrequires-python = '>=4'\ndependencies = []\n"
    )
    monkeypatch.setattr("datagen.doctor.packages.PYPROJECT", tmp_path / "pyproject.toml")
    Path("file").touch()
    ended = doctor("--store", "file", "--output", "memory://shards")
    assert ended.code == 1
    assert re.search(r"^  Python +this is Python 3\S+, >=4 is expected", ended.out, re.M)
    assert re.search(
        r"^  store +\S+/file cannot be written to: choose another --store", ended.out, re.M
    )
    assert re.search(r"^  output +memory://shards: remote, not checked$", ended.out, re.M)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["swap=none"], "there is no 'swap/none'; swap can be "),
        (["--al", "true"], "there is no option 'al'; did you mean all? (see --help)."),
        (["source=folder"], "missing: --source.input"),
        (["--all", "perhaps"], "'perhaps' is no option"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, doctor):
    ended = doctor(*words)
    assert ended.code == 2 and sentence in ended.sentence


def test_its_help_has_the_options_and_choices_of_a_run():
    parsed = call("datagen.doctor", "--help").out
    for line in ("  --all ", "  --store ", "  --shard-mb ", "  swap="):
        assert f"\n{line}" in parsed


def test_the_registry_names_backends_that_there_are():
    for weight in WEIGHTS:
        words = re.findall(r"(?<![.\w])(\w+)=(\w+)", weight.needed_by)
        assert all(
            (REPOSITORY / "conf" / group / f"{name}.yaml").is_file() for group, name in words
        ), weight.needed_by


def test_a_run_begins_with_the_licences_that_bind_it(doctor, tmp_path):
    Path("toy").touch()
    words = (*SAMPLE, "--config-dir", tmp_path / "conf", "swap=toy", "swap.file=toy", "--dry-run")
    lines = call("datagen.shards", *words).out.splitlines()
    assert lines[1:3] == [
        "licence: swap toy: non-commercial research only",
        "licence: swap nobody-knows: unknown",
    ]
    assert not any(line.startswith("licence:") for line in lines[3:])
