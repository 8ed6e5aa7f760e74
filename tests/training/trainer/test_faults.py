"""What goes wrong while a model learns is one sentence, and the last checkpoint stays good."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests import faults
from tests.training import fits
from training.trainer.checkpoint import checkpoints, newest


@pytest.fixture(scope="module")
def begun(small, tmp_path_factory) -> Path:
    """Two steps."""
    output = tmp_path_factory.mktemp("begun") / "run"
    fits.fit(small, output, "max_steps=2")
    return output


def test_weights_that_are_not_finite_are_named(small, begun, tmp_path):
    (path,) = checkpoints(begun)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["animator.unet.conv_in.weight"][0] = float("inf")
    torch.save(checkpoint, tmp_path / "poisoned.ckpt")
    ended = fits.fit(
        small, tmp_path / "run", f"init_from={tmp_path / 'poisoned.ckpt'}", "max_steps=2", code=2
    )
    assert ended.sentence.startswith(
        "error: the loss is not finite at step 0: first in unet.conv_in, samples train-"
    )


@pytest.mark.parametrize("hidden, what", [(False, "the loss is"), (True, "gradients are")])
def test_numbers_that_are_not_finite_end_the_run_and_its_last_checkpoint_is_good(
    small, tmp_path, hidden, what
):
    bad = (fits.POISON, "+objective.bad=3", f"+objective.hidden={hidden}")
    ended = fits.fit(small, tmp_path / "run", *bad, "max_steps=8", "checkpoint_every=2", code=2)
    assert ended.sentence.startswith(f"error: {what} not finite at step 3: first in")
    assert ", samples train-" in ended.sentence
    path, damaged = newest(tmp_path / "run")
    assert path == tmp_path / "run" / "step-00000002.ckpt" and not damaged
    assert all(
        value.isfinite().all() for value in fits.state(tmp_path / "run")["state_dict"].values()
    )
    assert not (tmp_path / "run" / "model").exists()


@pytest.fixture
def corrupt(small, tmp_path) -> Path:
    """Shards of whose first clip the target is not to be decoded."""
    folder = shutil.copytree(small, tmp_path / "corrupt")
    fits.damage(min(folder.glob("train-*.tar")))
    return folder


def test_a_corrupt_sample_is_told_and_replaced(corrupt, tmp_path, capfd):
    fits.fit(corrupt, tmp_path / "run", "max_steps=5", "most_bad=1")
    told = [line for line in capfd.readouterr().err.splitlines() if "cannot be read" in line]
    assert len(told) == 1 and told[0].startswith("sample train-0 cannot be read (mp4 ")


def test_too_many_corrupt_samples_end_the_run(corrupt, tmp_path):
    ended = fits.fit(corrupt, tmp_path / "run", "max_steps=10", "most_bad=1", code=2)
    assert ended.sentence.startswith(
        "error: 2 samples could not be read, at most 1 are allowed (most_bad), the last: "
    )
    assert fits.logged(tmp_path / "run")["epoch"][-1][1] >= 1, "an epoch has one of them"


def test_shards_that_vanish_end_the_run(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "shards")
    arguments = fits.words(
        folder, tmp_path / "run", "max_steps=100000", "checkpoint_every=5", "data.workers=1"
    )
    process, code = fits.background(arguments, tmp_path / "said")
    faults.until(lambda: checkpoints(tmp_path / "run"))
    for shard in folder.glob("train-*.tar"):
        shard.unlink()
    assert code.get(timeout=30) == 2
    *_, last = (tmp_path / "said").read_text().splitlines()
    assert (
        "tar is missing: put it back as it was, and the same command goes on" in last
        and "datagen.verify" in last
    )
    assert newest(tmp_path / "run")[0] is not None
