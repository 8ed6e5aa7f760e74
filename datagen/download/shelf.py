"""The raw folder: how whole files get in and are written down, and how they leave when their clips
are cut.
"""

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

PARTS = ".parts"  # below the raw folder: what is under way


@dataclass
class RawVideoFolder:
    """The raw files of a source, and what is known of them. `drop`: they leave as soon as their
    clips are cut.
    """

    source: ListedSource
    manifest: Manifest
    accounts: Accounts
    drop: bool = False

    @property
    def folder(self) -> Path:
        return Path(self.source.raw)

    def clear(self) -> None:
        """Remove what a killed run left half-made; only for the one who holds the folder's lock."""
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        for part in (self.folder / CUTS).glob(".*.part"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()

    def add(self, video: str, part: Path, facts: VideoFacts, **more: object) -> int:
        """Move a checked file to its place, then write it down: a crash between the two costs a
        check, no fetch.

        The bytes that stay.
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
        """Check what is here and not known; what is not as it should be is fetched. A sentence for
        each of those.
        """
        complaints = []
        for video, path in todo.found:
            try:
                facts = inspect(path)
                self._record(video, path, facts, "found" if is_raw(self.source, path) else "local")
            except Incomplete as error:
                complaints.append(f"{path} does not count: {error}.")
                todo.fetch.append(video)
        for video in todo.dropped:
            if not self._has_clips(video):
                complaints.append(
                    f"the clips of {video} are not as they are wanted now, and its raw "
                    "file is gone."
                )
                self.accounts.settle(video, "pending")
                todo.fetch.append(video)
        for video in self.accounts.entries:
            self._drop_if_cut(video)
        return complaints

    def _drop_if_cut(self, video: str) -> bool:
        """Cut the clips and let the raw file go, if that is wanted; one of which a clip could not
        be cut stays.
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
        """Whether any clip could not be cut, written into the account."""
        self.accounts.uncut[video] = Counter(
            {reason: clips for reason, clips in results.items() if reason != "done"}
        )
        return bool(self.accounts.uncut[video])

    def _has_clips(self, video: str) -> bool:
        """Whether each clip was cut, or its cutting refused, as it is wanted now."""
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
