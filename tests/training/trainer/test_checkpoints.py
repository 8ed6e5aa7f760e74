"""Checkpoints are whole or not there, and the newest whole one is what a run goes on from."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from tests.training import fits
from training.trainer.checkpoint import AtomicCheckpointIO, checkpoints, name_of, newest, pipeline


@pytest.fixture(scope="module")
def kept(small, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("kept") / "run"
    fits.fit(small, output, "max_steps=7", "checkpoint_every=2", "keep=3", "optim.ema=0.9")
    return output


def test_so_many_are_kept_the_last_step_among_them(kept):
    assert [path.name for path in checkpoints(kept)] == [name_of(step) for step in (7, 6, 4)]


def test_nothing_half_written_stays(kept):
    assert not [path for path in kept.rglob("*") if ".part" in path.name]


def test_its_model_is_that_of_the_run_with_the_mean_of_the_weights(kept):
    from model.folder import load

    made, saved = (
        pipeline(checkpoints(kept)[0]).animator.state_dict(),
        load(kept / "model").animator.state_dict(),
    )
    mean = next(
        state["mean"] for name, state in fits.state(kept)["callbacks"].items() if name == "EMA"
    )
    assert not list(fits.differences(made, saved, fits.bits_differ))
    assert not [
        name for name in mean if fits.bits_differ(mean[name], made[name.removeprefix("animator.")])
    ]
    assert fits.far(
        made["unet.conv_in.weight"], fits.state(kept)["state_dict"]["animator.unet.conv_in.weight"]
    )


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_damaged_one_is_put_aside_and_the_one_before_taken(small, tmp_path, capfd, harm):
    output = tmp_path / "run"
    fits.fit(small, output, "max_steps=4", "checkpoint_every=2")
    last = checkpoints(output)[0]
    data = bytearray(last.read_bytes())
    if harm == "cut":
        last.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        last.write_bytes(data)
    assert newest(output)[0] == output / name_of(2)
    fits.fit(small, output, "max_steps=5", "checkpoint_every=2")
    said = capfd.readouterr().err
    assert f"{last} is damaged (" in said and f"goes on from {output / name_of(2)}" in said
    assert [path.name for path in checkpoints(output)] == [name_of(step) for step in (5, 4)]


def test_without_a_whole_one_the_user_is_asked(small, tmp_path):
    output = tmp_path / "run"
    fits.fit(small, output, "max_steps=1")
    checkpoints(output)[0].write_bytes(b"")
    assert "no checkpoint in" in fits.fit(small, output, "max_steps=2", code=2).sentence
    fits.fit(small, output, "max_steps=2", "--overwrite")
    assert fits.state(output)["global_step"] == 2


def test_a_full_disk_leaves_the_one_before(tmp_path):
    path = tmp_path / name_of(1)
    AtomicCheckpointIO().save_checkpoint({"state": torch.ones(3)}, path)
    (tmp_path / f".{path.name}.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as found:
        AtomicCheckpointIO().save_checkpoint({"state": torch.zeros(3)}, path)
    assert found.value.errno == errno.ENOSPC
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert torch.load(path, weights_only=True)["state"].all()
