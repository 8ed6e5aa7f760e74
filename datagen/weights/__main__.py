"""List the weights, fetch one, verify all.

python -m datagen.weights list
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.cli import command
from datagen.core.errors import UserError
from datagen.options import option
from datagen.weights.check import has_checksums, problems, there
from datagen.weights.registry import WEIGHTS, Weight, find


@dataclass
class WeightsOptions:
    action: str = option("list", "list, fetch or verify; the first word")
    name: str | None = option(None, "of one weight, as in the list", positional=True)
    folder: str = option("data/weights", "where they lie, each in a folder of its name")


@command("datagen/weights", WeightsOptions)
def run(cfg: Any) -> int:
    chosen = WEIGHTS if cfg.name is None else (find(str(cfg.name)),)
    if cfg.action not in ACTIONS:
        raise UserError(
            f"{cfg.action!r} is not an action: {' or '.join(ACTIONS)} is expected (see --help)."
        )
    return ACTIONS[cfg.action](chosen, Path(str(cfg.folder)))


def main(argv: list[str] | None = None) -> None:
    """The first argument is the action."""
    arguments = sys.argv[1:] if argv is None else argv
    has_action = bool(arguments) and arguments[0] in ACTIONS
    run([f"action={arguments[0]}", *arguments[1:]] if has_action else arguments)


def _list(weights: Sequence[Weight], folder: Path) -> int:
    rows = [("name", "size", "licence", "needed by", "host", "there")]
    rows += [
        (w.name, w.size, w.licence, w.needed_by, w.host if w.files else "-", there(w, folder))
        for w in weights
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    for name in weights[0].files if len(weights) == 1 else ():
        print(f"  {name}")
    return 0


def _fetch(weights: Sequence[Weight], folder: Path) -> int:
    if len(weights) > 1:
        raise UserError(
            f"fetch what? {', '.join(weight.name for weight in weights if weight.files)} are known."
        )
    (weight,) = weights
    if not weight.files:
        print(f"{weight.name} comes with {weight.page}: nothing to fetch.")
        return 0
    print(f"{weight.name}: {weight.what}, {weight.page}, {weight.size}, licence: {weight.licence}")
    if weight.missing(folder):
        from datagen.weights.fetch import download

        download(weight, folder)
    print(f"{weight.path(folder)}: there.")
    return 0


def _verify(weights: Sequence[Weight], folder: Path) -> int:
    """Print a line for every weight; exit code 1 if a file that is present is damaged."""
    bad = 0
    for weight in weights:
        if not weight.files or len(weight.missing(folder)) == len(weight.files):
            print(f"{weight.name}: {'not there' if weight.files else there(weight, folder)}")
            continue
        whole = (
            "whole"
            if has_checksums(weight, folder)
            else "can be read; no checksum is known for all of it"
        )
        found = list(problems(weight, folder))
        print("\n".join(f"{weight.name}: {line}" for line in found or [whole]))
        bad += len(found)
    return 1 if bad else 0


ACTIONS = {"list": _list, "fetch": _fetch, "verify": _verify}

if __name__ == "__main__":
    main()
