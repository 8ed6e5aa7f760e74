"""Matches a source of weights with a model, by names and shapes. All mismatches are reported
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

from datagen.core.errors import UserError
from datagen.weights.names import shortened
from model.pipeline import MegActorPipeline

Tensors = dict[str, Tensor]


@dataclass
class SourceReport:
    """What became of a source: counts by part, names by reason, names by part."""

    source: str
    matched: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(
        default_factory=dict
    )  # not in the source: as they were before

    def __str__(self) -> str:
        lines = [
            f"{self.source}: "
            f"{', '.join(f'{count} of {part}' for part, count in self.matched.items())}"
        ]
        lines += [
            f"  ignored, {reason}: {shortened(names, 1)}" for reason, names in self.ignored.items()
        ]
        lines += [
            f"  not in it, kept as initialised: {part} {shortened(names, 1)}"
            for part, names in self.kept.items()
        ]
        return "\n".join(lines)


@dataclass
class Loaded:
    """Tensors of a source by part and by our names. Shapes are checked; data stay in the mapped
    file.
    """

    tensors: dict[str, Tensors]
    report: SourceReport


class Fitting:
    """Gathers what a source holds for a pipeline's parts. The parts may be on the meta device."""

    def __init__(self, source: object, pipeline: MegActorPipeline):
        self.report = SourceReport(str(source))
        self.pipeline = pipeline
        self._tensors: dict[str, Tensors] = {}
        self._missing: list[str] = []
        self._unknown: dict[str, None] = {}
        self._wrong: list[str] = []

    def expected(self, part: str) -> Tensors:
        return getattr(self.pipeline, part).state_dict()

    def ignore(self, reason: str, names: Iterable[str]) -> None:
        names = sorted(names)
        if names:
            self.report.ignored[reason] = names

    def add(
        self, part: str, given: Tensors, may_lack: Callable[[str], bool] = lambda name: False
    ) -> None:
        """Tensors for a part by our names; `may_lack` names are kept as they are where the source
        has none.
        """
        expected = self.expected(part)
        lacking = [name for name in expected if name not in given]
        kept = [name for name in lacking if may_lack(name)]
        self._missing += [f"{part} {name}" for name in lacking if not may_lack(name)]
        self._unknown |= dict.fromkeys(name for name in given if name not in expected)
        shared = {name: tensor for name, tensor in given.items() if name in expected}
        self._wrong += [
            f"{part} {name} is {_kind(tensor)}, {_kind(expected[name])} is expected"
            for name, tensor in shared.items()
            if _kind(tensor) != _kind(expected[name])
        ]
        self._tensors[part] = shared
        self.report.matched[part] = len(shared)
        if kept:
            self.report.kept[part] = kept

    def unknown(self, names: Iterable[str]) -> None:
        self._unknown |= dict.fromkeys(names)

    def done(self) -> Loaded:
        kinds = {
            "missing": self._missing,
            "unknown": [*self._unknown],
            "of another shape": self._wrong,
        }
        found = [f"{kind}: {shortened(names)}" for kind, names in kinds.items() if names]
        if found:
            raise UserError(
                f"{self.report.source} does not fit this model ({'; '.join(found)}): "
                "give the weights that the preset was made for, or the preset that these "
                "weights are of."
            )
        return Loaded(self._tensors, self.report)


def fill(pipeline: MegActorPipeline, loaded: Loaded) -> None:
    """Copy into the parts of a pipeline, whatever their device and dtype are."""
    for part, tensors in loaded.tensors.items():
        getattr(pipeline, part).load_state_dict(tensors, strict=False)


def _kind(tensor: Tensor) -> str:
    """Shape, and what is no floating point number: quantised weights are not understood."""
    shape = "x".join(map(str, tensor.shape)) or "one number"
    return (
        shape
        if tensor.is_floating_point()
        else f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
    )
