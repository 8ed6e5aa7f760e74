"""Whatever befalls a run, the same command goes on and the curve is that of a run without it."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training import fits
from training.trainer.checkpoint import checkpoints, newest

OPTIONS = (fits.FATE, fits.EMA, "checkpoint_every=3")


def deaths(seed: int, count: int) -> list[int]:
    """Steps of 20 at which a run is killed, each after the one before has gone on."""
    return sorted(random.Random(seed).sample(range(20), count))


def killed(small: Path, output: Path, step: int) -> None:
    """The run until it is killed while it computes this step."""
    words = fits.words(small, output, *OPTIONS, "max_steps=20", "data.workers=1")
    process, _ = fits.background(words, output.with_name("said"), {"FATE": f"{step} kill "})
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    "seed, count",
    [(0, 1), *(pytest.param(seed, 4, marks=pytest.mark.slow) for seed in range(1, 6))],
)
def test_a_run_killed_at_any_step_goes_on_as_if_nothing_had_been(
    small, whole, tmp_path, seed, count
):
    output = tmp_path / "run"
    for step in deaths(seed, count):
        killed(small, output, step)
        (output / f".step-{step:08d}.ckpt.part").write_bytes(
            b"half"
        )  # as if it had died a moment later
    fits.fit(small, output, *OPTIONS, "max_steps=20")
    fits.assert_same(output, whole, logs=False)
    assert not list(output.glob(".*"))


@pytest.mark.parametrize(
    "harm, said", [("remove", "train-000000.tar is missing: "), ("damage", "train-0 (mp4 ")]
)
def test_a_shard_that_is_harmed_between_epochs_ends_the_run_and_mended_it_goes_on(
    small, whole, tmp_path, monkeypatch, harm, said
):
    folder, output = shutil.copytree(small, tmp_path / "shards"), tmp_path / "run"
    shard = folder / "train-000000.tar"
    with monkeypatch.context() as fate:
        fate.setenv("FATE", f"11 {harm} {shard}")
        most = ["most_bad=0"] if harm == "damage" else []
        ended = fits.fit(folder, output, *OPTIONS, *most, "max_steps=20", code=2)
    assert said in ended.sentence
    assert newest(output)[0] is not None
    shutil.copy(small / shard.name, shard)
    fits.fit(folder, output, *OPTIONS, "max_steps=20")
    fits.assert_same(output, whole, logs=False)


def test_a_rank_that_dies_ends_the_others_with_one_sentence_and_all_go_on(small, tmp_path):
    output = tmp_path / "run"
    words = fits.words(small, output, *OPTIONS, "max_steps=8")
    codes = fits.ranks(2, words, tmp_path / "said", {1: {"FATE": "11 kill "}}, expected=[0])
    assert codes == [2]
    said = (tmp_path / "said-0").read_text()
    assert (
        said.startswith("error: another process of the training has died") and said.count("\n") == 1
    )
    assert checkpoints(output)[0].name == "step-00000003.ckpt"
    assert fits.ranks(2, words, tmp_path / "again") == [0, 0]
    fits.fit(small, tmp_path / "alone", *OPTIONS, "data.batch=2", "max_steps=8")
    states = [fits.state(folder)["state_dict"] for folder in (output, tmp_path / "alone")]
    assert not list(fits.differences(*states, fits.far))


@pytest.fixture
def disk(tmp_path, whole) -> Iterator[Path]:
    """Room for two checkpoints and a half."""
    folder, size = tmp_path / "disk", int(2.5 * checkpoints(whole)[0].stat().st_size)
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False
    ).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_of_checkpoints_leaves_the_last_one_whole(small, whole, disk):
    output = disk / "run"
    ended = fits.fit(small, output, *OPTIONS, "max_steps=20", code=2)
    assert "the disk is full" in ended.sentence and "run the same command again" in ended.sentence
    last, damaged = newest(output)
    assert last == output / "step-00000006.ckpt" and not damaged
    assert not list(output.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
    fits.fit(small, output, *OPTIONS, "max_steps=20")
    fits.assert_same(output, whole, logs=False)
