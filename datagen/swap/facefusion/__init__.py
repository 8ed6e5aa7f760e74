"""ModelScope's image-face-fusion, by which the paper's swapped videos were made, in an interpreter
of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datagen.core.errors import Reject, Transient, UserError
from datagen.core.options import refuse_count, refuse_number
from datagen.engine.network_stage import NetworkStage
from datagen.swap.donors import Donor
from datagen.swap.facefusion.resident import Died, Resident
from datagen.swap.twin import FrameSwap, SwapFrame
from datagen.vision.faces import Faces
from datagen.weights.place import place, refuse_missing, sha256_of

ENVIRONMENT = "data/facefusion-env/bin/python"


@dataclass
class FaceFusion(NetworkStage, FrameSwap):
    """`python` is an interpreter with ModelScope; `model` a folder (default: the registry's place).

    A worker that dies or does not answer within `frame_s` is started again and given the frame
    again, at most `restarts` times a clip; then the clip is Transient.
    """

    version: ClassVar[int] = 1
    not_in_key: ClassVar[tuple[str, ...]] = (
        *("python", "model", "trust_remote_code"),
        *("frame_s", "start_s", "restarts"),
    )

    python: str | None = None
    model: str | None = None
    task: str = "image-face-fusion"
    trust_remote_code: bool = False
    frame_s: float = 120.0
    start_s: float = 900.0
    restarts: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_count("swap.restarts", self.restarts, 0)
        refuse_number("swap.frame_s", self.frame_s, 1e-3)
        refuse_number("swap.start_s", self.start_s, 1e-3)
        self.python = os.path.abspath(
            self.python or ENVIRONMENT
        )  # a link stays: what it leads to has no packages
        self.model = str(place("facefusion", self.model))

    @classmethod
    def weight_names(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("facefusion",)

    def weights(self) -> dict[str, str]:
        return {**super().weights(), "facefusion": sha256_of(Path(str(self.model)))}

    def check(self) -> None:
        super().check()
        if not (os.path.isfile(str(self.python)) and os.access(str(self.python), os.X_OK)):
            problem = (
                f"swap=facefusion runs in an interpreter of its own, and {self.python} is none"
            )
            raise UserError(
                f"{problem}: make it with `make facefusion-env`, or name one with swap.python."
            )
        refuse_missing("facefusion", Path(str(self.model)), "swap.model")
        try:
            worker = Resident(str(self.python), bool(self.gpus))
            try:
                self._load(worker)
            finally:
                worker.end()  # those who compute have their own
        except Transient as full:
            raise UserError(
                f"{self.model} cannot be loaded in {self.python} ({full}): free memory there."
            ) from None
        except Died as died:
            problem = f"the worker of swap=facefusion ({self.python}) {died} before it was ready"
            raise UserError(
                f"{problem}: make its interpreter again with `make facefusion-env`."
            ) from None

    @cached_property
    def _worker(self) -> Resident:
        return Resident(str(self.python), bool(self.gpus))

    def _load(self, worker: Resident) -> None:
        """Have the model loaded. Raises Died, Transient, or UserError with what mends it."""
        asked: dict[str, Any] = {"task": self.task, "model": self.model}
        answer = worker.ask(self.start_s, "load", trust_remote_code=self.trust_remote_code, **asked)
        if "error" in answer:
            worker.end()
            _pass_if_full(answer)
            raise UserError(self._sentence(answer["error"], answer["text"], answer["name"]))
        if self.gpus and not answer["gpu"]:
            worker.end()
            problem = f"swap.gpus is {self.gpus:g} and the torch of {self.python} sees no GPU"
            raise UserError(f"{problem}: install one that does there, or swap.gpus=0.")

    def _sentence(self, error: str, text: str, name: str) -> str:
        if error == "package":
            problem = f"the interpreter {self.python} lacks the package {name} ({text})"
            return (
                f"{problem}: make it again with `make facefusion-env`, or name another with "
                "swap.python."
            )
        if error == "code":
            problem = f"the model runs code of its own ({text})"
            return (
                f"{problem}: say swap.trust_remote_code=true if you have read and trust it, or "
                "choose another swap.model."
            )
        mend = (
            "get it again with `python -m datagen.weights fetch facefusion`, or name its "
            "folder with swap.model"
        )
        return f"{self.model} cannot be loaded in {self.python} as {self.task} ({text}): {mend}."

    def swapper(self, donor: Donor, faces: Faces) -> SwapFrame:
        left = [self.restarts]

        def swap(rgb: np.ndarray, index: int) -> np.ndarray | None:
            while True:
                with self._restarting(left):
                    self._make_ready(donor)
                    return _judged(self._worker.ask(self.frame_s, "swap", rgb), donor)

        return swap

    def _make_ready(self, donor: Donor) -> None:
        """A worker with the model and this donor; only what it lacks is sent."""
        worker = self._worker
        if not worker.loaded:
            self._load(worker)
            worker.loaded = True
        if worker.donor != donor.sha256:
            worker.ask(self.frame_s, "donor", donor.rgb)
            worker.donor = donor.sha256

    @contextmanager
    def _restarting(self, left: list[int]) -> Iterator[None]:
        """Where the worker dies it is forgotten, so that the next use starts another, as often as
        is `left`.
        """
        try:
            yield
        except Died as died:
            self.__dict__.pop("_worker", None)
            if not left[0]:
                raise Transient(
                    f"the worker of swap=facefusion {died}, the last of {self.restarts + 1}"
                ) from None
            left[0] -= 1


def _pass_if_full(answer: dict[str, Any]) -> None:
    """Raises Transient where the error is that memory was not enough at that moment."""
    if "out of memory" in answer["text"]:
        raise Transient(answer["text"])


def _judged(answer: dict[str, Any], donor: Donor) -> np.ndarray | None:
    """RGB, or None where the model finds no face. Raises Reject where that is the donor's,
    RuntimeError on errors.
    """
    if "error" in answer:
        _pass_if_full(answer)
        raise RuntimeError(f"ModelScope: {answer['text']}")
    if answer.get("whose") == "donor":
        raise Reject(
            "donor_without_face",
            f"the model finds no face in donor {donor.name} ({answer['no_face']})",
        )
    return answer.get("picture")
