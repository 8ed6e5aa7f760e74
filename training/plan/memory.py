"""Estimates the memory of a training step by running it on tensors that have shapes but no data."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.animator import Reference
from model.build import skeleton
from model.pipeline import MegActorPipeline
from training.optim.optimizer import train_only

HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
STEP = 4  # bytes to a parameter that AdamW takes for the time of a step


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on a GPU that holds the whole model, from the second step on."""

    weights: int  # of the animator
    frozen: int  # autoencoder and CLIP
    state: int  # of the optimizer
    ema: int
    gradients: int
    reduced: int  # buckets in which the ranks reduce their gradients
    micro_step: (
        int  # the most that a micro-step takes at once: activations, halved weights, gradients
    )

    @property
    def peak(self) -> int:
        """The micro-step and the optimizer's step follow each other."""
        kept = self.weights + self.frozen + self.state + self.ema + self.reduced
        return kept + max(self.micro_step, self.gradients + STEP * self.gradients // 4)


class TensorMemory(TorchDispatchMode):
    """Counts the bytes of tensors that operations make while they are alive: `now` and `peak`."""

    def __init__(self, known: nn.Module):
        super().__init__()
        self.now = self.peak = 0
        self.seen: dict[int, object] = {
            p.untyped_storage()._cdata: None for p in known.parameters()
        }

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        """Views share their storage, which counts once."""
        address, size = storage._cdata, storage.nbytes()
        if address not in self.seen:
            self.seen[address] = weakref.finalize(storage, self._drop, address, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _drop(self, address: int, size: int) -> None:
        del self.seen[address]
        self.now -= size


def estimate(cfg: DictConfig, checkpointing: bool) -> MemoryEstimate:
    """For conf/fit.yaml. UserError where it describes no model, or nothing that can be trained.

    Counts what every operation of the step allocates and frees, on CPU tensors, since GPU tensors
    need a GPU. Workspaces of a GPU's libraries, and gaps between blocks, come on top.
    """
    pipeline = skeleton(cfg.model)
    train_only(pipeline.animator, cfg.optim.trainable)
    own = [p for p in pipeline.animator.parameters() if p.requires_grad]
    count = sum(p.numel() for p in own)
    half = HALVES.get(str(cfg.trainer.precision))
    frozen = sum(
        p.numel() for part in (pipeline.vae, pipeline.image_encoder) for p in part.parameters()
    )
    return MemoryEstimate(
        weights=4 * sum(p.numel() for p in pipeline.animator.parameters()),
        frozen=frozen * (2 if half is torch.bfloat16 else 4),
        state=state(count, cfg.optim.eight_bit),
        ema=0 if cfg.optim.ema is None else 4 * count,
        gradients=4 * count,
        reduced=4 * count if str(cfg.trainer.strategy).startswith("ddp") else 0,
        micro_step=_micro_step(pipeline, cfg, checkpointing, half),
    )


def state(parameters: int, eight_bit: bool) -> int:
    """Bytes of AdamW's two averages: float32, or with `eight_bit` a byte each, in blocks of 256
    that share a float32. Muon has less.
    """
    return 2 * parameters + 2 * 4 * (parameters // 256) if eight_bit else 8 * parameters


def _micro_step(
    pipeline: MegActorPipeline, cfg: DictConfig, checkpointing: bool, half: torch.dtype | None
) -> int:
    for part in (pipeline.unet, pipeline.reference_net):
        (
            part.enable_gradient_checkpointing
            if checkpointing
            else part.disable_gradient_checkpointing
        )()
    pipeline.animator.train()
    for part in (
        pipeline.vae,
        pipeline.image_encoder,
    ):  # diffusers' own warns of parts to be kept in float32
        nn.Module.to(part, torch.bfloat16 if half is torch.bfloat16 else torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in (pipeline.animator, pipeline.vae, pipeline.image_encoder):
            part.to_empty(device="cpu")
        with TensorMemory(pipeline.animator) as live:
            for _ in range(
                min(cfg.accumulate, 2)
            ):  # from the second one on, gradients are there from the beginning
                step(pipeline, cfg.data.batch, cfg.data.frames, half, cfg.cache is not None)
    return live.peak


def step(
    pipeline: MegActorPipeline, batch: int, frames: int, half: torch.dtype | None, cached: bool
) -> None:
    """A micro-step with inputs of the model's shapes, as training.objective.task.Task has it."""
    side, width, dim = (
        pipeline.side,
        pipeline.driving_side,
        pipeline.unet.config.cross_attention_dim,
    )
    latents = (pipeline.unet.config.out_channels, side // pipeline.factor, side // pipeline.factor)
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        target, picture = (
            torch.zeros(batch * frames, 3, side, side),
            torch.zeros(batch, 3, side, side),
        )
        if not cached:
            pipeline.latents.mean(target.to(pipeline.vae.dtype))
            pipeline.background.encode(_clip_pixels(pipeline, batch))
        reference = Reference(
            picture=picture,
            latents=torch.zeros(batch, *latents),
            sample=torch.zeros(batch, *latents),
            background=torch.zeros(batch, 1, *latents[1:]),
            tokens=torch.zeros(batch, _tokens(pipeline), dim),
        )
        noisy = torch.zeros(batch, latents[0], frames, *latents[1:])
        timesteps = torch.zeros(batch, dtype=torch.int64)
        prediction = pipeline.animator(
            noisy, timesteps, torch.zeros(batch, 3, frames, width, width), reference
        )
        loss = (prediction.float() - noisy).square().mean()
    loss.backward()


def _clip_pixels(pipeline: MegActorPipeline, batch: int) -> Tensor:
    side = pipeline.image_encoder.config.image_size
    return torch.zeros(batch, 3, side, side)


def _tokens(pipeline: MegActorPipeline) -> int:
    """One for each patch, and one for the picture."""
    config = pipeline.image_encoder.config
    return (config.image_size // config.patch_size) ** 2 + 1
