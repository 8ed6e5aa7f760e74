"""Reads tars of the official MegActor data, and cuts target and twins alike."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datagen.clips.square import Clips
from datagen.core import tar as tars
from datagen.core.errors import Reject, UserError
from datagen.core.limits import MAX_MEMBER
from datagen.media import video
from datagen.vision.crop import STEADY, Crop, crop_of

FIELDS = {
    "mp4": "mp4",
    "swapped.mp4": "swapped.mp4",
    "mp4_styled": "styled.mp4",
}  # official field -> ours
PICKLE = ".pyd"


@dataclass(frozen=True)
class OfficialSample:
    """A sample: its videos by our field names. The next sample overwrites their files.

    `fault` says why the tar cannot be read to its end. The sample is then the one that is cut off;
    its key is empty if the fault lies between samples.
    """

    tar: Path
    key: str
    films: dict[str, Path]
    pickles: int = 0
    fault: str = ""


def tars_of(folder: Path) -> list[Path]:
    """The .tar files below a folder; UserError if there are none."""
    if found := sorted(folder.rglob("*.tar")):
        return found
    raise UserError(
        f"{folder} holds no .tar file: a folder of tars in the official layout is expected."
    )


def samples(tar: Path, folder: Path) -> Iterator[OfficialSample]:
    """The samples of a tar, one by one; the members of a sample are adjacent, as in WebDataset."""
    films: dict[str, Path] = {}
    key, pickles = "", 0
    try:
        with tars.opened_any(tar) as (opened, infos):
            for info in infos:
                name, field = _parted(info.name)
                if key and name != key:
                    yield OfficialSample(tar, key, films, pickles)
                    films, pickles = {}, 0
                key, pickles = name, pickles + info.name.endswith(PICKLE)
                if field in FIELDS:
                    films[FIELDS[field]] = _extracted(
                        opened, info, folder / f"official.{FIELDS[field]}"
                    )
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        yield OfficialSample(tar, key, {}, pickles, fault=str(error))
        return
    if key:
        yield OfficialSample(tar, key, films, pickles)


def _parted(member: str) -> tuple[str, str]:
    """Key and field, split at the first dot after the last slash."""
    folder, slash, file = member.rpartition("/")
    name, _, field = file.partition(".")
    return f"{folder}{slash}{name}", field


def _extracted(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> Path:
    if info.size > MAX_MEMBER:
        raise tarfile.ReadError(
            f"{info.name[:100]} has {info.size} bytes, at most {MAX_MEMBER} are expected"
        )
    file = tar.extractfile(info)
    assert file is not None, info.name
    with path.open("wb") as sink:
        shutil.copyfileobj(file, sink, 2**20)
    if path.stat().st_size != info.size:
        raise tarfile.ReadError(f"{info.name} is cut off")
    return path


@dataclass(frozen=True)
class CutPlan:
    """The square to cut from a target, and its span in s."""

    crop: Crop
    span: tuple[float, float]


@dataclass
class OfficialCutter(Clips):
    """Cuts targets as datagen.clips does, but keeps square ones whole; twins are cut alike."""

    def plan(self, target: Path) -> CutPlan:
        """Raises Reject("no_face" | "too_short")."""
        probe = video.probe(target)
        size = (probe.width, probe.height)
        if probe.width == probe.height:
            middle = np.array([[probe.width / 2, probe.height / 2]])
            return CutPlan(Crop(probe.width, np.zeros(1), middle, size), (0.0, self.max_seconds))
        cutter, watcher = self._watch(target, None, size)
        scene = self._scene(cutter.spans(), watcher)
        return CutPlan(crop_of(scene.track.smooth(STEADY), size, self.margin), scene.span)

    def cut(self, film: Path, plan: CutPlan, path: Path) -> int:
        """Write the square video; returns its number of frames."""
        most = int((plan.span[1] - plan.span[0]) * self.fps + 1e-3)
        with video.Writer(path, self.fps, self.crf) as writer:
            for square in self._cut(film, plan):
                if writer.count == most:
                    break
                writer.write(square)
            return writer.count

    def _cut(self, film: Path, plan: CutPlan) -> Iterator[np.ndarray]:
        """Frames of another size than the target's (styled ones are 512 px square) are resized."""
        shown = square = None
        for frame in video.resample(video.read(film, plan.span), self.fps, plan.span[0]):
            if frame.rgb is not shown or square is None:
                shown = frame.rgb
                square = plan.crop.cut(
                    video.Frame(frame.time, _stretched(shown, plan.crop.frame)), self.size
                )
            yield square


def cut_all(
    cutter: OfficialCutter, films: dict[str, Path], folder: Path
) -> tuple[dict[str, Path], int, CutPlan]:
    """Cut the target and its usable twins: (our field -> video, number of frames, plan).

    Raises Reject: "no_target", "no_twin", or that of the target's own cut. A twin counts as absent
    if it cannot be read or is shorter.
    """
    if "mp4" not in films:
        raise Reject("no_target", "there is no mp4")
    plan = cutter.plan(films["mp4"])
    cut = {"mp4": folder / "cut.mp4"}
    count = cutter.cut(films["mp4"], plan, cut["mp4"])
    if count < cutter.min_seconds * cutter.fps:
        raise Reject(
            "too_short",
            f"{count} frames at {cutter.fps} a second, {cutter.min_seconds} s are required",
        )
    for field in sorted(films.keys() - {"mp4"}):
        path = folder / f"cut.{field}"
        if _twin_length(cutter, films[field], plan, path) == count:
            cut[field] = path
    if len(cut) == 1:
        raise Reject("no_twin", "neither swapped nor styled video shows the target's frames")
    return cut, count, plan


def _twin_length(cutter: OfficialCutter, film: Path, plan: CutPlan, path: Path) -> int:
    try:
        return cutter.cut(film, plan, path)
    except Reject:
        return 0


def _stretched(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return (
        rgb if rgb.shape[1::-1] == size else cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
    )
