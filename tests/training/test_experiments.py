"""The experiments: the paper's settings line by line, models of full size without memory, two steps
of small ones.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datagen.options import register
from model.build import skeleton
from model.schedule import official_inference, official_training
from tests.conftest import REPOSITORY
from training.fit import FitOptions
from training.objective.config import configured_loss
from training.objective.noise import NoiseSampler
from training.optim.optimizer import groups, train_only
from training.trainer.settings import resolved

EXPERIMENTS = ("stage1", "stage2", "gaze")
COMMON = {  # docs/model.md, 5, 6 and 9
    "accumulate": 2,
    "max_steps": 500_000,
    "gradient_checkpointing": False,
    "checkpoint_every": 1000,
    "validate_every": 100,
    "validation_steps": 25,
    "validation_guidance": 4.5,
    "seed": 42,
    "model.scheduler._target_": "model.schedule.official_inference",
    "objective.noise_schedule._target_": "model.schedule.official_training",
    "objective.noise_offset": 0.1,
    "objective.high_noise": 1.0,
    "objective.min_snr": None,
    "objective.of_latents": False,
    "objective.drop_reference": 0.0,
    "objective.drop_driving": 0.0,
    "optim.lr": 1e-5,
    "optim.betas": [0.9, 0.999],
    "optim.weight_decay": 1e-2,
    "optim.decay_all": True,
    "optim.eps": 1e-8,
    "optim.muon": False,
    "optim.warmup": 0,
    "optim.decay": "constant",
    "optim.clip": 1.0,
    "optim.eight_bit": False,
    "optim.ema": None,
    "data.batch": 1,
    "data.frames": 12,
    "data.stride": 2,
    "data.reference": "any",
    "data.twins": ["swapped", "styled"],
    "data.crop": "largest",
    "data.grey": True,
    "data.warp_aspect": [0.8, 1.2],
    "data.warp_scale": [0.8, 1.2],
    "data.jitter": 0.0,
    "data.flip": 0.0,
    "data.reshape": 0.0,
    "data.reshape_driving": 0.0,
    "data.donor_shape": 0.0,
}
STAGES = {
    "stage1": {
        "optim.trainable": ["reference_net", "unet", "driven_encoder"],
        "data.twin_probability": 0.1,
        "data.warp_probability": 0.0,
    },
    "stage2": {
        "optim.trainable": ["unet.*.motion_modules"],
        "data.twin_probability": 0.5,
        "data.warp_probability": 0.25,
    },
}
OURS = {  # what differs from it by default, for the reasons in conf/experiment
    "max_steps": {"stage1": 40_000, "stage2": 20_000},
    "gradient_checkpointing": True,
    "validate_every": 1000,
    "model.scheduler._target_": "model.schedule.ddim",
    "objective.noise_schedule._target_": None,
    "objective.min_snr": 5,
    "objective.drop_reference": 0.1,
    "optim.decay_all": False,
    "optim.ema": {"stage1": None, "stage2": 0.999},
    "data.crop": "clip",
}
TOY = (
    "model=tiny",
    "model.unet.block_out_channels=[32,32]",
    "model.unet.attention_levels=[true,false]",
    "trainer=cpu",
    "init_from=null",
    "data.frames=4",
    "data.workers=0",
    "data.subset=null",
    "max_steps=2",
    "validate_every=0",
    "progress=false",
    "optim.lr=1e-3",
)
# its schedule is the arguments of another one, and what stands on it goes with it
NO_TINY_SCHEDULE = (
    "~model.scheduler.zero_snr",
    "~model.scheduler.prediction",
    "model.unet.residual=null",
)


def composed(experiment: str, *more: str) -> Any:
    register(FitOptions)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return resolved(compose("fit", [f"+experiment={experiment}", *more]))


def selected(cfg: Any, names: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(OmegaConf.select(cfg, name)) for name in names}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


@pytest.mark.parametrize("stage", STAGES)
def test_official_settings_are_the_papers_line_by_line(stage):
    wanted = COMMON | STAGES[stage]
    assert selected(composed(stage, "official=true"), wanted) == wanted


@pytest.mark.parametrize("stage", STAGES)
def test_defaults_differ_from_the_papers_where_it_is_said(stage):
    ours = {
        name: value[stage] if isinstance(value, dict) else value for name, value in OURS.items()
    }
    wanted = COMMON | STAGES[stage] | ours
    assert selected(composed(stage), wanted) == wanted


def test_the_gaze_fine_tune_is_stage_2_on_a_subset():
    differing = {"name", "output", "init_from", "max_steps", "data", "logger"}
    stage2, gaze = (OmegaConf.to_container(composed(name)) for name in ("stage2", "gaze"))
    assert {name for name in gaze if gaze[name] != stage2[name]} == differing
    assert (
        gaze["data"] == stage2["data"] | {"subset": "gaze"}
        and gaze["init_from"] == f"{stage2['output']}/model"
    )


def test_noise_is_added_by_the_schedule_that_is_named():
    cfg = composed("stage1", "official=true")
    sampler = configured_loss(cfg, instantiate(cfg.model.scheduler)).sampler
    assert torch.equal(sampler.signal, official_training().alphas_cumprod)
    assert sampler.signal[-1] == 0
    own = NoiseSampler(official_inference())
    assert torch.equal(own.signal, official_inference().alphas_cumprod)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_learns_at_full_size(experiment):
    """Parameters in millions: docs/model.md, 1 and 9."""
    cfg = composed(experiment)
    animator = skeleton(cfg.model).animator
    assert all(parameter.is_meta for parameter in animator.parameters())
    train_only(animator, cfg.optim.trainable)
    trained = sum(
        p.numel() for group in groups(animator, cfg.optim.decay_all) for p in group["params"]
    )
    assert round(trained / 1e6) == (2144 if experiment == "stage1" else 417)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("official", [False, True])
def test_two_steps_change_what_is_to_learn_and_nothing_else(experiment, official, sample, tmp_path):
    from training.trainer.run import Run

    more = ("official=true", *NO_TINY_SCHEDULE) if official else ()
    cfg = composed(experiment, *TOY, f"data.input={sample}", f"output={tmp_path / 'run'}", *more)
    run = Run.prepared(cfg)
    before = {name: p.detach().clone() for name, p in run.module.animator.named_parameters()}
    assert run.fit() == 0
    changed = {
        name
        for name, p in run.module.animator.named_parameters()
        if not torch.equal(p, before[name])
    }
    modules = {
        path
        for path in cfg.optim.trainable
        if any(fnmatchcase(name, f"{path}.*") for name in changed)
    }
    stray = [
        name
        for name in changed
        if not any(fnmatchcase(name, f"{path}.*") for path in cfg.optim.trainable)
    ]
    assert modules == set(cfg.optim.trainable) and not stray
    assert (Path(cfg.output) / "model" / "model_index.json").is_file()
