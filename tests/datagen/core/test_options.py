"""Numbers and GPUs that a backend's options ask for: refused before any work."""

from __future__ import annotations

import pytest
import torch

from datagen.core.device import refuse_gpus, refuse_no_gpu
from datagen.core.errors import UserError
from datagen.core.options import refuse_count, refuse_number
from tests.faults import call


@pytest.mark.parametrize("value", ["abc", None, True, float("nan"), float("inf"), -0.5, 1.5])
def test_what_is_no_share_of_a_gpu_is_refused(value):
    with pytest.raises(UserError, match="^gaze.gpus is .*: a number from 0 to 1 is expected.$"):
        refuse_gpus("gaze.gpus", value)


def test_the_ends_of_a_range_are_within():
    refuse_gpus("gaze.gpus", 0)
    refuse_gpus("gaze.gpus", 1.0)
    refuse_number("gaze.margin", 1e6, 0)
    refuse_count("swap.restarts", 0, 0)
    for value in (-1, 1.0, "2"):
        with pytest.raises(UserError, match="a whole number from 0 is expected"):
            refuse_count("swap.restarts", value, 0)


BAD = [
    (("gaze=l2cs", "gaze.gpus=abc"), "gaze.gpus is 'abc': a number from 0 to 1 is expected."),
    (("gaze=l2cs", "gaze.margin=abc"), "gaze.margin is 'abc': a number from 0 is expected."),
    (("gaze=l2cs", "gaze.gpus=-1"), "gaze.gpus is -1: a number from 0 to 1"),
    (("gaze.open_share=x",), "gaze.open_share is 'x'"),
    (("mask=farl", "mask.batch=0"), "mask.batch is 0: a whole number from 1"),
    (("mask=polygon", "mask.person_threshold=-1"), "mask.person_threshold is -1"),
    (("mask=matting", "mask.gpus=abc"), "mask.gpus is 'abc'"),
    (("mask=densepose", "mask.gpus=2"), "mask.gpus is 2"),
    (("swap=facefusion", "swap.restarts=-1"), "swap.restarts is -1: a whole number from 0"),
    (("swap=inswapper", "swap.gpus=abc"), "swap.gpus is 'abc'"),
    (("faces=insightface", "faces.gpus=-1"), "faces.gpus is -1"),
    (("style=sdxl", "style.gpus=abc"), "style.gpus is 'abc'"),
]


@pytest.mark.parametrize("words, said", BAD)
def test_a_bad_number_ends_the_command(words, said, tmp_path):
    ended = call(
        "datagen.shards",
        "--runner",
        "local",
        "--store",
        tmp_path / "s",
        "--output",
        tmp_path / "o",
        *words,
    )
    assert ended.code == 2 and said in ended.sentence and not list(tmp_path.iterdir())


def test_a_missing_gpu_is_said_before_any_work_where_workers_are_here(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("datagen.gaze.l2cs.L2csGaze.check", lambda self: None)
    common = (
        "--input",
        raw,
        "--store",
        tmp_path / "s",
        "--output",
        tmp_path / "o",
        "gaze=l2cs",
        "gaze.gpus=1",
    )
    for words in (("--runner", "local"), ("--runner", "ray")):
        ended = call("datagen.gaze", *common, *words)
        assert (
            ended.code == 2
            and "gaze.gpus is 1 and PyTorch sees no GPU here: say gaze.gpus=0" in ended.sentence
        )
    assert not (tmp_path / "s").exists() and not (tmp_path / "o").exists()
    with pytest.raises(UserError, match="gaze.gpus is 0.5 and"):
        refuse_no_gpu("gaze.gpus", 0.5)


def test_a_cluster_without_a_gpu_says_so_before_the_first_clip(tmp_path, monkeypatch, raw):
    class Cluster:
        def room(self, needs):
            raise UserError("Ray sees no GPU." if needs.gpus else "a clip was asked about first")

        def close(self):
            pass

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("datagen.gaze.l2cs.L2csGaze.check", lambda self: None)
    monkeypatch.setattr("datagen.gaze.l2cs.L2csGaze.weights", lambda self: {"l2cs": "0"})
    monkeypatch.setattr("datagen.session._executor", lambda job: Cluster())
    where = (
        "--input",
        raw,
        "--store",
        tmp_path / "s",
        "--output",
        tmp_path / "o",
        "ray.address=auto",
    )
    ended = call("datagen.gaze", *where, "gaze=l2cs", "gaze.gpus=1")
    assert ended.code == 2 and "Ray sees no GPU." in ended.sentence
