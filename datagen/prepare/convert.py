"""Official MegActor tars converted into our shards.

Videos are cut, and faces, masks and gaze are computed here once, so that no loader has to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from datagen.core.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from datagen.engine.clip import Clip
    from datagen.engine.ledger import RunCounts
    from datagen.engine.stage import Stage
    from datagen.prepare.official import CutPlan, OfficialCutter, OfficialSample
    from datagen.shards.selection import Selection
    from datagen.shards.writer import Sample

TWINS = ("styled.mp4", "swapped.mp4")
LEAST_COVERAGE = 0.97  # share of the frames that must show the face, as in conf/select/default.yaml
SCRATCH = ".preparing"  # below the output: converted samples until they are packed


def run(cfg: DictConfig) -> int:
    """Convert all tars in `cfg.input`; exit code 1 if a tar could not be read to its end."""
    from datagen.core.files import clear_parts
    from datagen.core.lock import locked
    from datagen.prepare import official
    from datagen.shards import writer as pack
    from datagen.shards.samples import describe_stages

    cutter, selection = _checked(cfg)
    tars, output = official.tars_of(Path(cfg.input)), Path(cfg.output)
    with locked(output):
        clear_parts(output)
        scratch = output / SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            work = Conversion(cutter, selection, scratch)
            for tar in tars:
                work.take(tar)
            extra = {"rejects": work.rejects, "select": selection.to_json()}
            extra["stages"] = describe_stages([work.cutter, *work.stages])
            packed = work.packed()
            sizes = {"shard_samples": cfg.shard_samples, "shard_bytes": cfg.shard_mb * 2**20}
            index = pack.pack(
                packed,
                output,
                extra | {"books": work.books.to_json()},
                **sizes,
                overwrite=cfg.overwrite,
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    _report(work, output, index)
    return int(bool(work.faults))


def _checked(cfg: DictConfig) -> tuple[OfficialCutter, Selection]:
    """The cutter and the selection; UserError that names every mistake in the options."""
    from datagen.prepare.official import OfficialCutter
    from datagen.shards.selection import Rule, Selection

    mistakes = [
        f"{name} is {cfg[name]!r}, a whole number from 1 is expected"
        for name in ("shard_samples", "shard_mb")
        if type(cfg[name]) is not int or cfg[name] < 1
    ]
    cutter = OfficialCutter(size=cfg.size, fps=cfg.fps, max_seconds=cfg.max_seconds)
    selection = None
    try:
        cutter.check()
        selection = Selection(
            [Rule("face_hidden", "faces.coverage", LEAST_COVERAGE)], val_share=cfg.val_share
        )
    except UserError as error:
        mistakes.append(str(error).removesuffix("."))
    if mistakes or selection is None:
        raise UserError("; ".join(mistakes) + ".")
    return cutter, selection


@dataclass
class ConvertedSample:
    """A kept sample: its members as files below its folder, and its json so far."""

    key: str
    files: dict[str, Path]
    metadata: dict[str, Any]
    content: str  # sha256 of the cut target
    fingerprints: list[str]
    identity: str  # datagen.vision.identity.encoded


@dataclass
class Conversion:
    """Converts the samples of the tars, and counts them."""

    cutter: OfficialCutter
    selection: Selection
    scratch: Path
    books: RunCounts = field(default_factory=lambda: _books())
    made: dict[str, ConvertedSample] = field(default_factory=dict)
    rejects: list[dict[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    pickles: int = 0
    twins_absent: int = 0

    def __post_init__(self) -> None:
        from datagen.faces.mesh import MeshFaces
        from datagen.gaze.iris import IrisGaze
        from datagen.mask.polygon import PolygonMask

        self.stages: list[Stage] = [MeshFaces(), PolygonMask(), IrisGaze()]

    def take(self, tar: Path) -> None:
        """Convert all samples of a tar; each is counted."""
        from datagen.prepare import official

        folder = self.scratch / "official"
        folder.mkdir(parents=True, exist_ok=True)
        for sample in official.samples(tar, folder):
            self.pickles += sample.pickles
            if sample.fault:
                behind = f"behind {sample.key}" if sample.key else "at all"
                self.faults.append(f"{tar.name} cannot be read {behind}: {sample.fault}")
            if sample.key:
                self._settle(sample)

    def _settle(self, sample: OfficialSample) -> None:
        from datagen.core.errors import Invalid, Reject

        self.books.planned += 1
        key = self._key(sample)
        try:
            if sample.fault:
                raise Invalid("cut_off", sample.fault)
            if key in self.seen:
                raise Reject("same_key", f"{sample.tar.name} has {sample.key} twice")
            self.seen.add(key)
            self.made[key] = self._sample(key, sample)
            self.books.settle("kept")
        except Reject as reject:
            self._drop(key, reject.outcome, reject.reason)
            if key not in self.made:
                shutil.rmtree(self.scratch / key, ignore_errors=True)

    def packed(self) -> Iterator[Sample]:
        """Drop duplicates, assign groups and splits, and give the samples to pack."""
        from datagen.engine.ledger import DUPLICATE
        from datagen.shards.selection import Candidate, duplicates, groups

        candidates = [
            Candidate(
                made.key,
                made.content,
                (f"video:{made.metadata['source']['sha256']}",),
                False,
                made.fingerprints,
                made.identity,
            )
            for made in self.made.values()
        ]
        doubled = duplicates(candidates)
        for key in sorted(doubled):
            self.books.move(DUPLICATE)
            self.rejects.append(
                {"key": key, "outcome": "filtered", "reason": DUPLICATE, "stage": "select"}
            )
        kept = [candidate for candidate in candidates if candidate.key not in doubled]
        found = groups(kept, self.selection)
        return (
            _packed(self.made[key], group, self.selection.split(group))
            for key, group in found.items()
        )

    def _key(self, sample: OfficialSample) -> str:
        """The official key if it is valid and new, else one derived from its path in the tar."""
        from datagen.core.keys import is_key, key_of

        if is_key(sample.key) and sample.key not in self.seen:
            return sample.key
        return key_of(PurePosixPath(sample.tar.name) / f"{sample.key}.mp4")

    def _drop(self, key: str, outcome: str, reason: str) -> None:
        self.books.settle(outcome, reason)
        self.rejects.append({"key": key, "outcome": outcome, "reason": reason, "stage": "prepare"})

    def _sample(self, key: str, sample: OfficialSample) -> ConvertedSample:
        """Convert one sample. Raises Reject."""
        from datagen.core.files import file_sha256
        from datagen.engine.clip import Artifact, Clip
        from datagen.prepare.official import cut_all

        folder = self.scratch / key
        folder.mkdir()
        films, frames, plan = cut_all(self.cutter, sample.films, folder)
        clip = self._measured(Clip(key, {}, artifacts={"clips": Artifact(films["mp4"])}), folder)
        self.twins_absent += len(TWINS) - len(films) + 1
        files = films | {"mask.mp4": clip.path("mask"), "faces.npz": clip.path("gaze")}
        source = {
            "path": f"{sample.tar.name}/{sample.key}.mp4",
            "sha256": file_sha256(sample.films["mp4"]),
        }
        metadata = _provenance(key, source, self.cutter.fps, frames, plan) | {
            "twins": sorted(name.removesuffix(".mp4") for name in films if name in TWINS),
            "synthetic": {
                name: {"made_by": "the official data's authors"} for name in films if name in TWINS
            },
            "stages": _makers([self.cutter, *self.stages]),
        }
        metadata["metrics"] |= {stage.name: clip.metrics(stage.name) for stage in self.stages}
        faces = clip.metrics("faces")
        looks = (faces["fingerprints"], faces["identity"])
        return ConvertedSample(key, files, metadata, file_sha256(films["mp4"]), *looks)

    def _measured(self, clip: Clip, folder: Path) -> Clip:
        """Run faces, mask and gaze on the cut target. Raises Reject."""
        for stage in self.stages:
            workdir = folder / stage.name
            workdir.mkdir()
            clip = clip.with_artifact(stage.name, stage(clip, workdir))
            if reject := self.selection.verdict(stage.name, clip):
                raise reject
        return clip


def _provenance(
    key: str, source: dict[str, str], fps: int, frames: int, plan: CutPlan
) -> dict[str, Any]:
    """The part of a sample's json on its origin, in the format of datagen.shards."""
    seconds, start = round(frames / fps, 3), plan.span[0]
    cut = {"seconds": seconds, "frames": frames, "fps": fps, "crop_px": plan.crop.side}
    return {
        "key": key,
        "subsets": [],
        "identity": "",
        "source": source,
        "span": [round(start, 6), round(start + seconds, 6)],
        "fps": fps,
        "frames": frames,
        "rights": {},
        "metrics": {"clips": cut},
    }


