"""The styled twin by SDXL or SDXL-Turbo: every frame redrawn from a prompt, image to image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from datagen.core.device import at_once
from datagen.core.errors import UserError
from datagen.core.options import refuse_number
from datagen.core.seeds import seed_of
from datagen.core.spread import evenly
from datagen.engine.clip import Artifact, Clip
from datagen.engine.network_stage import TorchStage
from datagen.engine.provenance import mark
from datagen.engine.stage import Workload
from datagen.media import video
from datagen.style import checkpoint
from datagen.style.control import CONTROLS
from datagen.style.cost import calls_a_frame, speed
from datagen.style.diffusion import Painter, RedrawPlan, Sheet, dtype
from datagen.style.pace import Pace
from datagen.vision.drift import drift, first_below, watched
from datagen.vision.faces import Faces
from datagen.vision.landmarks import FaceMesh
from datagen.weights.place import place, refuse_other
from datagen.weights.registry import find, how_to_get

REGISTERED = ("sdxl-turbo", "sdxl")
TRIED_FRAMES = 8
SHARES = (1.0, 0.8, 0.65, 0.5)  # of the strength, that are tried


@dataclass
class SdxlStyle(TorchStage):
    """Redraws every frame of a clip from one prompt, that whose hash with the clip's key is least.

    With `drift`, the strength is lowered until a few frames' face points move by no more than so
    many interocular distances; where they always do, the best is taken.
    """

    model: str = REGISTERED[0]  # a name of the registry, or a folder
    prompts: tuple[str, ...] = ()
    negative: str | None = None
    steps: int = 4
    strength: float = 0.5
    guidance: float = 0.0
    seed: int = 0
    side: int | None = None
    cross_frame: bool = True
    controlnet: str | None = None
    control: str = "canny"
    control_scale: float = 0.5
    drift: float | None = 0.027
    batch: int = 8
    calls_per_s: float | None = None

    name = "style"
    version = 1
    inputs = ("clips", "faces")
    encodes = True
    not_in_key = ("model", "prompts", "controlnet", "batch", "calls_per_s")

    def __post_init__(self) -> None:
        self.prompts = (self.prompts,) if isinstance(self.prompts, str) else tuple(self.prompts)
        found = place(self.model) if self.model in REGISTERED else Path(self.model)
        self.model = str(found.absolute())  # workers may stand elsewhere
        self.controlnet = self.controlnet and str(Path(self.controlnet).absolute())
        super().__post_init__()
        refuse_number("style.guidance", self.guidance, 0)
        refuse_number("style.control_scale", self.control_scale, 0)
        mistakes = list(self._mistakes())
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def _mistakes(self) -> Iterator[str]:
        try:
            _ = self.pace
        except ValueError as error:
            yield str(error)
        if not self.prompts or not all(
            isinstance(prompt, str) and prompt.strip() for prompt in self.prompts
        ):
            yield f"style.prompts is {list(self.prompts)!r}: a list of texts is expected"
        if self.control not in CONTROLS:
            yield f"style.control is {self.control!r}: {' or '.join(CONTROLS)} is expected"
        if self.negative and self.guidance <= 1:
            yield (
                f"style.negative has no effect with style.guidance={self.guidance:g}: raise "
                "that above 1"
            )
        if type(self.batch) is not int or self.batch < 1:
            yield f"style.batch is {self.batch!r}: a whole number from 1 is expected"
        if self.side is not None and (type(self.side) is not int or self.side < 64):
            yield f"style.side is {self.side!r}: px from 64, or null, are expected"
        for option in ("drift", "calls_per_s"):
            value = getattr(self, option)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                yield f"style.{option} is {value!r}: a number above 0, or null, is expected"

    @property
    def pace(self) -> Pace:
        return Pace.of(self.steps, self.strength)

    @property
    def at_once(self) -> int:
        """Frames in a batch."""
        return at_once(self.gpus, self.batch)

    def parameters(self) -> dict[str, Any]:
        """`prompts` only choose: the choice is in `of_clip`. Weights are in `weights`."""
        parameters = {**super().parameters(), "dtype": dtype(self.gpus)}
        unused = () if self.controlnet else ("control", "control_scale")
        return {name: value for name, value in parameters.items() if name not in unused}

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        return {
            "prompt": min(self.prompts, key=lambda prompt: seed_of(self.seed, clip.key, prompt))
        }

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return (options["model"],) if options["model"] in REGISTERED else ()

    def weights(self) -> dict[str, str]:
        folder = Path(self.model)
        found = {folder.name: checkpoint.digest_of(folder, checkpoint.files(folder))}
        if self.controlnet:
            control = Path(self.controlnet)
            found[f"controlnet {control.name}"] = checkpoint.digest_of(
                control, checkpoint.control_files(control)
            )
        return found | ({"mediapipe": version("mediapipe")} if self.drift else {})

    def check(self) -> None:
        folder = Path(self.model)
        registered = folder in map(place, REGISTERED)
        try:
            checkpoint.inspect(folder)
        except UserError:
            if registered and find(folder.name).missing():
                raise UserError(how_to_get(find(folder.name), folder.parent)) from None
            raise
        if registered:
            refuse_other(folder.name, folder)
        checkpoint.inspect_words(folder, [*self.prompts, *filter(None, [self.negative])])
        if self.controlnet:
            checkpoint.inspect_control(Path(self.controlnet), folder / "unet")

    def describe_cost(self, workload: Workload) -> str | None:
        if not workload.frames:
            return None
        folder, side = Path(self.model), self.side or workload.side
        shown = (
            1 + 1 / self.at_once if self.cross_frame else 1.0
        )  # the anchor is drawn with every batch
        calls = calls_a_frame(folder, self.pace, self.guidance) * shown
        rate = self.calls_per_s or speed(folder, self.gpus, self.at_once, (side, side))
        if rate:
            self._refuse_late(workload, calls, rate)
        asked = calls * (workload.frames + (TRIED_FRAMES * workload.clips if self.drift else 0))
        bound, source = (
            "about" if workload.is_guess else "at most",
            "as given" if self.calls_per_s else "measured",
        )
        work = f"style: {folder.name}, {bound} {workload.frames} frames, {asked:.0f} UNet calls"
        if rate is None:
            return (
                f"{work}; their time cannot be measured on this machine, style.calls_per_s "
                "would tell the hours."
            )
        return (
            f"{work}, {asked / rate / 3600:.2g} hours of one worker ({rate:.2g} calls a "
            f"second, {source})."
        )

    def _refuse_late(self, workload: Workload, calls: float, rate: float) -> None:
        """UserError where the longest clip cannot be done in time."""
        seconds = workload.longest * calls / rate
        if seconds > workload.deadline_s:
            raise UserError(
                f"style: a clip of {workload.longest} frames takes about {seconds:.0f} s "
                f"here ({rate:.2g} UNet calls a "
                f"second), more than --deadline-s {workload.deadline_s:g}: raise that, take "
                "a GPU (style.gpus=1), or "
                "fewer style.steps."
            )

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh()

    @cached_property
    def _painter(self) -> Painter:
        return Painter(
            folder=Path(self.model),
            controlnet=Path(self.controlnet) if self.controlnet else None,
            control_scale=self.control_scale,
            negative=self.negative,
            guidance=self.guidance,
            seed=self.seed,
            side=self.side,
            cross_frame=self.cross_frame,
            batch=self.at_once,
            gpus=self.gpus,
        )

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        source, path = clip.path("clips"), workdir / "styled.mp4"
        faces = Faces.load(clip.path("faces"))
        first = (
            self._sheet(video.at_indices(source, [0])[0], faces.landmarks[0])
            if self.cross_frame
            else None
        )
        plan, strayed = self._tempered(
            RedrawPlan(self.of_clip(clip)["prompt"], self.pace, first), source, faces
        )
        sheets = (
            self._sheet(*pair) for pair in zip(video.frames(source), faces.landmarks, strict=True)
        )
        fps = video.fps_of(source)
        with video.Writer(path, fps, metadata=mark(self, "redrawn by a diffusion model")) as writer:
            for rgb in self._painter(sheets, plan):
                writer.write(rgb)
        pace = plan.pace
        made = {
            "prompt": plan.prompt,
            "strength": round(pace.share, 3),
            "steps": pace.steps,
            "drift": strayed,
        }
        return Artifact(path, made)

    def _tempered(
        self, plan: RedrawPlan, source: Path, faces: Faces
    ) -> tuple[RedrawPlan, float | None]:
        """The plan, as strong as `drift` allows, and the drift then (None: not asked, or no
        face).
        """
        if self.drift is None or not faces.found.any():
            return plan, None
        shown = evenly(TRIED_FRAMES, np.flatnonzero(faces.found))
        pictures = video.at_indices(source, shown)
        own = watched(self._mesh, pictures)
        sheets = [self._sheet(*pair) for pair in zip(pictures, faces.landmarks[shown], strict=True)]

        def drift_of(pace: Pace) -> float:
            return drift(self._mesh, self._painter(sheets, replace(plan, pace=pace)), own)

        pace, strayed = first_below(
            self.drift, [self.pace.weaker(share) for share in SHARES], drift_of
        )
        return replace(plan, pace=pace), round(strayed, 4) if np.isfinite(strayed) else None

    def _sheet(self, rgb: np.ndarray, points: np.ndarray) -> Sheet:
        return Sheet(rgb, CONTROLS[self.control](rgb, points) if self.controlnet else None)
