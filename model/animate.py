"""A portrait that moves like the person of a driving video.

python -m model.animate --reference portrait.png --driving video.mp4 --output out.mp4
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import uuid
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.cli import command
from datagen.core.errors import UserError, interruption_kept
from datagen.core.files import canonical, file_sha256
from datagen.options import REQUIRED, option

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig
    from tqdm import tqdm

    from model.inputs.driving_video import DrivingVideo
    from model.inputs.portrait import Portrait
    from model.pipeline import MegActorPipeline, SamplingSettings
    from model.resolve import Choice

LEAST = {"steps": 1, "seed": 0, "window": 1, "overlap": 0, "batch": 1}
MOST = {"steps": 500, "seed": 2**31 - 1}
NOT_IN_METADATA = (
    "reference",
    "driving",
    "output",
    "weights",
    "device",
    "dtype",
    "overwrite",
    "progress",
)
LINE_EVERY = 15.0  # s between lines where there is no terminal
PACKAGES = ("megactor-kit", "torch", "diffusers", "transformers", "av", "mediapipe")


@dataclass
class AnimateOptions:
    reference: str = option(REQUIRED, "portrait: a picture of one face")
    driving: str = option(REQUIRED, "video of one face, in any format that FFmpeg reads")
    output: str = option(REQUIRED, "the new video: .mp4")
    preset: str | None = option(
        None,
        "sd15, the default: 512 px, weights in data/weights/megactor-sd15; tiny: 64 px, "
        "random weights",
    )
    weights: str | None = option(
        None, "folder of a whole model, as python -m model.convert writes it, in place of a preset"
    )
    steps: int = option(25, "denoising steps, up to 500")
    guidance: float = option(
        4.5, "how strongly the portrait is followed; 1: no second pass without it, in half the time"
    )
    seed: int = option(42, "of the noise: the same seed gives the same file")
    contour_preserve: bool = option(
        False, "drive by eyes, brows and mouth alone, moved to the portrait's: keeps its outline"
    )
    margin: int | float | str | None = option(
        "auto",
        "side of the squares over side of the face; null: the largest; "
        "auto: as in the clips of its training",
    )
    window: int = option(
        16, "frames that the model sees at once, up to 32 (motion_max_seq_length of the model)"
    )
    overlap: int = option(8, "frames that windows share, less than window")
    batch: int = option(1, "windows at once: faster on a GPU, and needs more memory")
    closed: bool = option(
        False,
        "windows in a loop, for a video that ends as it begins; the memory grows with its length",
    )
    official: bool = option(
        False,
        "as the official program: its noise schedule, closed, pictures shrunk without smoothing",
    )
    device: str = option("auto", "auto: cuda where there is one, else cpu")
    dtype: str = option("auto", "auto: bfloat16 on a GPU, float32 elsewhere; or float16")
    overwrite: bool = option(False, "replace an existing output")
    progress: bool = option(True, "a bar with the remaining time")


@command("animate", AnimateOptions)
def main(cfg: DictConfig) -> int:
    if mistakes := list(_mistakes(cfg)):
        raise UserError("; ".join(mistakes) + ".")
    try:
        with interruption_kept():
            animate(cfg)
    except KeyboardInterrupt:
        print("interrupted: nothing was written.", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        raise UserError(_out_of_memory(cfg)) from None
    return 0


def animate(cfg: DictConfig) -> None:
    """Check the inputs, then load the model, then write the video."""
    from datagen.media import video
    from model.inputs import portrait
    from model.resolve import choose, refuse_window

    preset, weights = (None if value is None else str(value) for value in (cfg.preset, cfg.weights))
    choice = choose(preset, weights, cfg.device, cfg.dtype)
    refuse_window(cfg.window, choice.longest_window(), "window")
    still = portrait.read(Path(str(cfg.reference)))
    driving = _analyzed(Path(str(cfg.driving)), cfg.progress)
    for line in _remarks(choice, still, driving):
        print(line, flush=True)
    output = Path(str(cfg.output))
    with _whole(output) as part:
        pipeline = _pipeline(cfg, choice)
        with _autocast(choice):
            _write(cfg, part, pipeline, still, driving, _metadata(cfg, choice, still, driving))
    size, sound = (
        f"{pipeline.side}x{pipeline.side} px",
        "with" if video.probe(output).has_audio else "without",
    )
    print(
        f"{output}: {len(driving.shown)} frames, {_rate(driving)} frames/s, {size}, {sound} sound"
    )


def _write(
    cfg: DictConfig,
    path: Path,
    pipeline: MegActorPipeline,
    still: Portrait,
    driving: DrivingVideo,
    metadata: dict[str, str],
) -> None:
    from datagen.media.audio import SoundWriter
    from model.inputs.driving_video import DrivingFrames

    settings = _settings(cfg)
    margin = pipeline.margin if cfg.margin == "auto" else cfg.margin
    framed = still.framed(pipeline.side, margin, not cfg.official)
    contour = framed.outline * pipeline.driving_side if cfg.contour_preserve else None
    source = DrivingFrames(
        driving, pipeline.driving_side, contour, margin, not cfg.official, pipeline.grey
    )
    with (
        contextlib.closing(source) as frames,
        _progress(pipeline, len(source), settings, cfg.progress) as bar,
        SoundWriter(path, driving.rate, driving.path, metadata=metadata) as writer,
    ):
        reference = pipeline.reference(framed.picture, framed.background, settings.seed)
        for rgb in pipeline.animate(reference, frames, settings):
            writer.write(rgb)
            bar.set_postfix_str(f"{writer.count} of {len(frames)} frames written", refresh=False)


def _mistakes(cfg: DictConfig) -> Iterator[str]:
    """One phrase for each mistake that the options alone show."""
    for name, least in LEAST.items():
        most = MOST.get(name, sys.maxsize)
        if not least <= cfg[name] <= most:
            upper = f" to {most}" if name in MOST else ""
            yield f"{name} is {cfg[name]}, a whole number from {least}{upper} is expected"
    if 1 <= cfg.window <= cfg.overlap:
        yield f"overlap is {cfg.overlap}, less than the window of {cfg.window} is expected"
    if not 1 <= cfg.guidance < 1e6:
        yield f"guidance is {cfg.guidance:g}, a number from 1 is expected"
    margin = cfg.margin
    is_side = isinstance(margin, int | float) and 1 <= margin < 1e6
    if not is_side and margin not in ("auto", None):
        yield f"margin is {margin!r}, a number from 1, auto or null is expected"
    yield from _output_mistakes(Path(str(cfg.output)), cfg)


def _output_mistakes(output: Path, cfg: DictConfig) -> Iterator[str]:
    inputs = (Path(str(cfg.reference)), Path(str(cfg.driving)))
    if output.suffix.lower() != ".mp4":
        yield f"output is {output}, a name that ends with .mp4 is expected"
    elif output.is_dir():
        yield f"output {output} is a folder, a file is expected"
    elif output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        yield f"output {output} is one of the inputs, another name is expected"
    elif output.exists() and not cfg.overwrite:
        yield f"output {output} exists: add --overwrite to replace it, or choose another name"


def _settings(cfg: DictConfig) -> SamplingSettings:
    from model.pipeline import SamplingSettings

    same = {name: cfg[name] for name in ("steps", "seed", "window", "overlap", "batch")}
    return SamplingSettings(**same, guidance=float(cfg.guidance), closed=cfg.closed or cfg.official)


def _analyzed(path: Path, progress: bool) -> DrivingVideo:
    from model.inputs.driving_video import analyze_driving_video

    with _bar(progress, unit=" pictures", desc="looking for the face", leave=False) as bar:
        return analyze_driving_video(path, bar.update)


def _remarks(choice: Choice, still: Portrait, driving: DrivingVideo) -> Iterator[str]:
    """What the user should know before the work begins."""
    if choice.folder is None:
        yield (
            f"preset {choice.preset}: RANDOM WEIGHTS, so the new video shows noise; "
            "--weights names a trained model."
        )
    if still.faces > 1:
        yield f"{still.path}: the largest of {still.faces} faces is taken."
    count, missed = len(driving.found), int((~driving.found).sum())
    if missed:
        yield (
            f"{driving.path}: no face in {missed} of {count} pictures; its place there is "
            "that before and after."
        )
    if not driving.is_steady:
        yield (
            f"{driving.path}: the frame rate varies; the new video has the mean, "
            f"{_rate(driving)} frames/s."
        )


def _rate(driving: DrivingVideo) -> str:
    return f"{float(driving.rate):.5g}"


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, renamed to it at the end. An error leaves no file."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): choose another --output."
        ) from None
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _pipeline(cfg: DictConfig, choice: Choice) -> MegActorPipeline:
    from model.schedule import official_inference

    pipeline = choice.load()
    if cfg.official:
        pipeline.register_modules(scheduler=official_inference())
    return pipeline


def _autocast(choice: Choice) -> torch.autocast:
    import torch

    return torch.autocast(
        choice.device.type, choice.dtype, enabled=choice.dtype is not torch.float32
    )


def _metadata(
    cfg: DictConfig, choice: Choice, still: Portrait, driving: DrivingVideo
) -> dict[str, str]:
    """The file's tags: JSON in the comment that says that it is synthetic and how it was made."""
    comment = {
        "synthetic": True,
        "made_by": "MegActor-Kit, model.animate",
        "model": choice.identity(),
        "device": choice.device.type,
        "dtype": str(choice.dtype),
        "settings": {name: cfg[name] for name in cfg if name not in NOT_IN_METADATA}
        | {"preset": choice.preset},
        "reference": {"file": still.path.name, "sha256": file_sha256(still.path)},
        "driving": {"file": driving.path.name, "sha256": file_sha256(driving.path)},
        "versions": {name: version_of(name) for name in PACKAGES},
    }
    return {"comment": canonical(comment)}


