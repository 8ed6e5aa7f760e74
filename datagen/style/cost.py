"""What a redrawing costs: UNet calls, and by the time of one, hours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from datagen.core.device import device
from datagen.style.checkpoint import PARTS, empty
from datagen.style.diffusion import dtype, quiet
from datagen.style.pace import Pace, passes

SURE_S = 5.0  # a call that takes so long is not warmed up first


def calls_a_frame(folder: Path, pace: Pace, guidance: float) -> int:
    """UNet calls, by the folder's own scheduler: some call twice a step."""
    import diffusers

    from datagen.weights.tensors import read_json

    config = read_json(folder / "scheduler" / "scheduler_config.json")
    kind: Any = getattr(diffusers, read_json(folder / "model_index.json")["scheduler"][1])
    with quiet():
        scheduler = kind.from_config(config)
        scheduler.set_timesteps(pace.steps)
    return len(scheduler.timesteps[(pace.steps - pace.calls) * scheduler.order :]) * passes(
        guidance
    )


def speed(folder: Path, gpus: float, batch: int, size: tuple[int, int]) -> float | None:
    """UNet calls a second for frames of size (height, width) px, `batch` at once, by one measured
    call.

    The UNet has no weights but zeros, so nothing is read from the disk. None where it cannot be
    measured: no such device here, or not enough memory.
    """
    import torch

    unet = empty(folder / "unet", PARTS["unet"]).eval()
    if not _fits(unet, gpus):
        return None
    with quiet():
        unet = unet.to(getattr(torch, dtype(gpus))).to_empty(device=device(gpus))
    with torch.inference_mode():
        for tensor in (*unet.parameters(), *unet.buffers()):
            tensor.zero_()
        inputs = _inputs(unet, batch, size)
        seconds = _timed(unet, inputs)
        if seconds < SURE_S:
            seconds = _timed(unet, inputs)
    return batch / seconds


def _fits(unet: Any, gpus: float) -> bool:
    """Whether there is room for its weights and as much again."""
    import torch

    numbers = sum(tensor.numel() for tensor in unet.parameters())
    if gpus:
        return torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > 2 * 2 * numbers
    try:
        free = next(
            line
            for line in Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return True
    return int(free.split()[1]) * 1024 > 2 * 4 * numbers


def _inputs(unet: Any, batch: int, size: tuple[int, int]) -> dict[str, Any]:
    import torch

    config, options = unet.config, {"device": unet.device, "dtype": unet.dtype}
    words = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return {
        "sample": torch.zeros(batch, config.in_channels, size[0] // 8, size[1] // 8, **options),
        "timestep": 1,
        "encoder_hidden_states": torch.zeros(batch, 77, config.cross_attention_dim, **options),
        "added_cond_kwargs": {
            "text_embeds": torch.zeros(batch, words, **options),
            "time_ids": torch.zeros(batch, 6, **options),
        },
    }


def _timed(unet: Any, inputs: dict[str, Any]) -> float:
    """s"""
    import torch

    started = time.perf_counter()
    unet(**inputs)
    if unet.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
