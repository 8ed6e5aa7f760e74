"""What all swaps share: a donor for each clip, and a twin written frame by frame where a network
does the swapping.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from datagen.core.errors import Reject, UserError
from datagen.core.options import refuse_number
from datagen.engine.clip import Artifact, Clip
from datagen.engine.provenance import mark
from datagen.media import video
from datagen.recognising_stage import RecognisingStage
from datagen.swap.donors import Donor, Lazy, builtin_donors, choose, load_donors, without
from datagen.vision.faces import Faces
from datagen.vision.regions import face_polygon

LEAST_CHANGE = 1.0  # 8-bit levels: a swap that changes a face less gives its input back
COARSE = 8  # px
SwapFrame = Callable[
    [np.ndarray, int], np.ndarray | None
]  # (RGB uint8 frame, its index) -> RGB uint8, None: no face


@dataclass
class Swap(RecognisingStage):
    """clip -> swapped.mp4, the same frames with a donor's face.

    `donors` is a folder of portraits, or "sample" for the people of the sample source; `opt_out` a
    file with the names of those who are never taken.
    """

    name: ClassVar[str] = "swap"
    inputs: ClassVar[tuple[str, ...]] = ("clips", "faces")
    encodes: ClassVar[bool] = True

    not_in_key: ClassVar[tuple[str, ...]] = ("donors", "seed", "opt_out")

    donors: str = "sample"
    seed: int = 0
    opt_out: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.donors != "sample":
            self.donors = str(Path(self.donors).absolute())  # workers may stand elsewhere
        if self.opt_out is not None:
            self.opt_out = str(Path(self.opt_out).absolute())

    def of_clip(self, clip: Clip) -> dict[str, Any]:
        """`donors`, `seed` and `opt_out` only choose: the choice itself is part of the key."""
        donor = choose(self._pool, clip, self.seed, self.tells_apart)
        return {"donor": donor.name, "sha256": donor.sha256} if donor else {"donor": None}

    def check(self) -> None:
        super().check()
        try:
            _ = self._pool
        except ValueError as error:
            raise UserError(f"{error}.") from None

    def donor(self, clip: Clip) -> Donor:
        """The clip's donor. Raises Reject("no_donor")."""
        chosen = choose(self._pool, clip, self.seed, self.tells_apart)
        if chosen is None:
            raise Reject("no_donor", "every donor is the clip's own person, by name or by face")
        return chosen.drawn if isinstance(chosen, Lazy) else chosen

    @cached_property
    def _pool(self) -> list[Donor | Lazy]:
        pool: list[Donor | Lazy] = (
            [*builtin_donors()] if self.donors == "sample" else [*load_donors(self.donors)]
        )
        return pool if self.opt_out is None else without(pool, self.opt_out)


@dataclass
class Tally:
    """Counts what a swap does to a clip's frames."""

    frames: int = 0
    kept: int = 0  # frames in which no face was swapped
    changes: float = 0.0
    measured: int = 0

    def add(self, rgb: np.ndarray, swapped: np.ndarray | None, points: np.ndarray) -> None:
        """A frame, what became of it (None: nothing), its face points [478, 2+] px (NaN:
        unknown).
        """
        self.frames += 1
        if swapped is None:
            self.kept += 1
            return
        # on a coarse grid, where a face that was only scaled there and back is the same
        before, after = (
            cv2.resize(each, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
            for each in (rgb, swapped)
        )
        inside = face_polygon(before.shape, points[:, :2] / COARSE)
        if inside.any():
            self.changes += float(np.abs(after[inside].astype(np.int16) - before[inside]).mean())
            self.measured += 1

    def metrics(self, most_kept: float) -> dict[str, Any]:
        """kept: share of frames that show their own face still; change: of the face, mean 8-bit
        levels.

        Raises Reject("no_face" | "unchanged").
        """
        kept, change = self.kept / self.frames, self.changes / max(self.measured, 1)
        if kept > most_kept:
            detail = (
                f"the swap finds no face in {self.kept} of {self.frames} frames, at most "
                f"{most_kept:.0%} are allowed"
            )
            raise Reject("no_face", detail)
        if change < LEAST_CHANGE:
            raise Reject(
                "unchanged",
                f"the swap changes the face by {change:.2f} of 255 levels: it gives its input back",
            )
        return {"kept": round(kept, 4), "change": round(change, 2)}


@dataclass
class FrameSwap(Swap):
    """A swap by a network that takes one frame at a time. Frames without a face stay as they are,
    and are counted.

    A clip of which more than the share `most_kept` would stay is rejected: its twin would show its
    own person.
    """

    most_kept: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_number("swap.most_kept", self.most_kept, 0, 1)

    @abstractmethod
    def swapper(self, donor: Donor, faces: Faces) -> SwapFrame:
        """What swaps the frames, in their order, of one clip with these faces."""

    def more(self) -> dict[str, Any]:
        """Further metrics of the clip that was just swapped."""
        return {}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        donor, faces = self.donor(clip), Faces.load(clip.path("faces"))
        if not faces.found.any():
            raise Reject("no_face", "no frame has face points")
        source, path = clip.path("clips"), workdir / "swapped.mp4"
        swap, tally = self.swapper(donor, faces), Tally()
        with video.Writer(
            path, video.fps_of(source), metadata=mark(self, "another face put in")
        ) as writer:
            for index, (rgb, points) in enumerate(
                zip(video.frames(source), faces.landmarks, strict=True)
            ):
                swapped = swap(rgb, index)
                writer.write(rgb if swapped is None else swapped)
                tally.add(rgb, swapped, points)
        return Artifact(path, {"donor": donor.name, **tally.metrics(self.most_kept), **self.more()})
