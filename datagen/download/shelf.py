"""The raw folder: complete files are added and recorded, and removed once their clips are cut."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from datagen.core.errors import Invalid, Reject
from datagen.download.accounts import Accounts, DownloadPlan, is_raw
from datagen.download.answers import Incomplete
from datagen.download.check import VideoFacts, inspect
from datagen.download.manifest import Manifest
from datagen.sources.listed.base import ListedSource
from datagen.sources.listed.cut import CUTS
from datagen.sources.listed.raw import safe_name

PARTS = ".parts"  # below the raw folder: partial downloads


@dataclass
class RawVideoFolder:
    """The raw files of a source. With `drop`, each is removed as soon as its clips are cut."""

    source: ListedSource
    manifest: Manifest
    accounts: Accounts
    drop: bool = False

    @property
    def folder(self) -> Path:
        return Path(self.source.raw)

    def clear(self) -> None:
        """Remove the partial files of a killed run; the caller holds the folder's lock."""
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        for part in (self.folder / CUTS).glob(".*.part"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()

    def add(self, video: str, part: Path, facts: VideoFacts, **more: object) -> int:
        """Move a checked file into the folder, then record it; returns the bytes that stay.

        After a crash between the two steps the file is checked again, not downloaded again.
        """
        before = self.source.video_path(video)
        target = self.folder / f"{safe_name(video)}{facts.suffix}"
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
        if before and before != target and is_raw(self.source, before):
            before.unlink()
        self._record(video, target, facts, "fetched", **more)
        return 0 if self._drop_if_cut(video) else facts.bytes

    def check_files(self, todo: DownloadPlan) -> list[str]:
        """Check files that are not recorded; those with faults are put on the list to fetch.

        Returns a sentence for each of those.
        """
        complaints = []
        for video, path in todo.found:
            try:
                facts = inspect(path)
                self._record(video, path, facts, "found" if is_raw(self.source, path) else "local")
            except Incomplete as error:
                complaints.append(f"{path} is not used: {error}.")
                todo.fetch.append(video)
        for video in todo.dropped:
            if not self._has_clips(video):
                complaints.append(
                    f"the clips of {video} were cut with other options, and its raw file is "
                    "gone: it is fetched again."
                )
                self.accounts.settle(video, "pending")
                todo.fetch.append(video)
        for video in self.accounts.entries:
            self._drop_if_cut(video)
        return complaints

    def _drop_if_cut(self, video: str) -> bool:
        """With `drop`, cut the clips and remove the raw file; True if it was removed.

        The file stays if any of its clips could not be cut.
        """
        path = self.source.video_path(video)
        kept = self.accounts.now[video][0] == "kept"
        if not (self.drop and kept and path and is_raw(self.source, path)):
            return False
        results = Counter(self.source.keep(entry) for entry in self.accounts.entries[video])
        if self._note_uncut(video, results):
            return False
        self.manifest.dropped(video)
        path.unlink()
        return True

    def _note_uncut(self, video: str, results: Counter[str]) -> bool:
        """Enter the clips that could not be cut into the accounts; True if there are any."""
        self.accounts.uncut[video] = Counter(
            {reason: clips for reason, clips in results.items() if reason != "done"}
        )
        return bool(self.accounts.uncut[video])

    def _has_clips(self, video: str) -> bool:
        """Whether every clip was cut, or refused, with the options of this run."""
        stage = self.source.stage()
        (self.folder / PARTS).mkdir(exist_ok=True)
        refused: Counter[str] = Counter()
        for entry in self.accounts.entries[video]:
            with tempfile.TemporaryDirectory(dir=self.folder / PARTS) as folder:
                try:
                    stage(self.source.clip(entry), Path(folder))
                except Reject as reject:
                    if reject.reason == "not_downloaded":
                        return False
                    refused[reject.reason] += isinstance(reject, Invalid)
        self._note_uncut(video, +refused)
        return True

    def _record(self, video: str, path: Path, facts: VideoFacts, how: str, **more: object) -> None:
        self.manifest.kept(video, path.name, {**facts.to_json(), **more}, how)
        self.accounts.settle(video, "kept")
