"""The findings, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten

from omegaconf import DictConfig

from datagen.doctor.backends import Backend, all_of, chosen
from datagen.doctor.machine import Fact, facts
from datagen.doctor.packages import Package, packages
from datagen.weights.check import there
from datagen.weights.registry import FOLDER, WEIGHTS, Weight

SHORT = 90  # characters of text on a backend that is not chosen


@dataclass(frozen=True)
class MachineReport:
    facts: Sequence[Fact]
    packages: Sequence[Package]
    backends: Sequence[Backend]
    weights: Path  # their folder

    @property
    def is_ready(self) -> bool:
        """Whether every chosen backend can run; a version outside of its range may work."""
        return not (
            any(fact.problem for fact in self.facts)
            or any(package.state == "missing" for package in self.packages)
            or any(backend.problem for backend in self.backends if backend.is_chosen)
        )

    @property
    def mend(self) -> list[str]:
        """The commands that fix everything chosen, each once."""
        wanted = [package.mend for package in self.packages if package.mend]
        wanted += [line for backend in self.backends if backend.is_chosen for line in backend.mend]
        return list(dict.fromkeys(wanted))

    def json(self) -> str:
        findings = {
            "ready": self.is_ready,
            "machine": [asdict(fact) for fact in self.facts],
            "packages": [{**asdict(p), "state": p.state, "mend": p.mend} for p in self.packages],
            "backends": [self._backend(backend) for backend in self.backends],
            "weights": [self._weight(weight) for weight in WEIGHTS],
            "mend": self.mend,
        }
        return json.dumps(findings, indent=1)

    def text(self) -> str:
        parts = {
            "machine": _columns((f.name, f.problem or f.value) for f in self.facts),
            "packages": _columns(
                (p.name, p.found or "-", p.state, p.mend or "") for p in self.packages
            ),
            "backends": [line for backend in self.backends for line in self._lines(backend)],
            f"weights in {self.weights}": _columns(
                (w.name, there(w, self.weights), w.size, f"licence: {w.licence}", w.needed_by)
                for w in WEIGHTS
            ),
            "to fix": [*self.mend, *self._by_hand()] or ["nothing"],
        }
        lines = [
            line
            for title, part in parts.items()
            for line in (title, *(f"  {line}" for line in part), "")
        ]
        return "\n".join(
            [
                *lines,
                "every chosen backend can run"
                if self.is_ready
                else "some chosen backends cannot run",
            ]
        )

    def _by_hand(self) -> Iterator[str]:
        """Problems that no command fixes."""
        yield from (f"{fact.name}: see above" for fact in self.facts if fact.problem)
        for backend in self.backends:
            if backend.is_chosen and backend.problem and not backend.mend:
                yield f"{backend.choice}: see above"

    def _lines(self, backend: Backend) -> Iterator[str]:
        state, text = (
            ("cannot run", backend.problem) if backend.problem else ("ready", backend.what)
        )
        if not backend.is_chosen:
            yield (
                f"{backend.choice:<20} {state} (not chosen): "
                f"{shorten(text, SHORT, placeholder='...')}"
            )
            return
        yield f"{backend.choice:<20} {state}: {text}"
        for weight in backend.weights:
            yield f"    {weight.name}: {there(weight, self.weights)}; licence: {weight.licence}"
        yield from (f"    $ {line}" for line in backend.mend)

    def _backend(self, backend: Backend) -> dict[str, object]:
        return {
            "choice": backend.choice,
            "chosen": backend.is_chosen,
            "what": backend.what,
            "ready": not backend.problem,
            "problem": backend.problem,
            "weights": [self._weight(weight) for weight in backend.weights],
            "mend": backend.mend,
        }

    def _weight(self, weight: Weight) -> dict[str, object]:
        fields = ("name", "what", "licence", "page", "bytes", "needed_by", "host")
        return {name: getattr(weight, name) for name in fields} | {
            "there": there(weight, self.weights)
        }


def examined(cfg: DictConfig) -> MachineReport:
    """The report for the options of conf/datagen/doctor.yaml."""
    backends = list(all_of(cfg, FOLDER)) if cfg.all else chosen(cfg, FOLDER)
    return MachineReport(facts(cfg, FOLDER), packages(), backends, FOLDER)


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
