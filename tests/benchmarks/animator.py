"""Speed of the model: against the official loop written straightforwardly, and of a training step
against its parts.

    python -m tests.benchmarks.animator [--device cuda] [--rounds 5]

Everything is measured side by side in one run, on the tiny preset and on a wider one; random
weights. On a GPU also the size of Stable Diffusion 1.5 at 512 px: seconds a frame, memory, share of
the card's rate for matrices.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from model.animator import Animator, Reference, joined
from model.layers import Attention, TransformerBlock
from model.pipeline import MegActorPipeline, SamplingSettings, repeated
from model.sampling import windows
from model.unet import looking
from tests.benchmarks.given import given, peak_gib
from tests.conftest import REPOSITORY

WIDER = {
    "block_out_channels": [128, 192, 256, 256],
    "layers_per_block": 2,
    "num_attention_heads": 8,
    "attention_levels": None,
}
SETTINGS = SamplingSettings(steps=4, window=8, overlap=4)
FRAMES, BATCH = 20, 2


def main() -> None:
    words = given(__doc__)
    for name, change in (("tiny", {}), ("wider", WIDER)):
        inference(name, build(change, words.device), words.rounds)
        training(name, build(change, words.device), words.rounds)
    if words.device == "cuda":
        full_size(words.rounds)


def build(change: dict[str, Any], device: str, preset: str = "tiny") -> MegActorPipeline:
    torch.manual_seed(0)
    cfg = OmegaConf.load(REPOSITORY / "conf" / "model" / f"{preset}.yaml")
    cfg.unet.update(change)
    return instantiate(cfg, _convert_="all").to(device)


@dataclass
class Noise:
    """Driving frames of nobody."""

    pictures: Tensor  # 3 f H W

    def __len__(self) -> int:
        return self.pictures.shape[1]

    def read(self, frames: range) -> Tensor:
        return self.pictures[:, frames.start : frames.stop]


def inputs(pipeline: MegActorPipeline, frames: int) -> tuple[Reference, Noise]:
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (pipeline.side, pipeline.side, 3), np.uint8)
    reference = pipeline.reference(picture, np.tri(pipeline.side, dtype=bool), 0)
    return reference, Noise(torch.rand(3, frames, pipeline.driving_side, pipeline.driving_side))


class OfficialAttention(nn.Module):
    """Under guidance all rows look at the reference; then those of the half without it are done
    again.
    """

    def __init__(self, attention: Attention):
        super().__init__()
        self.attention = attention

    def forward(
        self, x: Tensor, context: Tensor | None = None, more: Tensor | None = None
    ) -> Tensor:
        out = self.attention(x, context, more)
        if more is not None:
            half = len(x) // 2
            out[:half] = self.attention(x[:half], context)
        return out


def official(pipeline: MegActorPipeline) -> MegActorPipeline:
    """The same weights, with the attention of the official program."""
    copied = copy.deepcopy(pipeline)
    for module in list(copied.unet.modules()):
        if isinstance(module, TransformerBlock):
            module.attn1 = OfficialAttention(module.attn1)  # type: ignore[assignment]
    return copied


@torch.no_grad()
def straightforward(
    pipeline: MegActorPipeline, reference: Reference, driving: Noise, settings: SamplingSettings
) -> Tensor:
    """Latents [4, f, h, w] by the official loop: the DrivenEncoder in every call, both halves of
    guidance in full, window after window, step after step.
    """
    animator, scheduler = pipeline.animator, pipeline.scheduler
    scheduler.set_timesteps(settings.steps)
    plan = windows(len(driving), settings.window, settings.overlap)
    start = sampler(pipeline, reference, driving, settings).start
    latents = torch.stack([start(frame) for frame in range(len(driving))], dim=1)
    doubled = repeated(reference, 2)
    for timestep in scheduler.timesteps:
        times = timestep.expand(2).to(latents.device)
        features = animator.features(times, doubled)
        total, count = torch.zeros_like(latents), torch.zeros(len(driving), 1, 1).to(latents)
        for window in map(list, plan):
            pictures = driving.pictures[None, :, window].expand(2, -1, -1, -1, -1).to(latents)
            driven = animator.driven_encoder(pictures, doubled.picture)
            noisy = latents[None, :, window].expand(2, -1, -1, -1, -1)
            without, with_reference = animator.unet(
                joined(noisy, driven, doubled), times, doubled.tokens, features
            )
            total[:, window] += without + settings.guidance * (with_reference - without)
            count[window] += 1
        latents = scheduler.step(total / count, timestep, latents).prev_sample
    return latents


def sampler(
    pipeline: MegActorPipeline, reference: Reference, driving: Noise, settings: SamplingSettings
) -> Any:
    from model.pipeline import _Sampler

    return _Sampler(pipeline, reference, driving, settings)


@torch.no_grad()
def ours(
    pipeline: MegActorPipeline, reference: Reference, driving: Noise, settings: SamplingSettings
) -> Tensor:
    return torch.stack(
        [x for _, x in sampler(pipeline, reference, driving, settings).loop().run()], dim=1
    )


def inference(name: str, pipeline: MegActorPipeline, rounds: int) -> None:
    reference, driving = inputs(pipeline, FRAMES)
    theirs_, given = official(pipeline), (reference, driving, SETTINGS)
    results = [straightforward(theirs_, *given), ours(pipeline, *given)]
    error = float((results[1] - results[0]).norm() / results[0].norm())
    calls = [lambda: straightforward(theirs_, *given), lambda: ours(pipeline, *given)]
    theirs, own = side_by_side(calls, rounds)
    print(f"\n{name}: {FRAMES} frames, {SETTINGS.steps} steps, windows of {SETTINGS.window}")
    print(
        f"  straightforward {theirs:.2f} s, ours {own:.2f} s: {theirs / own:.2f} times "
        "faster (goal 1.3), "
        f"relative difference of the latents {error:.1e}"
    )
    for part, seconds in inference_parts(pipeline, reference, driving, rounds).items():
        print(f"    {part:<34}{1000 * seconds:8.1f} ms")


@torch.no_grad()
def inference_parts(
    pipeline: MegActorPipeline, reference: Reference, driving: Noise, rounds: int
) -> dict[str, float]:
    """Seconds of each part: of one call."""
    animator, frames = pipeline.animator, SETTINGS.window
    time_ = torch.tensor([500], device=reference.latents.device)
    window = driving.pictures[None, :, :frames].to(reference.latents)
    driven = animator.driven_encoder(window, reference.picture)
    noisy = torch.randn_like(driven[:, :1]).expand(-1, reference.latents.shape[1], -1, -1, -1)
    x, features = joined(noisy, driven, reference), animator.features(time_, reference)
    skips = animator.unet.down(
        x.transpose(1, 2).flatten(0, 1), animator.unet.flow(time_, reference.tokens, frames)
    )
    calls = {
        "DrivenEncoder, a window": lambda: animator.driven_encoder(window, reference.picture),
        "ReferenceNet, a step": lambda: animator.features(time_, reference),
        "UNet down, a window": lambda: animator.unet.down(
            x.transpose(1, 2).flatten(0, 1), animator.unet.flow(time_, reference.tokens, frames)
        ),
        "UNet up without reference": lambda: animator.unet.up(
            skips, animator.unet.flow(time_, reference.tokens, frames)
        ),
        "UNet up with reference": lambda: animator.unet.up(
            skips, looking(animator.unet.flow(time_, reference.tokens, frames), features)
        ),
        "decoding, a frame": lambda: pipeline.latents.decode(reference.sample),
    }
    return dict(zip(calls, side_by_side(list(calls.values()), rounds), strict=True))


def training(name: str, pipeline: MegActorPipeline, rounds: int) -> None:
    """A step of forward and backward against the same of DrivenEncoder, ReferenceNet and UNet
    alone.
    """
    animator = pipeline.animator.train()
    one, driving = inputs(pipeline, SETTINGS.window)
    reference = Reference(*(part.detach() for part in vars(repeated(one, BATCH)).values()))
    window = driving.pictures[None].expand(BATCH, -1, -1, -1, -1).to(one.latents)
    times = torch.full((BATCH,), 500, device=one.latents.device)
    noisy = torch.randn(BATCH, *one.latents.shape[1:2], SETTINGS.window, *one.latents.shape[2:]).to(
        one.latents
    )
    driven = animator.driven_encoder(window, reference.picture).detach().requires_grad_()
    features = [level.detach().requires_grad_() for level in animator.features(times, reference)]

    def step() -> None:
        animator(noisy, times, window, reference).sum().backward()
        animator.zero_grad()

    def alone() -> None:
        animator.driven_encoder(window, reference.picture).sum().backward()
        sum(level.sum() for level in animator.features(times, reference)).backward()
        animator.denoise(noisy, times, features, driven, reference).sum().backward()
        animator.zero_grad()

    whole, parts = side_by_side([step, alone], rounds)
    print(
        f"  training step {whole:.3f} s, its parts alone {parts:.3f} s: "
        f"{parts / whole:.2f} of their speed (goal 0.95)"
    )


def side_by_side(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Median seconds of each, in turns."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for place, call in enumerate(calls):
            synchronise()
            started = time.perf_counter()
            call()
            synchronise()
            seconds[place].append(time.perf_counter() - started)
    return [statistics.median(values) for values in seconds]


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def full_size(rounds: int) -> None:
    """Stable Diffusion 1.5's size at 512 px in bfloat16, windows of 16, with and without
    compile.
    """
    from torch.utils.flop_counter import FlopCounterMode

    pipeline = build({}, "cuda", "sd15").to(torch.bfloat16)
    reference, driving = inputs(pipeline, 16)
    driven = pipeline.animator.driven_encoder(
        driving.pictures[None].to(reference.picture), reference.picture
    )
    noisy = torch.randn_like(driven)
    rate = matrix_rate()
    for compiled in (False, True):
        animator: Any = pipeline.animator
        if compiled:
            animator.unet.compile()

        def window(animator: Animator = animator) -> Tensor:
            with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
                times = torch.tensor([500], device="cuda")
                features = animator.features(times, reference)
                return animator.guided(noisy, times, features, driven, reference, 4.5)

        with FlopCounterMode(display=False) as counter:
            if not compiled:
                window()
                work = counter.get_total_flops()
        window()
        torch.cuda.reset_peak_memory_stats()
        (seconds,) = side_by_side([window], rounds)
        memory = peak_gib()
        per_frame = seconds * 25 * 2 / 16  # 25 steps, every frame in two windows
        share = work / seconds / rate
        print(
            f"\nsd15, 512 px, bfloat16, {'compiled' if compiled else 'eager'}: "
            f"{seconds:.3f} s a window of 16, "
            f"{per_frame:.2f} s a frame at 25 steps, {memory:.1f} GiB, "
            f"{share:.0%} of the card's {rate / 1e12:.0f} TFLOP/s"
        )


def matrix_rate(side: int = 8192) -> float:
    """FLOP/s of a large bfloat16 matrix product on this card."""
    a = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    (seconds,) = side_by_side([lambda: a @ a] * 1, 10)
    return 2 * side**3 / seconds


if __name__ == "__main__":
    main()
