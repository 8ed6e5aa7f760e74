"""What a run begins with, and what it refuses, in one sentence and before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from datagen.options import register
from datagen.shards import writer as pack
from datagen.shards.parameters import ClipParameters
from model.folder import load
from model.pipeline import MegActorPipeline
from tests.conftest import REPOSITORY
from tests.training import fits, numbered
from training.fit import FitOptions
from training.trainer.checkpoint import checkpoints, pipeline

MANY = (
    "max_steps=0",
    "most_bad=-1",
    "optim.decay=linear",
    "data.batch=0",
    "optim.trainable=[unets]",
)


@pytest.fixture(scope="module")
def begun(small, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("begun") / "run"
    fits.fit(small, output, "max_steps=2", "optim.ema=0.5")
    return output


@pytest.mark.parametrize("source", ["model", "step-00000002.ckpt"])
def test_another_run_begins_with_the_weights_of_this_one(small, begun, tmp_path, source):
    """Stage 2 learns only some of them; all others are those of stage 1 afterwards."""
    from model.folder import load

    stage = ("optim.trainable=[unet.*.motion_modules]", f"init_from={begun / source}")
    fits.fit(small, tmp_path / "run", *stage, "max_steps=1")
    found = load(tmp_path / "run" / "model").animator.state_dict()
    expected = load(begun / "model").animator.state_dict()
    changed = {name for name in expected if fits.bits_differ(found[name], expected[name])}
    assert changed and all("motion_modules" in name for name in changed)


@pytest.mark.parametrize("source", ["model", "step-00000002.ckpt"])
def test_weights_of_another_model_are_refused(small, begun, tmp_path, source):
    other = ("model.unet.block_out_channels=[32,64]", f"init_from={begun / source}", "max_steps=1")
    ended = fits.fit(small, tmp_path / "run", *other, code=2)
    assert "block_out_channels" in ended.sentence or "holds another model" in ended.sentence
    assert not (tmp_path / "run").exists()


def test_all_mistakes_come_together_and_nothing_is_written(small, tmp_path):
    said = fits.fit(small, tmp_path / "run", *MANY, code=2).sentence
    for word in (
        "max_steps is 0",
        "most_bad is -1",
        "optim.decay is 'linear'",
        "batch is 0",
        "'unets', which is no module",
    ):
        assert word in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["trainer=ddp"], "there is no GPU here: say trainer=cpu"),
        (["optim.lrr=1"], "there is no option 'optim.lrr'; did you mean optim.lr?"),
        (["init_from=nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
        (["init_from=nowhere"], "nowhere is no model folder"),
        (
            ["trainer=fsdp", "optim.ema=0.9"],
            "optim.ema wants whole weights on every rank, which fsdp has not",
        ),
        (
            ["trainer=deepspeed"],
            "trainer.strategy wants the package deepspeed: pip install deepspeed",
        ),
        (["logger=wandb"], "logger wants the package wandb: pip install wandb"),
        (["trainer.strategy=best"], "trainer: "),
        (["trainer.precision=7"], "trainer: "),
        (
            ["model.unet.residual=[0.1,0.1,0.1,0.1]", "model.scheduler.zero_snr=false"],
            "residual is for a velocity",
        ),
        (["data.input=nowhere"], "nowhere"),
        (["logger=null"], "logger=null: one of none, tensorboard, wandb is expected"),
        (
            ["optim.muon=true", "optim.eight_bit=true"],
            "optim.muon does not go with optim.eight_bit=true",
        ),
        (["optim.muon=true", "trainer=fsdp"], "optim.muon does not go with trainer.strategy=fsdp"),
        (["optim.lr=-1"], "optim.lr is -1, a number above 0 is expected"),
        (
            ["optim.betas=[0.9,1]"],
            "optim.betas is [0.9, 1], numbers from 0 to below 1 are expected",
        ),
        (["optim.ema=2"], "optim.ema is 2, a number between 0 and 1 or null is expected"),
        (["objective.high_noise=0"], "objective.high_noise is above 0, noise_offset is not below"),
        (
            ["objective.of_latents=true", "objective.min_snr=5"],
            "objective.of_latents is for a model that",
        ),
        (["data.frames=40"], "frames"),
        (
            ["data.frames=3", "model.unet.motion_max_seq_length=2"],
            "data.frames is 3, at most 2 frames are expected",
        ),
        (["data.twin_probability=5"], "twin_probability is 5, a number from 0 to 1 is expected"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is missing without a GPU")
def test_mistakes(small, tmp_path, words, said):
    assert said in fits.fit(small, tmp_path / "run", *words, code=2).sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "value, plan", [("nan", "true"), ("nan", "false"), ("fast", "false"), ("-1", "false")]
)
def test_a_learning_rate_that_is_none_is_told_once(small, tmp_path, value, plan):
    ended = fits.fit(
        small, tmp_path / "run", f"optim.lr={value}", f"plan={plan}", "max_steps=1", code=2
    )
    told = "'fast'" if value == "fast" else value
    assert ended.sentence == f"error: optim.lr is {told}, a number above 0 is expected."


def test_a_run_with_other_settings_asks_to_be_overwritten(small, begun):
    before = checkpoints(begun)
    ended = fits.fit(small, begun, "max_steps=2", "optim.ema=0.5", "seed=1", "optim.lr=0.5", code=2)
    assert (
        "other settings (optim.lr was 0.001, is 0.5; seed was 0, is 1): choose another --output"
        in ended.sentence
    )
    assert checkpoints(begun) == before


def test_a_cosine_run_keeps_its_length(small, tmp_path):
    words = ("optim.decay=cosine", "checkpoint_every=2")
    fits.fit(small, tmp_path / "run", *words, "max_steps=2")
    assert (
        "max_steps was 2, is 3"
        in fits.fit(small, tmp_path / "run", *words, "max_steps=3", code=2).sentence
    )


def test_precision_is_no_part_of_where_a_run_goes_on(small, begun):
    ended = fits.fit(
        small, begun, "max_steps=3", "optim.ema=0.5", "trainer.precision=bf16-mixed", code=2
    )
    assert "trainer.precision was '32-true', is 'bf16-mixed'" in ended.sentence


def test_a_model_of_coloured_driving_says_so(small, tmp_path):
    fits.fit(small, tmp_path / "run", "data.grey=false", "max_steps=1")
    assert not load(tmp_path / "run" / "model").grey
    assert not pipeline(checkpoints(tmp_path / "run")[-1]).grey
    assert MegActorPipeline.from_pretrained(tmp_path / "run" / "model").grey is False


@pytest.mark.parametrize(("crop", "margin"), [("clip", ClipParameters().margin), ("largest", None)])
def test_a_model_says_how_its_pictures_were_framed(small, tmp_path, crop, margin):
    fits.fit(small, tmp_path / "run", f"data.crop={crop}", "max_steps=1")
    assert load(tmp_path / "run" / "model").margin == margin
    assert pipeline(checkpoints(tmp_path / "run")[-1]).margin == margin


def test_overwriting_begins_anew(small, tmp_path):
    fits.fit(small, tmp_path / "run", "max_steps=3")
    first = fits.logged(tmp_path / "run")["loss/train"]
    fits.fit(small, tmp_path / "run", "max_steps=2", "seed=1", "--overwrite")
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000002.ckpt"]
    assert len(fits.logged(tmp_path / "run")["loss/train"]) == 2 != len(first)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 1


def test_a_folder_of_other_things_is_left_alone(small, tmp_path):
    (tmp_path / "model").mkdir()
    ended = fits.fit(small, tmp_path, "max_steps=2", "--overwrite", code=2)
    assert (
        "holds something else than a run (model" in ended.sentence and (tmp_path / "model").is_dir()
    )


def test_an_output_that_cannot_be_is_refused(small, tmp_path):
    (tmp_path / "file").touch()
    assert (
        "is, or is in, a file"
        in fits.fit(small, tmp_path / "file" / "run", "max_steps=1", code=2).sentence
    )


@pytest.mark.parametrize("trainer", ["cpu", "one_gpu", "ddp", "fsdp", "deepspeed", "multinode"])
def test_every_trainer_composes(trainer):
    register(FitOptions)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        cfg = compose("fit", [f"trainer={trainer}"]).trainer
    assert set(cfg) == {"accelerator", "devices", "num_nodes", "strategy", "precision"}
    if trainer == "fsdp":
        strategy = instantiate(cfg.strategy)
        assert (
            strategy.sharding_strategy.name == "FULL_SHARD" and strategy._state_dict_type == "full"
        )


def test_the_log_has_the_clocks(small, begun):
    values = {tag: [value for _, value in pairs] for tag, pairs in fits.logged(begun).items()}
    for tag in (
        "samples_per_s",
        "time/step_s",
        "time/waiting_for_data_s",
        "lr",
        "gradients/norm",
        "loss/train",
    ):
        assert len(values[tag]) == 2 and all(value >= 0 for value in values[tag]), tag
    assert values["epoch"] == pytest.approx([0.2, 0.4])
    for rate, step, wait in zip(
        values["samples_per_s"],
        values["time/step_s"],
        values["time/waiting_for_data_s"],
        strict=True,
    ):
        assert rate * step == pytest.approx(1, rel=1e-4) and wait < step


def test_a_model_has_the_margin_of_its_shards(tmp_path):
    stages = {"clips": {"parameters": {"size": 192, "fps": 25, "margin": 3}}}
    clips = [
        numbered.sample(tmp_path, f"train-{number}", 8, "train", stages=stages) for number in (0, 1)
    ]
    (tmp_path / "wide").mkdir()
    pack.pack(clips, tmp_path / "wide", {"stages": stages})
    fits.fit(tmp_path / "wide", tmp_path / "run", "max_steps=1")
    assert load(tmp_path / "run" / "model").margin == 3.0
    index = json.loads((tmp_path / "run" / "model" / "model_index.json").read_text())
    assert index["margin"] == 3.0


def test_clips_of_different_makings_are_refused(tmp_path):
    clips = []
    for number, margin in enumerate((2.3, 3)):
        stages = {"clips": {"parameters": {"size": 192, "fps": 25, "margin": margin}}}
        clips.append(numbered.sample(tmp_path, f"train-{number}", 8, "train", stages=stages))
    (tmp_path / "mixed").mkdir()
    pack.pack(clips, tmp_path / "mixed", {"stages": stages})
    ended = fits.fit(tmp_path / "mixed", tmp_path / "run", "max_steps=1", code=2)
    assert "holds clips of different makings" in ended.sentence
    assert not (tmp_path / "run").exists()
