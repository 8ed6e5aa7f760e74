"""`python -m datagen.style style=sdxl`: clips through it, what it costs, and what is refused before
any work.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from datagen.media import video
from datagen.weights.check import record
from datagen.weights.registry import find
from tests.fakes.tiny_sdxl import tiny_controlnet, tiny_sdxl
from tests.faults import Run, call, contents

QUICK = (
    "style=sdxl",
    "clips.size=64",
    "style.drift=null",
    "style.cross_frame=false",
    "style.prompts=[ink]",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny")


def style(raw: Path, folder: Path, *words: object) -> Run:
    where = ("--store", folder / "store", "--output", folder / "out")
    return call("datagen.style", "--input", raw, "--runner", "local", *where, *QUICK, *words)


def test_videos_are_redrawn_and_the_cost_is_told_first(raw, tiny, tmp_path):
    run = style(raw, tmp_path, f"style.model={tiny}")
    assert run.code == 0, run.err
    told = re.match(r"style: tiny, about (\d+) frames, (\d+) UNet calls, \S+ hours", run.out)
    assert told and int(told[2]) == 2 * int(told[1]) and 56 <= int(told[1]) <= 100
    assert "licence: style tiny: unknown" in run.out
    for name in ("one-000", "sub/two-000"):
        assert len(list(video.frames(tmp_path / "out" / f"{name}.mp4"))) == 28
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["prompt"] == "ink"
    before = contents(tmp_path / "out" / "sub")
    again = style(raw, tmp_path, f"style.model={tiny}", "style.batch=3")
    assert again.code == 0 and "UNet" not in again.out, "what is there costs nothing"
    assert contents(tmp_path / "out" / "sub") == before


@pytest.mark.slow
def test_workers_change_nothing(raw, tiny, tmp_path):
    """Ray's two workers and this process."""
    runs = {"ray": ("--workers", "2"), "local": ()}
    for runner, words in runs.items():
        run = style(raw, tmp_path / runner, f"style.model={tiny}", "--runner", runner, *words)
        assert run.code == 0, run.err
    ray, local = (contents(tmp_path / runner / "out" / "sub") for runner in runs)
    assert ray == local and len(ray) == 2


def test_a_dry_run_tells_the_cost_of_known_spans(tiny, tmp_path):
    """Of the sample, whose clips have known lengths: 2 x 1.1 to 1.2 s at 25 frames/s."""
    words = (
        "--dry-run",
        "--limit",
        "2",
        "source.clips=12",
        "source.people=6",
        "source.seconds=[1.1,1.2]",
    )
    words += ("--store", str(tmp_path / "store"), "--output", str(tmp_path / "out"))
    run = call(
        "datagen.shards", *words, "style=sdxl_paper", f"style.model={tiny}", "style.calls_per_s=1e3"
    )
    assert run.code == 0, run.err
    told = re.search(
        r"at most (\d+) frames, (\d+) UNet calls, (\S+) hours of one worker \(1e\+03 calls", run.out
    )
    assert told and 54 <= int(told[1]) <= 60 and int(told[2]) == 30 * int(told[1])
    assert abs(float(told[3]) - int(told[2]) / 3.6e6) < 1e-4
    assert not (tmp_path / "store").exists()


def damaged(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-5000])


def without_a_tensor(folder: Path) -> None:
    file = folder / "text_encoder_2" / "model.safetensors"
    tensors = load_file(file)
    del tensors["text_projection.weight"]
    save_file(tensors, file, metadata={"format": "pt"})


