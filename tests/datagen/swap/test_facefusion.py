"""ModelScope's swap in an interpreter of its own: colours, silent failures, workers that die, and
what is missing.

One test runs the real ModelScope, which takes seconds to start; the others a stand-in of its
`pipeline` in an otherwise bare interpreter.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from datagen.core.errors import Reject, Transient, UserError
from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.swap.facefusion import FaceFusion
from datagen.swap.facefusion.resident import Died, Resident
from datagen.vision import faces
from datagen.vision.landmarks import FaceMesh
from tests import faults
from tests.conftest import REPOSITORY
from tests.fakes import tiny_modelscope
from tests.fakes.tiny_modelscope import RED, SHARE, TASK

FRAMES = 6
TORCH = """
class cuda:
    is_available = staticmethod(lambda: False)

load, threads = print, []
set_num_threads = threads.append
"""
MODELSCOPE = """
import json, os, time
import numpy as np
import torch

def pipeline(task, model, device, trust_remote_code):
    assert torch.threads == [1]
    for name in ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP"):
        assert os.environ[name + "_THREADS"] == "1", name
    assert device == "cpu"
    with open(os.path.join(model, "configuration.json")) as file:
        told = json.load(file)
    if told.get("full"):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    needs = told.get("imports", [])
    for name in needs:
        __import__(name)
    folder, shown = model, []

    def swap(pictures):
        print("a line that must not get between the answers", flush=True)
        os.write(1, b"nor what a native library writes\\n")
        template, user = (pictures[name][:, :, ::-1] for name in ("template", "user"))
        shown.append(0)
        for fault in ("die", "hang", "raise"):
            mark = os.path.join(folder, "." + fault)
            if os.path.exists(mark) and len(shown) == 3:
                if os.path.getsize(mark):
                    os.remove(mark)
                if fault == "die":
                    print("the last words", flush=True)
                    os._exit(7)
                if fault == "hang":
                    open(os.path.join(folder, ".hanging"), "w").close()
                    time.sleep(600)
                raise ValueError("bad frame")
        if template.mean() < 8 or user.mean() < 8:
            return {"output_img": template}
        made = (1 - SHARE) * template + SHARE * user.mean((0, 1)) + np.array([RED, 0, 0])
        return {"output_img": np.clip(made, 0, 255)[:, :, ::-1]}

    return swap
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter with NumPy and stand-ins for torch and ModelScope, and nothing else."""
    return bare_interpreter(tmp_path_factory.mktemp("env"), MODELSCOPE)


def bare_interpreter(folder, modelscope=None):
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    installed = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists():
            (packages / name).symlink_to(installed / name)
    (packages / "torch.py").write_text(TORCH)
    if modelscope is not None:
        (packages / "modelscope").mkdir()
        (packages / "modelscope" / "__init__.py").touch()
        constants = f"SHARE, RED = {SHARE}, {RED}\n"
        (packages / "modelscope" / "pipelines.py").write_text(constants + modelscope)
    return str(folder / "bin" / "python")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "configuration.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A few frames of a talking head that moves; the fourth is black."""
    folder = tmp_path_factory.mktemp("clip")
    step = np.arange(FRAMES)
    motion = faults.poses(FRAMES, shift_x=3.0 * step)
    faults.film(folder / "clip.mp4", 2, motion, lambda rgb, index: rgb * np.uint8(index != 3))
    found = faces.track(FaceMesh(), video.frames(folder / "clip.mp4"))
    assert found.found.sum() == FRAMES - 1
    found.save(folder / "faces.npz")
    return Clip(
        "a-clip",
        {},
        artifacts={"clips": Artifact(folder / "clip.mp4"), "faces": Artifact(folder / "faces.npz")},
    )


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """One donor, blue all over."""
    folder = tmp_path_factory.mktemp("portraits")
    tinted = (
        (portrait(person(7)) * np.array([0.35, 0.45, 1.0]) + np.array([0, 0, 60]))
        .clip(0, 255)
        .astype(np.uint8)
    )
    cv2.imwrite(str(folder / "blue.png"), tinted[..., ::-1])
    return folder


def stage_of(python, model, portraits, **options):
    common = {
        "python": str(python),
        "model": str(model),
        "donors": str(portraits),
        "most_kept": 0.5,
    }
    return FaceFusion(**{**common, "frame_s": 60, "start_s": 120, **options})


def expected(clip, donor):
    """What the stand-ins make of every frame, RGB float [T, H, W, 3]."""
    before = np.stack(list(video.frames(clip.path("clips")))).astype(float)
    made = (1 - SHARE) * before + SHARE * donor.rgb.mean((0, 1)) + [RED, 0, 0]
    made[3] = before[3]
    return made.clip(0, 255)


