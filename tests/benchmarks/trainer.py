"""Speed of training: steps under Lightning, with all that hangs on them, over a bare loop of the
same modules.

    python -m tests.benchmarks.trainer [--device cuda] [--rounds 5]

Both on the tiny model in one run, in turns; processor seconds, which other programs hardly move. On
a GPU also stage 1 and stage 2 at 512 px, 12 frames, batch 1, bfloat16, with and without gradient
checkpointing: steps a second and peak memory. Random weights, and data that is in memory already.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from lightning import LightningDataModule
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch import Tensor

from datagen.options import register
from datagen.shards.parameters import ClipParameters
from model.pipeline import MegActorPipeline
from tests.benchmarks.given import given, peak_gib
from tests.conftest import REPOSITORY
from training.data.batch import Batch
from training.fit import FitOptions
from training.optim.ema import trained
from training.optim.optimizer import optimizer, schedule
from training.trainer.callbacks import Signals
from training.trainer.run import (
    Run,
    _lightning_module,
    _pipeline,
    _quiet,
    _trainer,
    model_identity,
)
from training.trainer.settings import resolved

WARM = 3  # steps that are not counted
TINY = (
    "model=tiny",
    "trainer=cpu",
    "data.frames=4",
    "data.batch=2",
    "optim.ema=0.99",
    "max_steps=15",
)
FULL = ("init_from=null", "optim.ema=null", "max_steps=8", "data.batch=1", "data.frames=12")


def main() -> None:
    words = given(__doc__)
    overhead(words.rounds)
    if words.device == "cuda":
        for stage in ("stage1", "stage2"):
            for saves in (False, True):
                full_size(stage, saves)


def overhead(rounds: int) -> None:
    pairs = [(bare(settings(*TINY)), under_lightning(settings(*TINY))) for _ in range(rounds)]
    ratios = sorted(loop / step for loop, step in pairs)
    loop, step = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    print(
        f"tiny, one thread: {1 / loop:.2f} steps/s in a bare loop, {1 / step:.2f} under Lightning"
    )
    spread = f"({ratios[0]:.3f} to {ratios[-1]:.3f})"
    print(f"  Lightning over the bare loop: {statistics.median(ratios):.3f} {spread}, goal 0.97")


def full_size(stage: str, saves: bool) -> None:
    torch.cuda.reset_peak_memory_stats()
    cfg = settings(f"+experiment={stage}", *FULL, f"gradient_checkpointing={saves}")
    seconds = under_lightning(cfg, time.perf_counter)
    memory, means = peak_gib(), "with" if saves else "without"
    print(
        f"{stage}, {means} checkpointing: {1 / seconds:.2f} steps/s of {cfg.accumulate} "
        f"clips, {memory:.1f} GiB"
    )


def settings(*words: str) -> Any:
    register(FitOptions)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return resolved(
            compose("fit", [*words, "progress=false", "validate_every=0", "output=unset"])
        )


def bare(cfg: Any) -> float:
    """Median seconds of a step: the same losses, clipping, optimizer, learning rate and mean of the
    weights.
    """
    identity = model_identity(cfg, ClipParameters())
    pipeline = _pipeline(cfg, identity)
    module, batch = (
        _lightning_module(cfg, pipeline, identity),
        random_batch(pipeline, cfg.data.batch, cfg.data.frames),
    )
    own = optimizer(module.animator, cfg.optim)
    rates, now = schedule(own, cfg.optim, cfg.max_steps), trained(module)
    mean = {name: value.clone() for name, value in now.items()}
    times = [time.process_time()]
    for _ in range(cfg.max_steps):
        own.zero_grad()
        module.task.losses(module.animator, batch)[0].mean().backward()
        torch.nn.utils.clip_grad_norm_(module.animator.parameters(), cfg.optim.clip)
        own.step()
        rates.step()
        torch._foreach_lerp_(list(mean.values()), list(now.values()), 0.01)
        times.append(time.process_time())
    return _median(times)


def under_lightning(cfg: Any, clock: Any = time.process_time) -> float:
    """Median seconds of a step as python -m training.fit takes it, to the end of all callbacks."""
    identity = model_identity(cfg, ClipParameters())
    pipeline, marks = _pipeline(cfg, identity), Marks(clock)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        cfg = resolved(OmegaConf.merge(cfg, {"output": folder, "logger": {"save_dir": folder}}))
        data: Any = Ready(random_batch(pipeline, cfg.data.batch, cfg.data.frames))
        run = Run(cfg, pipeline, data, _lightning_module(cfg, pipeline, identity), None, None)
        trainer = _trainer(cfg, [marks, *run._callbacks(Signals())])
        trainer.fit(run.module, datamodule=data)
    return _median(marks.times[:: cfg.accumulate])


class Marks(Callback):
    """When each micro-step begins."""

    def __init__(self, clock: Any):
        self.clock = clock
        self.times: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.times.append(self.clock())


class Ready(LightningDataModule):
    """training.data.module.ClipData, of one batch again and again."""

    def __init__(self, batch: Batch):
        super().__init__()
        self.batch, self.position = batch, 0
        self.clips = SimpleNamespace(order=SimpleNamespace(count=1))

    def start(self, position: int) -> None:
        self.position = position

    def train_dataloader(self) -> Iterator[Batch]:
        return repeat(self.batch)


def random_batch(pipeline: MegActorPipeline, count: int, frames: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    side, driving, latent = pipeline.side, pipeline.driving_side, pipeline.side // pipeline.factor
    clip = int(pipeline.image_encoder.config.image_size)

    def pictures(*shape: int) -> Tensor:
        return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=draw)

    return Batch(
        keys=("none",) * count,
        twins=("target",) * count,
        positions=torch.arange(count),
        frames=torch.arange(frames).repeat(count, 1),
        reference_frames=torch.zeros(count, dtype=torch.int64),
        target=pictures(3, frames, side, side),
        driving=pictures(1, frames, driving, driving),
        reference=pictures(3, side, side),
        background=torch.ones(count, 1, latent, latent),
        clip_pixels=torch.randn(count, 3, clip, clip, generator=draw),
        mask=torch.zeros(count, frames, side, side, dtype=torch.uint8),
        landmarks=torch.zeros(count, frames, 478, 2),
    )


def _median(times: list[float]) -> float:
    steps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    return statistics.median(steps[WARM:])


if __name__ == "__main__":
    main()