def pointer(folder: Path) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def without_the_unet(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def stable_diffusion_15(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["text_encoder_2"], index["tokenizer_2"]
    (folder / "model_index.json").write_text(
        json.dumps(index | {"_class_name": "StableDiffusionPipeline"})
    )


def code_of_its_own(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps(index | {"unet": ["my_code", "UNet2DConditionModel"]})
    )


def of_the_second_part(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer_2")


@pytest.mark.parametrize(
    "damage, said",
    [
        (
            damaged,
            r"diffusion_pytorch_model.safetensors is damaged or cut short .*: copy or "
            r"download it again",
        ),
        (
            without_a_tensor,
            r"does not fit .*config.json \(missing: 1 \(text_projection.weight\)\): copy "
            r"or download",
        ),
        (pointer, r"is a git-lfs pointer, .*run `git lfs pull`"),
        (
            without_the_unet,
            r"unet holds no weights, diffusion_pytorch_model.safetensors or .* is expected",
        ),
        (
            stable_diffusion_15,
            r"holds a StableDiffusionPipeline, StableDiffusionXLPipeline is expected",
        ),
        (
            code_of_its_own,
            r"its unet is my_code.UNet2DConditionModel, diffusers.UNet2DConditionModel is expected",
        ),
        (
            of_the_second_part,
            r"tokenizer_2 holds no vocabulary, vocab.json and merges.txt are expected",
        ),
        (shutil.rmtree, r"is no model in diffusers' layout \(no folder\): name a folder of SDXL"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    raw, tiny, tmp_path, damage: Callable[[Path], None], said
):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    damage(copy)
    refused(style(raw, tmp_path, f"style.model={copy}"), said, tmp_path)


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["style.steps=2", "style.strength=0.4"],
            r"leaves int\(0.8\) = 0 steps.*set style.steps=3 or more",
        ),
        (["style.strength=1.5"], r"style.strength is 1.5: a number above 0, at most 1"),
        (
            ["style.negative=blurry"],
            r"style.negative has no effect with style.guidance=0: raise that above 1",
        ),
        (["style.prompts=[]"], r"style.prompts is \[\]: a list of texts"),
        (["style.control=depth"], r"style.control is 'depth': canny or landmarks"),
        (["style.batch=0", "style.side=9"], r"style.batch is 0: .*; style.side is 9: px from 64"),
        ([f"style.prompts=[{'a' * 400}]"], r"has 402 tokens, 300 are read: shorten it"),
        (
            ["style.controlnet=nowhere"],
            r"style.controlnet=\S*nowhere is no ControlNet \(no folder\)",
        ),
        (["style.guidances=2"], r"no option 'style.guidances'; did you mean style.guidance\?"),
        (
            ["style.calls_per_s=0.01"],
            r"takes about \d+ s here .* more than --deadline-s 900: raise that",
        ),
    ],
)
def test_mistakes_are_refused(raw, tiny, tmp_path, words, said):
    refused(style(raw, tmp_path, f"style.model={tiny}", *words), said, tmp_path)


def test_a_controlnet_for_another_model_is_refused(raw, tiny, tmp_path):
    other = tiny_controlnet(tmp_path / "other", words=24)
    run = style(raw, tmp_path, f"style.model={tiny}", f"style.controlnet={other}")
    refused(
        run, r"has cross_attention_dim 24 and the UNet 32: it was made for another model", tmp_path
    )


def test_missing_weights_are_told_with_size_licence_and_the_way_to_get_them(
    raw, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for words, name in (((), "sdxl-turbo"), (("style.model=sdxl",), "sdxl")):
        said = (
            rf"{name} \(.*about 6.9 GB; licence: .*\) is not in .*`python -m datagen.weights "
            rf"fetch {name}`"
        )
        refused(style(raw, tmp_path, *words), said, tmp_path)


def test_what_was_fetched_in_part_or_has_changed_since_is_refused(raw, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "data" / "weights"
    folder = shutil.copytree(tiny, weights / "sdxl-turbo")
    record(find("sdxl-turbo"), "unet/config.json", "f" * 64, weights)
    refused(
        style(raw, tmp_path),
        r"unet/config.json is not the file that it should be .*ffffffffffff... is",
        tmp_path,
    )
    without_the_unet(folder)
    refused(style(raw, tmp_path), r"run `python -m datagen.weights fetch sdxl-turbo`", tmp_path)


def refused(run: Run, said: str, folder: Path) -> None:
    assert run.code == 2 and re.search(said, run.sentence), run.err
    assert not (folder / "out").exists() and not (folder / "store" / "ledger.jsonl").exists()
