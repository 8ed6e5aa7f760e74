"""A portrait, a driving video, and what comes out: by the command, with the tiny preset and its
random weights.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from omegaconf.errors import ConfigAttributeError
from PIL import Image

from datagen.media import video
from datagen.media.audio import SoundWriter
from datagen.sources.rendering.people import PEOPLE, portrait
from model.resolve import choose
from tests.conftest import REPOSITORY
from tests.faults import call, film, poses, started, tree, until

MODULE, COUNT, RATE = "model.animate", 20, 12
TINY = ("--preset", "tiny", "--steps", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with portrait.png and driving.mp4, which has sound of three seconds."""
    folder = tmp_path_factory.mktemp("inputs")
    Image.fromarray(portrait(PEOPLE[0])).save(folder / "portrait.png")
    step = np.linspace(-1, 1, COUNT)
    film(
        folder / "silent.mp4",
        2,
        poses(COUNT, shift_x=20 * step, mouth=0.5 + 0.4 * np.sin(9 * step)),
    )
    with_sound(folder / "silent.mp4", folder / "driving.mp4")
    return folder


def with_sound(silent: Path, path: Path) -> None:
    """The same pictures at RATE frames/s, and a tone."""
    with av.open(str(path), "w") as container:
        stream, sound = (
            container.add_stream("libx264", rate=RATE),
            container.add_stream("aac", rate=16000),
        )
        stream.height = stream.width = 512
        for n, rgb in enumerate(video.frames(silent)):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts, picture.time_base = n, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        tone = np.sin(np.arange(3 * 16000) / 20).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux([*sound.encode(frame), *sound.encode(), *stream.encode()])


def words(folder: Path, output: Path, *more: object) -> tuple[object, ...]:
    return (
        "--reference",
        folder / "portrait.png",
        "--driving",
        folder / "driving.mp4",
        "--output",
        output,
        *TINY,
        *more,
    )


def pictures(path: Path) -> np.ndarray:
    return np.stack(list(video.frames(path))).astype(int)