def _books() -> RunCounts:
    from datagen.engine.ledger import RunCounts

    return RunCounts()


def _makers(stages: Sequence[Stage]) -> dict[str, object]:
    from datagen.shards.samples import describe_stages, licences_of

    made = describe_stages(stages)
    return {s.name: made[s.name] | {"weights": licences_of(s.weights())} for s in stages}


def _packed(made: ConvertedSample, group: str, split: str) -> Sample:
    """The sample to pack. An absent twin has an empty member, which cannot be taken for a video."""
    from datagen.core.files import canonical, file_sha256
    from datagen.shards.index import FIELDS
    from datagen.shards.writer import Member, Sample

    metadata = made.metadata | {"group": group, "split": split}
    members = {"json": Member.of_bytes("json", canonical(metadata).encode())}
    for name in set(FIELDS) - {"json"}:
        if path := made.files.get(name):
            members[name] = Member(
                name, file_sha256(path), path.stat().st_size, partial(_opened, path)
            )
        else:
            members[name] = Member.of_bytes(name, b"")
    ordered = tuple(members[name] for name in FIELDS)
    return Sample(
        made.key, split, metadata["metrics"]["clips"]["seconds"], metadata["frames"], group, ordered
    )


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _report(work: Conversion, output: Path, index: dict[str, Any]) -> None:
    from datagen.core.text import line_of

    if work.pickles:
        print(f"{work.pickles} pickled members (.pyd) were not read: faces are detected again.")
    if work.twins_absent:
        print(
            f"{work.twins_absent} twins are absent or shorter than the target: their "
            "members are empty."
        )
    for fault in work.faults:
        print(line_of(fault))
    for (outcome, reason), count in sorted(work.books.reasons.items()):
        print(f"  {outcome:<8} {count:>6}  {reason}")
    counts = ", ".join(f"{name} {split['samples']}" for name, split in index["splits"].items())
    classes = " + ".join(
        f"{name} {work.books.classes[name]}" for name in ("kept", "filtered", "invalid")
    )
    print(
        f"{work.books.planned} samples = {classes}; {output}: {len(index['shards'])} "
        f"shards, {counts} samples"
    )
