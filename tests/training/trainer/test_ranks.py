"""Two processes train as one does with twice the batch."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.training import fits

EMA = "optim.ema=0.9"


@pytest.fixture(scope="module")
def one_held(tmp_path_factory) -> Path:
    """Shards with three clips of one person to validate: three cases."""
    return fits.shards(tmp_path_factory.mktemp("one_held"), "one")


@pytest.fixture(scope="module")
def pair(one_held, tmp_path_factory) -> Path:
    """8 steps of two ranks."""
    output = tmp_path_factory.mktemp("pair") / "run"
    more = (
        "validate_every=5",
        "validation_cases=3",
        "validation_steps=1",
        EMA,
        "keep=9",
        "checkpoint_every=4",
    )
    assert fits.ranks(
        2, fits.words(one_held, output, *more, "max_steps=8"), output.with_name("said")
    ) == [0, 0]
    return output


def test_losses_and_weights_are_those_of_one_process_with_twice_the_batch(one_held, pair, tmp_path):
    fits.fit(one_held, tmp_path / "alone", "data.batch=2", EMA, "max_steps=8")
    found, expected = fits.logged(pair), fits.logged(tmp_path / "alone")
    for tag in ("loss/train", "lr", "epoch"):
        assert [step for step, _ in found[tag]] == list(range(8))
        assert [value for _, value in found[tag]] == pytest.approx(
            [value for _, value in expected[tag]], abs=1e-4
        ), tag
    states = [fits.state(output) for output in (pair, tmp_path / "alone")]
    for part in ("state_dict", "callbacks"):
        assert not list(fits.differences(states[0][part], states[1][part], fits.far)), part
    assert states[0]["position"] == states[1]["position"] == 16


def test_cases_that_do_not_divide_by_the_ranks_are_all_shown(pair):
    shown = {path.stem for path in (pair / "validation" / "step-00000005").iterdir()}
    assert shown == {"self-val-0", "self-val-1", "self-val-2"}


def test_one_process_goes_on_where_two_ended(one_held, pair, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    for name in ("config.json", "step-00000004.ckpt"):
        shutil.copy(pair / name, output / name)
    fits.fit(one_held, output, EMA, "max_steps=6")
    state = fits.state(output)
    assert (state["global_step"], state["position"]) == (6, 4 * 2 + 2)


def test_a_signal_to_one_rank_in_the_last_step_is_heard_by_both(one_held, tmp_path):
    """If each decided for itself whether a model is to be gathered, one would wait for the other
    under FSDP.
    """
    output = tmp_path / "run"
    arguments = fits.words(one_held, output, fits.FATE, "max_steps=3")
    assert fits.ranks(2, arguments, tmp_path / "said", {1: {"FATE": "5 term "}}) == [
        128 + signal.SIGTERM,
        0,
    ]
    assert "interrupted after step 3: the same command" in (tmp_path / "said-0").read_text()
    assert not (output / "model").exists() and fits.state(output)["position"] == 6
    fits.fit(one_held, output, fits.FATE, "max_steps=3")
    assert (output / "model").is_dir()


def test_a_loss_that_is_not_finite_on_one_rank_ends_both_with_one_sentence(one_held, tmp_path):
    arguments = fits.words(
        one_held, tmp_path / "run", fits.POISON, "+objective.bad=5", "max_steps=8"
    )
    assert fits.ranks(2, arguments, tmp_path / "said") == [2, 0]
    first, second = ((tmp_path / f"said-{rank}").read_text() for rank in range(2))
    assert first.startswith("error: the loss is not finite at step 2") and first.count("\n") == 1
    assert second == ""