@pytest.fixture(scope="module")
def made(inputs, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("made") / "not" / "yet" / "there.mp4"
    run = call(MODULE, *words(inputs, path))
    assert run.code == 0, run.err
    assert (
        "RANDOM WEIGHTS" in run.out
        and f"{COUNT} frames, {RATE} frames/s, 64x64 px, with sound" in run.out
    )
    return path


def test_it_plays_as_long_as_the_driving_video_with_its_rate_and_sound(made):
    probe = video.probe(made)
    assert (probe.width, probe.height, probe.fps, probe.has_audio) == (64, 64, RATE, True)
    assert len(pictures(made)) == COUNT and probe.seconds == pytest.approx(COUNT / RATE, abs=1e-3)
    with av.open(str(made)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(COUNT / RATE, abs=0.07)
    assert list(made.parent.iterdir()) == [made]


def test_the_file_says_how_it_was_made(made, inputs):
    with av.open(str(made)) as container:
        told = json.loads(container.metadata["comment"])
    assert told["synthetic"] is True and told["model"] == {
        "preset": "tiny",
        "weights": "random, seed 0",
    }
    assert told["settings"]["preset"] == "tiny" and told["settings"]["seed"] == 42
    assert told["settings"]["steps"] == 2 and told["dtype"] == "torch.float32"
    assert told["reference"]["file"] == "portrait.png" and len(told["driving"]["sha256"]) == 64
    assert told["versions"]["torch"] == torch.__version__ and str(inputs) not in json.dumps(told)


def test_the_seed_decides(made, inputs, tmp_path):
    assert call(MODULE, *words(inputs, tmp_path / "same.mp4")).code == 0
    # some libraries round by where in memory numbers lie: a level here and there
    assert np.abs(pictures(tmp_path / "same.mp4") - pictures(made)).mean() < 0.5
    assert call(MODULE, *words(inputs, tmp_path / "other.mp4", "--seed", 7)).code == 0
    assert np.abs(pictures(tmp_path / "other.mp4") - pictures(made)).mean() > 2


@pytest.fixture
def written(monkeypatch) -> list[np.ndarray]:
    """The frames before they are compressed, which makes much of a difference of one level."""
    found: list[np.ndarray] = []
    write = SoundWriter.write

    def noted(writer: SoundWriter, rgb: np.ndarray) -> None:
        found.append(rgb.astype(int))
        write(writer, rgb)

    monkeypatch.setattr(SoundWriter, "write", noted)
    return found


@pytest.mark.parametrize(
    "base, more", [((8, "--overlap", 4), ("--batch", 3)), ((20,), ("--window", 24))]
)
def test_how_much_is_done_at_once_does_not_matter(base, more, inputs, tmp_path, written):
    """Windows one by one or three at once; a window as long as the video, or longer."""
    for name, options in {"a.mp4": (), "b.mp4": more}.items():
        run = call(MODULE, *words(inputs, tmp_path / name, "--window", *base, *options))
        assert run.code == 0, run.err
    assert len(written) == 2 * COUNT
    assert np.abs(np.stack(written[:COUNT]) - np.stack(written[COUNT:])).max() <= 1


@pytest.mark.parametrize("option", [("--contour-preserve",), ("--closed",), ("--official",), ("--guidance", 1), ("--margin", 1.6)])  # fmt: skip  # noqa: E501
def test_every_option_has_an_effect(option, made, inputs, tmp_path):
    run = call(MODULE, *words(inputs, tmp_path / "a.mp4", *option))
    assert run.code == 0, run.err
    other = pictures(tmp_path / "a.mp4")
    assert other.shape == pictures(made).shape and np.abs(other - pictures(made)).max() > 8


def test_a_saved_model_gives_the_same_pictures(inputs, tmp_path, written):
    choose("tiny", None, "cpu").load().save_pretrained(tmp_path / "model")
    assert call(MODULE, *words(inputs, tmp_path / "random.mp4")).code == 0
    run = call(
        MODULE,
        *words(inputs, tmp_path / "a.mp4", "--weights", tmp_path / "model", "--preset", "null"),
    )
    assert run.code == 0 and "RANDOM" not in run.out, run.err
    assert np.abs(np.stack(written[:COUNT]) - np.stack(written[COUNT:])).max() <= 1
    with av.open(str(tmp_path / "a.mp4")) as container:
        told = json.loads(container.metadata["comment"])
    assert told["model"]["folder"] == "model" and len(told["model"]["sha256"]) == 64
    assert told["settings"]["preset"] is None


def test_a_saved_model_says_how_its_pictures_are_framed(inputs, tmp_path, written):
    own = choose("tiny", None, "cpu").load()
    own.register_to_config(margin=1.6)
    own.save_pretrained(tmp_path / "model")
    for name, more in {"a.mp4": (), "b.mp4": ("--margin", 1.6), "c.mp4": ("margin=null",)}.items():
        model = ("--weights", tmp_path / "model", "--preset", "null")
        run = call(MODULE, *words(inputs, tmp_path / name, *model, *more))
        assert run.code == 0, run.err
    told, same, largest = (np.stack(written[i * COUNT : (i + 1) * COUNT]) for i in range(3))
    assert (told == same).all() and np.abs(told - largest).mean() > 1
    index = tmp_path / "model" / "model_index.json"
    index.write_text(index.read_text().replace('"margin": 1.6', '"margin": "wide"'))
    refused = call(MODULE, *words(inputs, tmp_path / "d.mp4", *model))
    assert (
        refused.code == 2
        and "margin is 'wide', a number from 1 or null is expected" in refused.sentence
    )


def test_half_precision_is_near(made, inputs, tmp_path):
    run = call(MODULE, *words(inputs, tmp_path / "a.mp4", "--dtype", "bfloat16"))
    assert run.code == 0, run.err
    apart = np.abs(pictures(tmp_path / "a.mp4") - pictures(made))
    assert 0 < apart.mean() < 12


def test_a_silent_video_gives_a_silent_one(inputs, tmp_path):
    run = call(MODULE, *words(inputs, tmp_path / "a.mp4", "--driving", inputs / "silent.mp4"))
    assert run.code == 0 and "25 frames/s, 64x64 px, without sound" in run.out
    assert not video.probe(tmp_path / "a.mp4").has_audio


def test_a_video_that_stands_is_kept_unless_asked(inputs, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    run = call(MODULE, *words(inputs, path))
    assert (
        run.code == 2 and "exists: add --overwrite" in run.sentence and path.read_bytes() == b"mine"
    )
    assert (
        call(MODULE, *words(inputs, path, "--overwrite")).code == 0 and len(pictures(path)) == COUNT
    )


@pytest.mark.parametrize(
    "more, sentence",
    [
        (("--steps", 0, "--batch", 0), "steps is 0, a whole number from 1 to 500 is expected; "
            "batch is 0"),
        (("--seed", "x", "--batch", 1.5), "--seed is 'x', a whole number is expected; "
            "--batch is 1.5, a whole number is expected"),
        (("--guidance", 0.5), "guidance is 0.5, a number from 1 is expected"),
        (("--margin", "wide"), "margin is 'wide', a number from 1, auto or null is expected"),
        (("--steps", 501), "steps is 501, a whole number from 1 to 500 is expected"),
        (("--window", 33, "--driving", "absent.mp4"), "window is 33, at most 32 "
            "frames are expected"),
        (("--window", 8, "--guidance", 0), "overlap is 8, less than the window of 8 is "
            "expected; guidance is 0"),
        (("--preset", "huge"), "there is no preset 'huge': sd15 or tiny is expected"),
        (("--preset", "sd15"), "there is no model in "
            "data/weights/megactor-sd15: make one there with"),
        (("--weights", "nowhere", "--preset", "null"), "there is no model in nowhere"),
        (("--weights", "nowhere"), "--preset tiny and --weights nowhere name two "
            "models: leave one of them out."),
        (("--device", "tpu"), "there is no device 'tpu' here"),
        (("--device", "cuda:99"), "there is no device 'cuda:99' here"),
        (("--dtype", "int8"), "dtype is 'int8'"),
        (("--output", "a.avi"), "a name that ends with .mp4 is expected"),
        (("--reference", "absent.png"), "there is no portrait absent.png"),
        (("--driving", "absent.mp4"), "there is no driving video absent.mp4"),
        (("--strength", 3), "there is no option 'strength'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_nothing_is_written(
    more, sentence, inputs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = tree(inputs)
    run = call(MODULE, *words(inputs, tmp_path / "out" / "a.mp4", *more))
    assert run.code == 2 and sentence in run.sentence
    assert tree(inputs) == before and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_outputs_that_cannot_be(inputs, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    driving = inputs / "driving.mp4"
    for output, sentence in {
        tmp_path / "file" / "a.mp4": "cannot be written (",
        tmp_path / "folder.mp4": "is a folder, a file is expected",
        driving: "is one of the inputs",
    }.items():
        run = call(MODULE, *words(inputs, output, "--overwrite"))
        assert run.code == 2 and sentence in run.sentence
    assert len(pictures(driving)) == COUNT


ALLOCATION = RuntimeError("DefaultCPUAllocator: can't allocate memory")
MEMORY_ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), ALLOCATION]


@pytest.mark.parametrize("error", MEMORY_ERRORS)
def test_out_of_memory_says_what_to_lower(error, inputs, tmp_path, monkeypatch):
    def full(*_):
        raise error

    monkeypatch.setattr("model.animator.Animator.denoise", full)
    run = call(
        MODULE,
        *words(inputs, tmp_path / "a.mp4", "--batch", 4, "--guidance", 1, "--dtype", "float32"),
    )
    assert run.code == 2 and not list(tmp_path.iterdir())
    assert "out of memory: try --batch 1 or --dtype bfloat16 or a smaller --window" in run.sentence


def test_an_error_of_ours_is_not_hidden(inputs, tmp_path, monkeypatch):
    def wrong(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("model.animator.Animator.guided", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        call(MODULE, *words(inputs, tmp_path / "a.mp4"))
    assert not list(tmp_path.iterdir())


def test_a_model_of_which_a_part_is_gone(inputs, tmp_path):
    folder = tmp_path / "model"
    choose("tiny", None, "cpu").load().save_pretrained(folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    run = call(MODULE, *words(inputs, tmp_path / "a.mp4", "--weights", folder, "--preset", "null"))
    assert run.code == 2 and f"the model in {folder} cannot be loaded" in run.sentence
    assert list(tmp_path.iterdir()) == [folder]


def test_an_interruption_leaves_nothing(inputs, tmp_path):
    output = tmp_path / "out" / "a.mp4"
    log = tmp_path / "log"
    with started(log, MODULE, *words(inputs, output, "--steps", 400)) as process:
        until(
            lambda: (
                output.parent.is_dir()
                and any(path.stat().st_size == 0 for path in output.parent.iterdir())
            )
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()
    assert (
        not list(output.parent.iterdir()) and "interrupted: nothing was written" in log.read_text()
    )


def test_an_interruption_that_a_library_hides(inputs, tmp_path, monkeypatch, capfd):
    def hidden(_):
        try:
            try:
                raise KeyboardInterrupt
            finally:
                None._invalidate_flags_cache()  # what OmegaConf's own cleaning up came to once
        except AttributeError as error:
            raise ConfigAttributeError(str(error)) from None

    monkeypatch.setattr("model.build.OmegaConf.resolve", hidden)
    run = call(MODULE, *words(inputs, tmp_path / "a.mp4"))
    assert run.code == 130 and capfd.readouterr().err.endswith(
        "interrupted: nothing was written.\n"
    )
    assert not list(tmp_path.iterdir())


def test_help_loads_nothing():
    script = (
        "import model.animate, sys; print({'torch', 'diffusers', 'cv2', 'av'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "set()"
    run = call(MODULE, "--help")
    assert run.code == 0 and "--contour-preserve" in run.out and "(required)" in run.out


def test_a_real_portrait_and_a_real_video(media, tmp_path):
    clip, output = media / "bad" / "audio_longer_than_video.mp4", tmp_path / "a.mp4"
    portrait_path = media / "portraits" / "p05_painting_mona_lisa_720x1280.jpg"
    run = call(MODULE, "--reference", portrait_path, "--driving", clip, "--output", output, *TINY)
    assert run.code == 0, run.err
    probe = video.probe(output)
    assert len(pictures(output)) == 75 and probe.fps == 25 and probe.has_audio
    with av.open(str(output)) as container:
        assert container.duration / 1e6 == pytest.approx(3.0, abs=0.07)


def peak(inputs: Path, driving: Path, output: Path) -> int:
    """Bytes of memory that the command took at most, measured by the system."""
    command = [
        sys.executable,
        "-m",
        MODULE,
        *map(str, words(inputs, output, "--driving", driving, "--steps", 1)),
    ]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    return usage.ru_maxrss * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(inputs, tmp_path):
    peaks = {}
    for seconds in (4, 20):
        count = 25 * seconds
        film(
            tmp_path / f"{seconds}.mp4",
            2,
            poses(count, mouth=0.5 + 0.4 * np.sin(np.arange(count) / 3)),
        )
        peaks[seconds] = peak(inputs, tmp_path / f"{seconds}.mp4", tmp_path / f"out-{seconds}.mp4")
        assert len(pictures(tmp_path / f"out-{seconds}.mp4")) == count
    assert peaks[20] < 1.1 * peaks[4], peaks