def test_real_modelscope_swaps_with_the_colours_right_and_its_silence_is_noticed(
    clip, portraits, tmp_path
):
    folder = tiny_modelscope.folder(tmp_path / "model")
    stage = stage_of(sys.executable, folder, portraits, task=TASK, trust_remote_code=True)
    published = tmp_path / "published"
    published.mkdir()
    kind = {"type": "image-face-fusion"}
    configuration = {
        "framework": "pytorch",
        "task": "image-face-fusion",
        "model": kind,
        "pipeline": kind,
    }
    (published / "configuration.json").write_text(json.dumps(configuration))
    asked = {"task": "image-face-fusion", "model": str(published), "trust_remote_code": False}
    answer = stage._worker.ask(300, "load", **asked)
    assert (answer["error"], answer["name"]) == ("package", "torchvision"), (
        "what the published model needs is not here"
    )
    made = stage(clip, tmp_path)
    assert made.metrics["donor"] == "blue.png" and made.metrics["kept"] == round(1 / FRAMES, 4)
    after = np.stack(list(video.frames(made.path)))
    wanted = expected(clip, stage._pool[0])
    assert np.abs(after.mean((1, 2)) - wanted.mean((1, 2))).max() < 2
    rgb, nothing = np.full((64, 48, 3), 90, np.uint8), np.zeros((64, 48, 3), np.uint8)
    answer = stage._worker.ask(60, "swap", nothing)
    assert answer == {"no_face": "No face detected in template image!", "whose": "target"}
    stage._worker.ask(60, "donor", nothing)
    assert stage._worker.ask(60, "swap", rgb)["whose"] == "donor"


def test_frames_go_through_in_order_and_what_comes_back_unchanged_is_counted(
    python, model, clip, portraits, tmp_path
):
    stage = stage_of(python, model, portraits)
    stage.check()
    made = stage(clip, tmp_path)
    assert made.metrics["kept"] == round(1 / FRAMES, 4) and made.metrics["change"] > 20
    after = np.stack(list(video.frames(made.path)))
    assert np.abs(after - expected(clip, stage._pool[0])).mean((1, 2, 3)).max() < 3
    with pytest.raises(
        Reject, match="no_face: the swap finds no face in 1 of 6 frames, at most 10% are allowed"
    ):
        stage_of(python, model, portraits, most_kept=0.1)(clip, tmp_path)


def test_the_answer_of_no_face_is_known_in_rgb_and_in_bgr(python, model):
    worker = Resident(python, gpu=False)
    asked = {"task": TASK, "model": str(model), "trust_remote_code": False}
    assert worker.ask(60, "load", **asked)["versions"] == {}
    worker.ask(60, "donor", np.full((8, 8, 3), 99, np.uint8))
    red = np.zeros((16, 16, 3), np.uint8)
    red[:4, :4, 0] = 200
    assert worker.ask(60, "swap", red) == {"no_face": "it gives its input back", "whose": "target"}
    swapped = worker.ask(60, "swap", red + 50)["picture"]
    assert swapped[0, 0].tolist() == [224, 74, 74] and swapped.shape == red.shape
    worker.end()


@pytest.mark.parametrize("fault", ["die", "hang", "kill"])
def test_a_worker_that_dies_in_the_middle_of_a_clip_costs_nothing(
    fault, python, model, clip, portraits, tmp_path
):
    (tmp_path / "whole").mkdir()
    whole = stage_of(python, model, portraits)(clip, tmp_path / "whole")
    stage = stage_of(python, model, portraits, frame_s=3 if fault == "hang" else 60)
    if fault == "kill":
        swapper = stage.swapper

        def killing(*words):
            swap = swapper(*words)

            def at(rgb, index):
                if index == 2:
                    os.kill(stage._worker.pid, signal.SIGKILL)
                return swap(rgb, index)

            return at

        stage.swapper = killing
    else:
        (model / f".{fault}").write_text("once")
    made = stage(clip, tmp_path)
    assert not (model / f".{fault}").exists()
    assert made.path.read_bytes() == whole.path.read_bytes() and made.metrics == whole.metrics


def test_a_worker_that_always_dies_is_given_up(python, model, clip, portraits, tmp_path):
    (model / ".die").touch()
    stage = stage_of(python, model, portraits, restarts=1)
    with pytest.raises(
        Transient, match=r"ended with exit code 7, saying 'the last words', the last of 2"
    ):
        stage(clip, tmp_path)
    (model / ".die").unlink()
    assert stage(clip, tmp_path).metrics["kept"] > 0, "the next clip has a new worker"


def test_full_memory_while_the_model_is_loaded_fails_one_try_of_a_clip(
    python, model, clip, portraits, tmp_path
):
    (model / "configuration.json").write_text('{"full": true}')
    stage = stage_of(python, model, portraits)
    with pytest.raises(UserError, match=r"cannot be loaded .*out of memory.*: free memory there"):
        stage.check()
    with pytest.raises(Transient, match="CUDA out of memory"):
        stage(clip, tmp_path)
    (model / "configuration.json").write_text("{}")
    assert stage(clip, tmp_path).metrics["kept"] > 0


def test_an_error_about_a_frame_fails_the_clip_with_its_words(
    python, model, clip, portraits, tmp_path
):
    (model / ".raise").write_text("once")
    stage = stage_of(python, model, portraits)
    with pytest.raises(RuntimeError, match="ModelScope: ValueError: bad frame"):
        stage(clip, tmp_path)
    first = stage._worker.pid
    stage(clip, tmp_path)
    assert stage._worker.pid == first, "the worker lives on"


