"""The stage that cuts a listed clip out of its raw file: exactly its frames and its region."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from datagen.core.errors import Invalid, Reject
from datagen.core.files import canonical, write_atomically
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage
from datagen.media import video
from datagen.sources.listed import exact, frames
from datagen.sources.listed.raw import RawFiles

CUTS = "cuts"  # folder beside the raw files, for clips whose raw file is removed
OUTCOMES = {"filtered": Reject, "invalid": Invalid}
_DECIDES = ("problem", "video", "span", "fps", "size", "box", "archive", "id")  # of a clip's source


class _Footage(NamedTuple):
    """What a cut is made from: (time, RGB) of each frame, the part to take, the nominal rate."""

    frames: Iterator[tuple[float, np.ndarray]]
    region: exact.Region
    rate: Fraction
    metrics: dict[str, Any]


@dataclass
class Cut(Stage):
    """Writes cut.mp4: the source's frames at their original times, without sound."""

    name: ClassVar[str] = "source"
    version: ClassVar[int] = 2
    encodes: ClassVar[bool] = True
    not_in_key: ClassVar[tuple[str, ...]] = ("raw", "archives")  # `of_clip` identifies the files

    raw: RawFiles
    archives: str = ""  # folder of the archives that clips name
    margin: float = 0.0
    min_side: int = 512
    crf: int = 12

    def of_clip(self, clip: Clip) -> dict[str, object]:
        return {"cut": _wanted(clip), "raw": self._raw_identity(clip)}

    def __call__(self, clip: Clip, workdir: Path) -> Artifact:
        if problem := clip.source.get("problem"):
            raise (Reject if problem.startswith("removed") else Invalid)(
                problem, clip.source.get("detail", "")
            )
        path = workdir / "cut.mp4"
        if file := self._file(clip):
            return Artifact(path, self._cut(clip, file, path, self.min_side))
        return Artifact(path, self._take_kept(clip, path))

    def keep(self, clip: Clip) -> str:
        """Cut a clip into the folder `cuts` beside the raw files, for when its raw file is gone.

        Returns "done", or the reason why it could not be cut. Small clips are cut too, as
        `min_side` may be lower when they are used.
        """
        file = self._file(clip)
        assert file, f"the raw file of {clip.key} is not here"
        target = self._sidecar(clip)
        before = self._read_kept(clip)
        if before and before["outcome"] == "done" and before["raw"] == _identity(file):
            return "done"
        record: dict[str, Any] = {
            "cut": _wanted(clip),
            "raw": _identity(file),
            "parameters": self.parameters(),
        }
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=target.parent) as folder:
            path = Path(folder) / "cut.mp4"
            try:
                record |= {"outcome": "done", "metrics": self._cut(clip, file, path, 0)}
                os.replace(path, target.with_suffix(".mp4"))
            except Reject as reject:
                record |= {
                    "outcome": reject.outcome,
                    "reason": reject.reason,
                    "detail": reject.detail,
                }
        write_atomically(target, canonical(record).encode())
        return record.get("reason", "done")

    def _cut(self, clip: Clip, file: Path, path: Path, min_side: int) -> dict[str, Any]:
        source = clip.source
        if "archive" in source:
            shown, region, fps, metrics = self._from_archive(source, file)
        else:
            shown, region, fps, metrics = self._from_video(source, file)
        _refuse_small(metrics, min_side)
        first = last = 0.0
        with video.Writer(path, fps, self.crf) as writer:
            for time, rgb in shown:
                first, last = (time if not writer.count else first), time
                writer.write_at(region.of(rgb), time - first)
        if not writer.count:
            raise Invalid("ends_early", f"{file.name} has no frame of the clip")
        rectangle = [region.x, region.y, region.width, region.height]
        span = [round(first, 6), round(last, 6)]
        return {"cut": {**metrics, "region": rectangle, "frames": writer.count, "first_last": span}}

    def _from_video(self, source: Mapping[str, Any], file: Path) -> _Footage:
        """The clip's frames and region in its raw video."""
        found = exact.stream(file)
        size = found.size
        if "fps" in source:
            listed_size = source["size"][0], source["size"][1]
            first, last = source["span"]
            span = exact.seconds_of_frames(first, last, source["fps"], listed_size, found)
            own, region = (
                exact.scaled_box(source["box"], listed_size, size, margin)
                for margin in (0.0, self.margin)
            )
        else:
            start, end = source["span"]
            span = exact.seconds(start, end, found)
            own, region = (
                exact.square_of_shares(source["box"], size, margin) for margin in (0.0, self.margin)
            )
        shown = ((frame.time, frame.rgb) for frame in video.read(file, span))
        metrics = {
            "file": file.name,
            "size": list(size),
            "fps": round(found.fps, 3),
            "side": own.side,
        }
        return _Footage(shown, region, rate(found.fps), metrics)

    def _from_archive(self, source: Mapping[str, Any], file: Path) -> _Footage:
        """The clip's frames in its archive, already cropped; the rate is the listed one."""
        fps = rate(source["fps"])
        rgb = next(frames.pictures(file, source["id"]))
        height, width = rgb.shape[:2]
        shown = ((float(n / fps), rgb) for n, rgb in enumerate(frames.pictures(file, source["id"])))
        region = exact.Region(0, 0, width // 2 * 2, height // 2 * 2)
        metrics = {
            "file": file.name,
            "size": [width, height],
            "fps": source["fps"],
            "side": region.side,
        }
        return _Footage(shown, region, fps, metrics)

    def _file(self, clip: Clip) -> Path | None:
        archive = clip.source.get("archive")
        if not archive:
            return self.raw.path(clip.source["video"])
        path = Path(self.archives) / archive
        return path if path.is_file() else None

    def _raw_identity(self, clip: Clip) -> object:
        if "problem" in clip.source:
            return None
        if file := self._file(clip):
            return _identity(file)
        return (self._read_kept(clip) or {}).get("raw")

    def _take_kept(self, clip: Clip, path: Path) -> dict[str, Any]:
        """Put the clip that `keep` cut at `path`; returns its metrics."""
        record = self._read_kept(clip)
        if record is None:
            raise Invalid(
                "not_downloaded",
                f"{clip.source.get('archive') or clip.source['video']} is not here",
            )
        if error := OUTCOMES.get(record["outcome"]):
            raise error(record["reason"], record["detail"])
        _refuse_small(record["metrics"]["cut"], self.min_side)
        source = self._sidecar(clip).with_suffix(".mp4")
        try:
            os.link(source, path)
        except OSError:  # another disk
            shutil.copyfile(source, path)
        return record["metrics"]

    def _read_kept(self, clip: Clip) -> dict[str, Any] | None:
        """The record that `keep` wrote for this clip, if it was cut with the same options."""
        try:
            record = json.loads(self._sidecar(clip).read_bytes())
        except (OSError, ValueError):
            return None
        is_same = record["cut"] == json.loads(canonical(_wanted(clip))) and _appearance(
            record["parameters"]
        ) == _appearance(self.parameters())
        is_whole = record["outcome"] != "done" or self._sidecar(clip).with_suffix(".mp4").is_file()
        return record if is_same and is_whole else None

    def _sidecar(self, clip: Clip) -> Path:
        return Path(self.raw.folder) / CUTS / f"{clip.key}.json"


def rate(fps: float) -> Fraction:
    """The exact rate that is meant: 29.97 is 30000/1001."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    near = Fraction(fps).limit_denominator(1000)
    rates = [Fraction(round(fps)), ntsc, near]
    return next((r for r in rates if r and abs(float(r) / fps - 1) < 2e-4), near or Fraction(1))


def _wanted(clip: Clip) -> dict[str, object]:
    """Everything that decides what is cut, besides the raw file."""
    return {name: clip.source.get(name) for name in _DECIDES}


def _appearance(parameters: Mapping[str, object]) -> dict[str, object]:
    """The parameters that decide how a cut looks, not whether it is used."""
    return {name: value for name, value in parameters.items() if name != "min_side"}


def _refuse_small(metrics: dict[str, Any], least: int) -> None:
    """Reject if the shorter side of the dataset's own region, without margin, is too small."""
    side = metrics.get(
        "side", min(metrics.get("region", [0])[-2:])
    )  # records of older cuts have only the region
    if side < least:
        size = "{} x {}".format(*metrics["size"])
        raise Reject(
            "small_picture",
            f"the clip's part of {size} px is {side} px, at least {least} are required",
        )


def _identity(file: Path) -> dict[str, int]:
    stat = file.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
