"""A folder of shards, read once: rows, losses, rules, and the statistics of each shard and of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datagen.engine.errors import UserError
from datagen.pack import read_index
from datagen.stats.history import History, Loss, history
from datagen.stats.measures import Measure, with_rules
from datagen.stats.rows import Row, read_rows
from datagen.stats.summary import Summary, total


@dataclass(frozen=True)
class Dataset:
    """What statistics, report and card are made of."""

    folder: Path
    index: Mapping[str, Any]
    measures: Sequence[Measure]
    shards: Mapping[str, Sequence[Row]]  # file -> rows
    history: History

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.shards.values() for row in rows]

    @property
    def losses(self) -> tuple[Loss, ...]:
        return self.history.losses

    @property
    def rules(self) -> list[Mapping[str, Any]]:
        """Those that decided what is kept; those of the subsets name theirs under "subset"."""
        select = self.index.get("select", {})
        subsets = select.get("subsets", {}).items()
        return [*select.get("rules", []), *({**rule, "subset": name} for name, rules in subsets for rule in rules)]

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """file -> statistics of that shard."""
        return {file: Summary.of(rows) for file, rows in self.shards.items()}

    @cached_property
    def summary(self) -> Summary:
        return total(self.summaries.values())

    @property
    def books(self) -> Mapping[str, Any]:
        return self.index["books"]

    def funnel(self) -> list[tuple[str, str, str, int]]:
        """(outcome, stage, reason, clips) of every loss, in the order of the journey, the largest first."""
        counts = Counter((loss.outcome, loss.stage, loss.reason) for loss in self.losses)
        rows = [(outcome, stage, reason, n) for (outcome, stage, reason), n in counts.items()]
        return sorted(rows, key=lambda row: (_place(row[1]), -row[3], row[0], row[2]))

    def to_json(self) -> dict[str, Any]:
        """Everything that the terminal shows, for programs."""
        costs = {stage: vars(cost) for stage, cost in sorted(self.history.costs.items(), key=lambda c: _place(c[0]))}
        losses = [dict(zip(("outcome", "stage", "reason", "clips"), row, strict=True)) for row in self.funnel()]
        return {
            "format": "megactor-kit stats 1",
            "folder": str(self.folder),
            "books": {name: self.books[name] for name in ("planned", "kept", "filtered", "invalid", "failed")},
            "losses": losses,
            "rules": self.rules,
            "all": self.summary.to_json(self.measures),
            "shards": {file: summary.to_json(self.measures) for file, summary in self.summaries.items()},
            "costs": costs if self.history.found else None,
        }


JOURNEY = ("source", "shots", "clips", "faces", "mask", "gaze", "swap", "style", "agree", "select")


def _place(stage: str) -> int:
    return JOURNEY.index(stage) if stage in JOURNEY else len(JOURNEY)


def read_dataset(folder: Path, ledger: Path) -> Dataset:
    """UserError, one sentence, where the folder is no whole folder of shards."""
    index = read_index(folder)
    try:
        select = index.get("select", {})
        subsets = [rule for rules in select.get("subsets", {}).values() for rule in rules]
        measures = with_rules([*select.get("rules", []), *subsets])
        shards = {entry["file"]: folder / _plain(entry["file"]) for entry in index["shards"]}
        _balanced(index)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{folder}/index.json is damaged ({error!r}): make the shards again.") from None
    rows = {entry["file"]: list(read_rows(shards[entry["file"]], entry, measures)) for entry in index["shards"]}
    return Dataset(folder, index, measures, rows, history(ledger, index))


def _plain(name: str) -> str:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no plain file name")
    return name


def _balanced(index: Mapping[str, Any]) -> None:
    """What the index says of itself agrees with itself."""
    books, kept = index["books"], sum(entry["samples"] for entry in index["shards"])
    lost = books["filtered"] + books["invalid"] + books["failed"]
    if books["kept"] != kept or books["planned"] != kept + lost or len(index["rejects"]) != lost:
        raise ValueError(f"planned {books['planned']}, {kept} in shards, {len(index['rejects'])} named as lost")
