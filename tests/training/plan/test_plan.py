"""The plan: nothing is made or loaded, sizes are right, and all mistakes are told together."""

from __future__ import annotations

import warnings

import pytest
import torch
from omegaconf import OmegaConf

from datagen.core.errors import UserError
from model.build import preset, skeleton
from tests import faults
from tests.model.parts import tiny
from training.plan import memory
from training.plan.memory import TensorMemory, estimate, state, step
from training.plan.report import _weights

TINY = (
    "model=tiny",
    "trainer=cpu",
    "data.workers=0",
    "data.frames=4",
    "validate_every=0",
    "plan=true",
)


def settings(**changes):
    cfg = OmegaConf.create(
        {
            "model": preset("tiny"),
            "trainer": {"precision": "bf16-mixed", "strategy": "auto"},
            "optim": {
                "eight_bit": False,
                "ema": None,
                "trainable": ["reference_net", "unet", "driven_encoder"],
            },
            "data": {"batch": 1, "frames": 4},
            "accumulate": 1,
            "cache": None,
        }
    )
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value)
    return cfg


def plan(*words: object) -> faults.Run:
    return faults.call("training.fit", *TINY, *words)


def test_a_plan_says_what_would_be_done_and_writes_nothing(sample, tmp_path):
    made = plan(
        f"data.input={sample}", "--output", tmp_path / "run", "max_steps=10", "data.batch=2"
    )
    assert made.code == 0, made.err
    count = sum(p.numel() for p in tiny().animator.parameters())
    assert f"{count / 1e6:.2f} M" in made.out
    for told in (
        "samples         2 of",
        "2, with 1 to 1 samples each, median 1",
        "steps an epoch  1 on 1 process,",
    ):
        assert told in made.out
    assert (
        "epochs          10" in made.out
        and "begins anew, 10 steps" in made.out
        and "twin_probability" in made.out
    )
    assert not (tmp_path / "run").exists()


def test_all_mistakes_are_told_together(tmp_path):
    words = (
        "data.input=nowhere",
        "init_from=nothing",
        "optim.trainable=[unet.oops]",
        "optim.decay=line",
    )
    made = plan(*words, "trainer=one_gpu", "--output", tmp_path / "run")
    assert made.code == 2 and made.err.count("\n") == 1
    wanted = ["nowhere", "no model in nothing", "unet.oops", "optim.decay is 'line'"]
    for told in [*wanted, *([] if torch.cuda.is_available() else ["no GPU"])]:
        assert told in made.err
    assert "settings" in made.out and "data\n" not in made.out


def test_weights_of_another_model_are_told_without_loading_them(tmp_path):
    tiny().save_pretrained(tmp_path / "model")
    cfg = settings(init_from=str(tmp_path / "model"))
    told = _weights(cfg, skeleton(cfg.model))
    assert f"{len(tiny().unet.state_dict())} tensors" in told and "CreativeML" in told
    other = settings(
        init_from=str(tmp_path / "model"), model__unet__block_out_channels=[96, 64, 96]
    )
    with pytest.raises(
        UserError, match=r"unet is not of the model that is trained .*of another shape"
    ):
        _weights(other, skeleton(other.model))


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_tensors_without_numbers_take_what_real_ones_take(half):
    """The same operations, counted while they really work."""
    found = estimate(settings(trainer__precision="bf16-mixed" if half else "32-true"), False)
    pipeline = tiny()
    for part in (pipeline.vae, pipeline.image_encoder):
        part.requires_grad_(False)
    pipeline.animator.train()
    pipeline.animator.zero_grad(set_to_none=True)
    with TensorMemory(pipeline.animator) as live, warnings.catch_warnings():
        step(pipeline, 1, 4, half, cached=False)
    pipeline.animator.zero_grad(set_to_none=True)
    assert abs(live.peak / found.micro_step - 1) < 0.03
    assert found.micro_step > found.gradients == found.weights == found.state / 2


def test_what_makes_a_step_smaller_or_larger():
    plain = estimate(settings(data__frames=8), False)
    assert estimate(settings(data__frames=8), True).micro_step < 0.8 * plain.micro_step
    assert (
        estimate(settings(data__frames=8, accumulate=2), False).micro_step
        > plain.micro_step + plain.gradients / 2
    )
    motion = settings(
        data__frames=8, optim__trainable=["unet.*.motion_modules"], trainer__strategy="ddp"
    )
    few = estimate(motion, False)
    assert few.gradients == few.reduced < plain.gradients / 2 and few.micro_step < plain.micro_step


def test_eight_bit_state_is_a_quarter():
    assert state(2560, False) == 8 * 2560 and state(2560, True) == 2 * 2560 + 80


def test_the_optimizers_own_state_is_as_large_as_the_estimate():
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    own = sum(t.numel() * t.element_size() for t in optimizer.state[weight].values() if t.ndim)
    assert own == state(weight.numel(), False) and weight.element_size() == memory.STEP
