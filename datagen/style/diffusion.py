"""SDXL redraws frames: image to image by diffusers, every frame with the same noise.  Frames are
RGB uint8 [H, W, 3].

A frame's result does not depend on the others of its batch: prompts are encoded once, every frame
has a generator of its own with the same seed, and the anchor that all look at heads every batch.
What is left is rounding, for networks multiply matrices of another height in another order: 1e-6 of
the range in float32.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datagen.core.device import device
from datagen.core.errors import UserError
from datagen.style.canvas import Canvas
from datagen.style.pace import Pace, passes


class Sheet(NamedTuple):
    """A frame, and what a ControlNet is shown of it."""

    rgb: np.ndarray
    control: np.ndarray | None = None


@dataclass(frozen=True)
class RedrawPlan:
    """What becomes of a clip. Every frame looks at the `anchor`, where there is one."""

    prompt: str
    pace: Pace
    anchor: Sheet | None = None


@dataclass
class Painter:
    """A model in memory, and how it is asked."""

    folder: Path
    controlnet: Path | None = None
    control_scale: float = 0.5
    negative: str | None = None
    guidance: float = 0.0
    seed: int = 0
    side: int | None = None
    cross_frame: bool = False
    batch: int = 1
    gpus: float = 0

    def __call__(self, sheets: Iterable[Sheet], plan: RedrawPlan) -> Iterator[np.ndarray]:
        """The same frames in the look of the prompt, in order."""
        waiting = iter(sheets)
        while batch := list(islice(waiting, self.batch)):
            head = [plan.anchor] if plan.anchor else []
            yield from self._drawn([*head, *batch], plan)[len(head) :]

    def _drawn(self, sheets: list[Sheet], plan: RedrawPlan) -> list[np.ndarray]:
        import torch

        height, width = sheets[0].rgb.shape[:2]
        canvas = Canvas(height, width, self.side)
        options: dict[str, Any] = {
            name: rows.repeat_interleave(len(sheets), 0) for name, rows in self._words(plan)
        }
        if self.controlnet:
            options["control_image"] = _planes([canvas.put(sheet.control) for sheet in sheets])  # type: ignore[arg-type]
            options["controlnet_conditioning_scale"] = float(self.control_scale)
        with torch.inference_mode(), quiet():
            planes = self.pipe(
                image=_planes([canvas.put(sheet.rgb) for sheet in sheets]),
                num_inference_steps=plan.pace.steps,
                strength=plan.pace.strength,
                guidance_scale=self.guidance,
                generator=[torch.Generator("cpu").manual_seed(self.seed) for _ in sheets],
                output_type="np",
                **options,
            ).images
        if not np.isfinite(planes).all():
            raise FloatingPointError("the model's pictures have pixels that are no numbers")
        return [canvas.take(rgb) for rgb in np.round(planes * 255).astype(np.uint8)]

    def _words(self, plan: RedrawPlan) -> list[tuple[str, Any]]:
        """The prompt's embeddings [1, ...] by the names of diffusers' options."""
        if plan.prompt not in self._encoded:
            import torch

            with torch.inference_mode(), quiet():
                found = self.pipe.encode_prompt(
                    plan.prompt,
                    device=self.pipe.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=passes(self.guidance) > 1,
                    negative_prompt=self.negative,
                )
            names = (
                "prompt_embeds",
                "negative_prompt_embeds",
                "pooled_prompt_embeds",
                "negative_pooled_prompt_embeds",
            )
            given = [pair for pair in zip(names, found, strict=True) if pair[1] is not None]
            self._encoded.clear()
            self._encoded[plan.prompt] = given
        return self._encoded[plan.prompt]

    @cached_property
    def _encoded(self) -> dict[str, list[tuple[str, Any]]]:
        return {}

    @cached_property
    def pipe(self) -> Any:
        """diffusers' pipeline on the device. UserError where it cannot be made."""
        import torch

        from datagen.style.attention import anchor

        where = device(self.gpus)
        try:
            pipe = self._load().to(where)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ImportError,
            RuntimeError,
        ) as error:
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise
            why = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(
                f"{self.folder} cannot be loaded ({why}): copy or download it again."
            ) from error
        pipe.set_progress_bar_config(disable=True)
        pipe.vae.enable_slicing()  # picture by picture, in less memory
        if self.cross_frame:
            anchor(pipe.unet, passes(self.guidance))
        return pipe

    def _load(self) -> Any:
        import torch
        from diffusers import (
            ControlNetModel,
            StableDiffusionXLControlNetImg2ImgPipeline,
            StableDiffusionXLImg2ImgPipeline,
        )

        from datagen.style import checkpoint

        local = {
            "dtype": getattr(torch, dtype(self.gpus)),
            "use_safetensors": True,
            "local_files_only": True,
        }
        kind: Any = StableDiffusionXLImg2ImgPipeline
        parts: dict[str, Any] = {
            "add_watermarker": False,
            "variant": checkpoint.variant(self.folder),
        }
        with quiet():
            if self.controlnet:
                kind = StableDiffusionXLControlNetImg2ImgPipeline
                half = ".fp16" in checkpoint.control_files(self.controlnet)[-1].name
                parts["controlnet"] = ControlNetModel.from_pretrained(
                    self.controlnet, variant="fp16" if half else None, **local
                )
            return kind.from_pretrained(self.folder, **parts, **local)


def dtype(gpus: float) -> str:
    return "float16" if gpus else "float32"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' talk."""
    from datagen.core.quiet import silence

    with silence(), warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning):  # diffusers', about itself and NumPy
            warnings.simplefilter("ignore", kind)
        yield


def _planes(pictures: list[np.ndarray]) -> np.ndarray:
    """float32 [N, H, W, 3] in 0..1"""
    return np.stack(pictures).astype(np.float32) / 255