def test_no_worker_outlives_a_parent_that_is_killed(python, model):
    (model / ".hang").touch()
    script = f"""
import numpy as np
from datagen.swap.facefusion.resident import Resident
worker = Resident({python!r}, gpu=False)
worker.ask(60, "load", task="{TASK}", model={str(model)!r}, trust_remote_code=False)
worker.ask(60, "donor", np.full((8, 8, 3), 99, np.uint8))
print(worker.pid, flush=True)
for _ in range(9):
    worker.ask(600, "swap", np.full((8, 8, 3), 99, np.uint8))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    worker = psutil.Process(int(parent.stdout.readline()))
    faults.until((model / ".hanging").exists)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    faults.until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_a_worker_ends_with_its_stage(python, model, clip, portraits, tmp_path):
    stage = stage_of(python, model, portraits)
    stage(clip, tmp_path)
    worker = psutil.Process(stage._worker.pid)
    del stage
    faults.until(lambda: not worker.is_running())


def test_a_program_that_is_no_python_died(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho oh dear >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(Died, match="ended with exit code 3, saying 'oh dear'"):
        Resident(str(tmp_path / "python"), gpu=False).ask(20, "load")


def test_the_folder_of_the_model_is_part_of_the_key(python, model, portraits):
    before = stage_of(python, model, portraits).weights()
    (model / ".msc").write_text("ModelScope's own notes")
    assert stage_of(python, model, portraits).weights() == before
    (model / "pytorch_model.pt").write_bytes(b"1")
    assert stage_of(python, model, portraits).weights() != before
    parameters = stage_of(python, model, portraits).parameters()
    expected = {"most_kept": 0.5, "recogniser": "dlib", "task": "image-face-fusion"}
    assert parameters == expected


def _mistakes(python, model, tmp_path):
    """Options -> what is said."""
    bare = bare_interpreter(tmp_path / "bare")
    (tmp_path / "gone").mkdir()
    lacking, remote = tmp_path / "lacking", tmp_path / "remote"
    for folder, configuration in (
        (lacking, {"imports": ["tensorflow"]}),
        (remote, {"allow_remote": True}),
    ):
        folder.mkdir()
        (folder / "configuration.json").write_text(json.dumps(configuration))
    (tmp_path / "true").symlink_to("/bin/true")
    env, has = f"swap.python={python}", f"swap.model={model}"
    return [
        ((), "data/facefusion-env/bin/python is none: make it with `make facefusion-env`"),
        ((env,), "run `python -m datagen.weights fetch facefusion`"),
        (
            (env, f"swap.model={tmp_path / 'nowhere'}"),
            "nowhere does not exist, ModelScope's image-face-fusion",
        ),
        ((env, f"swap.model={tmp_path / 'gone'}"), "configuration.json cannot be read"),
        (
            (f"swap.python={bare}", has),
            "lacks the package modelscope (No module named 'modelscope'): make it again with",
        ),
        (
            (env, f"swap.model={lacking}"),
            "lacks the package tensorflow (No module named 'tensorflow'): make it again",
        ),
        (
            (env, f"swap.model={remote}"),
            "configuration.json says allow_remote): say swap.trust_remote_code=true if",
        ),
        (
            (f"swap.python={tmp_path / 'true'}", has),
            "ended with exit code 0 before it was ready: make its interpreter",
        ),
        ((env, has, "swap.gpus=1"), "sees no GPU: install one that does there, or swap.gpus=0"),
        (
            (env, "swap.model=iic/a_name"),
            "iic/a_name does not exist, ModelScope's image-face-fusion",
        ),
    ]


def test_what_is_missing_is_said_in_one_sentence_before_any_work(
    python, model, raw, store, tmp_path, monkeypatch
):
    (tmp_path / "stand").mkdir()
    monkeypatch.chdir(tmp_path / "stand")
    common = (
        "--input",
        raw,
        "--store",
        store,
        "--runner",
        "local",
        "--output",
        tmp_path / "out",
        "swap=facefusion",
    )
    for words, sentence in _mistakes(python, model, tmp_path):
        ended = faults.call("datagen.swap", *common, *words)
        assert ended.code == 2 and sentence in ended.sentence, (words, ended.sentence)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "stand").iterdir())


@pytest.mark.slow
def test_the_command_swaps(python, model, raw, store, tmp_path):
    common = (
        "--input",
        raw,
        "--store",
        store,
        "--runner",
        "local",
        "--output",
        tmp_path / "out",
        "swap=facefusion",
    )
    ended = faults.call("datagen.swap", *common, f"swap.python={python}", f"swap.model={model}")
    assert ended.code == 0, ended.err
    assert "planned 3 = kept 2 + filtered 0 + invalid 1 + failed 0" in ended.out
    assert (tmp_path / "out" / "sub" / "two-000.mp4").exists()


def test_the_worker_needs_nothing_of_this_project():
    text = (REPOSITORY / "datagen" / "swap" / "facefusion" / "worker.py").read_text()
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.M))
    assert imported <= set(sys.stdlib_module_names) | {"numpy", "torch", "modelscope"}
