"""The status of every listed video: present, to be fetched, or given up for a reason.

The totals always add up to the number of listed clips and videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datagen.download.answers import RETRIED
from datagen.download.manifest import DROPPED, KEPT, AccessRoute, Manifest
from datagen.engine.exclude import ids_in
from datagen.sources.listed.base import OPTED_OUT, Entry, ListedSource, key_for
from datagen.sources.listed.cut import CUTS

CLASSES = (
    "kept",
    "removed",
    "private",
    "geo",
    "age",
    "members",
    "blocked",
    "unavailable",
    "incomplete",
    "uncut",
    "bad_metadata",
    "opted_out",
    "pending",
)


@dataclass
class Accounts:
    """The class of every listed clip and video.

    `now` maps each video that some clip needs to its class and the reason.
    """

    entries: dict[str, list[Entry]]  # video -> its clips that need it
    # (class, reason) of clips that do not need a video
    fixed: Counter[tuple[str, str]] = field(default_factory=Counter)
    fixed_videos: dict[str, str] = field(default_factory=dict)  # videos that no clip needs -> class
    now: dict[str, tuple[str, str]] = field(default_factory=dict)
    # kept video -> why some of its clips were not cut
    uncut: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, source: ListedSource) -> Accounts:
        accounts = cls({})
        for entry in source.entries():
            if not entry.problem and not entry.archive:
                accounts.entries.setdefault(entry.video, []).append(entry)
                continue
            name = (
                "kept"
                if not entry.problem
                else "opted_out"
                if is_opted_out(entry)
                else "bad_metadata"
            )
            accounts.fixed[name, entry.problem or "in an archive of frames"] += 1
            if entry.video and accounts.fixed_videos.get(entry.video) != "opted_out":
                accounts.fixed_videos[entry.video] = name
        for video in accounts.entries.keys() & accounts.fixed_videos.keys():
            del accounts.fixed_videos[video]
        accounts.now = dict.fromkeys(accounts.entries, ("pending", ""))
        return accounts

    def clips(self, video: str) -> int:
        return len(self.entries[video])

    def settle(self, video: str, outcome: str, reason: str = "") -> None:
        assert outcome in CLASSES, outcome
        self.now[video] = outcome, reason
        self.uncut.pop(video, None)

    def lines(self) -> list[str]:
        """The reasons, then `N listed = a kept + b removed + ... + c pending`.

        That sum comes twice: in clips and in videos.
        """
        return [
            *self._reasons(),
            _line(self.in_clips(), "clips listed"),
            _line(self.in_videos(), "videos"),
        ]

    def in_clips(self) -> Counter[str]:
        count: Counter[str] = Counter()
        for (name, _), clips in self.fixed.items():
            count[name] += clips
        for video, (name, _) in self.now.items():
            uncut = self.uncut.get(video, Counter()).total()
            count["uncut"] += uncut
            count[name] += self.clips(video) - uncut
        return count

    def in_videos(self) -> Counter[str]:
        return Counter(name for name, _ in self.now.values()) + Counter(self.fixed_videos.values())

    def _reasons(self, most: int = 20) -> Iterator[str]:
        count: Counter[tuple[str, str]] = Counter(self.fixed)
        for video, (name, reason) in self.now.items():
            if reason:
                count[name, reason] += self.clips(video)
        for reasons in self.uncut.values():
            count.update({("uncut", reason): clips for reason, clips in reasons.items()})
        rows = sorted(count.items(), key=lambda row: (CLASSES.index(row[0][0]), -row[1], row[0][1]))
        yield from (f"  {name:<12} {clips:>6,}  {reason}" for (name, reason), clips in rows[:most])
        if len(rows) > most:
            yield f"  and {len(rows) - most} more reasons"


@dataclass(frozen=True)
class RetryPolicy:
    """Which videos to try: the first `limit` of the list; with `again`, also those given up."""

    route: AccessRoute
    tries: int = 5
    limit: int | None = None
    again: bool = False


@dataclass
class DownloadPlan:
    """What to do.

    `found` lists files that the manifest does not know, `dropped` lists videos of which only the
    clips are left. Both are checked before they count as kept.
    """

    fetch: list[str] = field(default_factory=list)
    found: list[tuple[str, Path]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def plan(
    source: ListedSource, manifest: Manifest, accounts: Accounts, policy: RetryPolicy
) -> DownloadPlan:
    """Enter what is already known into the accounts, and list the rest."""
    result = DownloadPlan()
    for number, video in enumerate(accounts.entries):
        path, state = source.video_path(video), manifest.states.get(video)
        outcome = state.outcome if state else ""
        if path and state and outcome == KEPT and _size(path) == state.facts.get("bytes"):
            accounts.settle(video, "kept")
            continue
        if path:
            result.found.append((video, path))
            continue
        if outcome == DROPPED:
            accounts.settle(video, "kept")
            result.dropped.append(video)
            continue
        if state and outcome in RETRIED:
            accounts.settle(video, outcome, state.reason)
        may = (
            outcome not in RETRIED
            or policy.again
            or (state and state.is_open(policy.route, policy.tries))
        )
        if may and (policy.limit is None or number < policy.limit):
            result.fetch.append(video)
    return result


def is_opted_out(entry: Entry) -> bool:
    return entry.problem == OPTED_OUT


def opted_out_files(source: ListedSource, accounts: Accounts) -> list[Path]:
    """Raw files, cut clips and their records that may not be used because somebody opted out.

    The user's own copies are never among them.
    """
    videos = {video for video, name in accounts.fixed_videos.items() if name == "opted_out"}
    opted_out_ids = ids_in(source.opt_out, "source.opt_out") if source.opt_out else frozenset()
    paths = (
        source.video_path(video)
        for video in sorted((videos | opted_out_ids) - accounts.entries.keys())
    )
    cuts = sorted(Path(source.raw, CUTS).glob("*.*"))
    gone = (
        {key_for(source.name, entry.id) for entry in source.entries() if is_opted_out(entry)}
        if cuts
        else set()
    )
    return [path for path in paths if path and is_raw(source, path)] + [
        cut for cut in cuts if cut.stem in gone
    ]


def is_raw(source: ListedSource, path: Path) -> bool:
    """Whether the file lies in the raw folder itself, and is not one of the user's copies."""
    return path.parent.resolve() == Path(source.raw).resolve()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _line(count: Counter[str], what: str) -> str:
    parts = [f"{count[name]:,} {name}" for name in CLASSES if count[name] or name == "kept"]
    return f"{sum(count.values()):,} {what} = " + " + ".join(parts)
