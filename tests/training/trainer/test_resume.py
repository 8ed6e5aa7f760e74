"""A run in pieces is the run in one."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
import torch

from tests import faults
from tests.training import fits
from training.trainer.checkpoint import checkpoints


def test_ten_and_ten_steps_are_twenty(small, whole, tmp_path):
    for steps in (10, 20):
        fits.fit(small, tmp_path / "run", fits.EMA, f"max_steps={steps}")
    fits.assert_same(tmp_path / "run", whole)


def test_workers_and_accumulation_go_on_too(small, tmp_path):
    more = (fits.EMA, "data.workers=2", "accumulate=2")
    fits.fit(small, tmp_path / "pieces", *more, "max_steps=3")
    fits.fit(small, tmp_path / "pieces", *more, "max_steps=7")
    fits.fit(small, tmp_path / "one", fits.EMA, "accumulate=2", "max_steps=7")
    assert fits.state(tmp_path / "one")["position"] == 14
    fits.assert_same(tmp_path / "pieces", tmp_path / "one")


def test_a_killed_run_goes_on_from_its_newest_checkpoint(small, whole, tmp_path, capfd):
    output = tmp_path / "run"
    arguments = fits.words(
        small, output, fits.EMA, "data.workers=2", "checkpoint_every=3", "keep=1"
    )
    process, _ = fits.background([*arguments, "max_steps=10000"], tmp_path / "said")
    faults.until(lambda: checkpoints(output))
    loaders = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (last,) = checkpoints(output)[-1:]
    step = torch.load(last, weights_only=True)["global_step"]
    assert 3 <= step < 20, "the machine was too fast for the test"
    fits.fit(small, output, fits.EMA, "max_steps=20", "keep=1")
    assert f"goes on from {last}" in capfd.readouterr().err
    fits.assert_same(output, whole, logs=False)
    assert len(loaders) == 2
    faults.until(lambda: not faults.alive(loaders), 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_with_a_checkpoint_of_the_step(small, tmp_path, number):
    """As a terminal and SLURM send it: to the loader's processes, too."""
    output, said = tmp_path / "run", tmp_path / "said"
    arguments = fits.words(
        small, output, "max_steps=100000", "checkpoint_every=5", "data.workers=1"
    )
    process, code = fits.background(arguments, said)
    faults.until(lambda: checkpoints(output))
    os.killpg(process.pid, number)
    assert code.get(timeout=30) == 128 + number
    step = fits.state(output)["global_step"]
    assert (
        f"interrupted after step {step}: the same command goes on from there." in said.read_text()
    )
    assert step > 5 and not (output / "model").exists()