def version_of(package: str) -> str:
    """Of an installed package; ours may also run from a checkout."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@contextlib.contextmanager
def _progress(
    pipeline: MegActorPipeline, frames: int, settings: SamplingSettings, progress: bool
) -> Iterator[tqdm]:
    """A bar that counts denoised frames of all steps, since finished frames come late."""
    from model.sampling import windows

    def tick(module: object, inputs: object, frames: Sized) -> None:
        bar.update(len(frames))

    plan = windows(frames, settings.window, settings.overlap, settings.closed)
    total = settings.steps * sum(map(len, plan))
    with _bar(progress, total=total, unit=" steps", smoothing=0.05) as bar:
        hook = pipeline.unet.conv_in.register_forward_hook(tick)
        try:
            yield bar
        finally:
            hook.remove()


def _bar(progress: bool, **options: Any) -> tqdm:
    """tqdm's bar in a terminal, elsewhere a line now and then."""
    from tqdm import tqdm

    class Lines(tqdm):
        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            if self.n:
                print(self, file=sys.stderr, flush=True)
            return True

    if sys.stderr.isatty():
        return tqdm(dynamic_ncols=True, disable=not progress, **options)
    pauses = {"mininterval": LINE_EVERY, "maxinterval": LINE_EVERY}
    return Lines(file=io.StringIO(), ncols=100, disable=not progress, **pauses, **options)


def _is_memory(error: BaseException) -> bool:
    """For a GPU torch raises a class of its own, for a CPU a bare RuntimeError."""
    import torch

    return isinstance(
        error, MemoryError | torch.OutOfMemoryError
    ) or "can't allocate memory" in str(error)


def _out_of_memory(cfg: DictConfig) -> str:
    ways = {
        "--batch 1": cfg.batch > 1,
        "--closed false": cfg.closed and not cfg.official,
        "leaving out --official": cfg.official,
        "--dtype bfloat16": cfg.dtype == "float32",
        "a smaller --window and --overlap": cfg.window > 2,
        "--preset tiny": cfg.preset != "tiny" and cfg.weights is None,
    }
    helping = [way for way, helps in ways.items() if helps]
    advice = (
        " or ".join(helping)
        if helping
        else "a machine with more memory, or end other programs on this one"
    )
    return f"out of memory: try {advice}; nothing was written."


if __name__ == "__main__":
    main()
