"""A folder of shards, read once: rows, losses, rules, and statistics per shard and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError
from datagen.core.text import text_of
from datagen.shards.index import read_index
from datagen.stages import stage_position
from datagen.stats.history import Cost, LostClip, RunHistory, history
from datagen.stats.measures import Measure, with_rules
from datagen.stats.rows import Row, read_rows
from datagen.stats.summary import Summary, total
from datagen.stats.trust import ShardEntry, checked


@dataclass(frozen=True)
class Dataset:
    """The data behind statistics, report and card."""

    folder: Path
    index: Mapping[str, Any]
    measures: Sequence[Measure]
    shards: Mapping[str, Sequence[Row]]  # file -> rows
    history: RunHistory

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.shards.values() for row in rows]

    @property
    def losses(self) -> tuple[LostClip, ...]:
        return self.history.losses

    @property
    def rules(self) -> list[Mapping[str, Any]]:
        """The rules of the selection, then those of the subsets, which have a key "subset"."""
        select = self.index.get("select", {})
        subsets = select.get("subsets", {}).items()
        return [
            *select.get("rules", []),
            *({**rule, "subset": name} for name, rules in subsets for rule in rules),
        ]

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """file -> statistics of that shard."""
        return {file: Summary.of(rows) for file, rows in self.shards.items()}

    @cached_property
    def summary(self) -> Summary:
        return total(self.summaries.values())

    @property
    def books(self) -> Mapping[str, int]:
        return self.index["books"]

    @property
    def bytes(self) -> int:
        """The size of all shards."""
        return sum(entry["bytes"] for entry in self.index["shards"])

    @property
    def splits(self) -> dict[str, tuple[int, int, Summary]]:
        """split -> (shards, bytes of their files, statistics)."""
        entries: dict[str, list[ShardEntry]] = {}
        for entry in self.index["shards"]:
            entries.setdefault(entry["split"], []).append(entry)
        return {
            split: (
                len(own),
                sum(e["bytes"] for e in own),
                total(self.summaries[e["file"]] for e in own),
            )
            for split, own in sorted(entries.items())
        }

    def funnel(self) -> list[tuple[str, str, str, int]]:
        """(outcome, stage, reason, clips) of every loss, in pipeline order, the largest first."""
        counts = Counter((loss.outcome, loss.stage, loss.reason) for loss in self.losses)
        rows = [(outcome, stage, reason, n) for (outcome, stage, reason), n in counts.items()]
        return sorted(rows, key=lambda row: (stage_position(row[1]), -row[3], row[0], row[2]))

    @property
    def costs(self) -> list[tuple[str, Cost]]:
        """(stage, cost), in pipeline order."""
        return sorted(self.history.costs.items(), key=lambda cost: stage_position(cost[0]))

    def to_json(self) -> dict[str, Any]:
        """Everything that the terminal shows, as JSON values."""
        costs = {stage: vars(cost) for stage, cost in self.costs}
        losses = [
            dict(zip(("outcome", "stage", "reason", "clips"), row, strict=True))
            for row in self.funnel()
        ]
        return {
            "format": "megactor-kit stats 1",
            "folder": text_of(self.folder),
            "books": {
                name: self.books[name]
                for name in ("planned", "kept", "filtered", "invalid", "failed")
            },
            "losses": losses,
            "rules": self.rules,
            "bytes": self.bytes,
            "all": self.summary.to_json(self.measures),
            "splits": {
                split: {"shards": shards, "tar_bytes": size, **summary.to_json(self.measures)}
                for split, (shards, size, summary) in self.splits.items()
            },
            "shards": {
                file: summary.to_json(self.measures) for file, summary in self.summaries.items()
            },
            "costs": costs if self.history.found else None,
        }


def read_dataset(folder: Path, ledger: Path) -> Dataset:
    """Read a folder of shards; UserError if it is incomplete or damaged."""
    index = read_index(folder)
    try:
        index = checked(index)
    except UserError as error:
        raise UserError(
            f"{folder}/index.json is damaged: {error}; make the shards again."
        ) from None
    select = index["select"]
    subsets = [rule for rules in select.get("subsets", {}).values() for rule in rules]
    measures = with_rules([*select.get("rules", []), *subsets])
    rows = {
        entry["file"]: list(read_rows(folder / entry["file"], entry, measures))
        for entry in index["shards"]
    }
    return Dataset(folder, index, measures, rows, history(ledger, folder, index))
