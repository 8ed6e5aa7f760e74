"""Statistics of shards: what is in them, what was lost and why, how good the twins are.

python -m datagen.stats --input data/shards
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.cli import command
from datagen.core.errors import UserError
from datagen.options import option

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from datagen.stats.dataset import Dataset


@dataclass
class StatsOptions:
    input: str = option("data/shards", "folder of shards")
    store: str = option(
        "data/store",
        "the store of the run that made them: pictures of what was lost, and what each stage cost",
    )
    compare: tuple[str, str] | None = option(None, "two folders of shards side by side")
    json: bool = option(False, "the same numbers for programs; writes no files")
    report: bool = option(True, "write report.html")
    card: bool = option(True, "write README.md, the dataset card")
    output: str | None = option(None, "folder for both; by default the input")
    shown: int = option(
        16, "clips in the gallery of the report, besides the worst and best of every score"
    )
    overwrite: bool = option(
        False,
        "replace a report.html or README.md that this command did not write, or that was edited",
    )


@command("datagen/stats", StatsOptions)
def main(cfg: Any) -> int:
    if mistakes := list(_mistakes(cfg)):
        raise UserError("; ".join(mistakes) + " (see --help).")
    if cfg.compare is not None:
        return _compare(cfg)
    dataset = _read(cfg, cfg.input)
    if cfg.json:
        return _print_json(dataset.to_json())
    from datagen.stats import terminal

    lines = _write(cfg, dataset)  # before printing: a pipe may close
    terminal.show(dataset)
    print("\n".join(lines))
    return 0


def _mistakes(cfg: DictConfig) -> Iterator[str]:
    folders = {"input": cfg.input, "store": cfg.store} | (
        {} if cfg.output is None else {"output": cfg.output}
    )
    for name, value in folders.items():
        if not value:
            yield f"--{name} is empty, a folder is expected"
    if cfg.shown < 0:
        yield f"--shown is {cfg.shown}, a whole number from 0 is expected"
    if cfg.compare is not None and not all(cfg.compare):
        yield f"--compare is {cfg.compare}, two folders are expected: --compare A B"


def _read(cfg: DictConfig, folder: str) -> Dataset:
    from datagen.job import ledger_path
    from datagen.stats.dataset import read_dataset

    return read_dataset(Path(folder), ledger_path(cfg.store))


def _compare(cfg: DictConfig) -> int:
    from datagen.stats import compare

    first, second = (_read(cfg, folder) for folder in cfg.compare)
    if cfg.json:
        return _print_json(compare.to_json(first, second))
    compare.show(first, second)
    return 0


def _print_json(value: Mapping[str, object]) -> int:
    import json

    print(json.dumps(value, indent=1, allow_nan=False))
    return 0


def _write(cfg: DictConfig, dataset: Dataset) -> list[str]:
    """Write the card and the report that were asked for; returns a line for each."""
    from datagen.core.lock import make_folder

    folder, lines = Path(cfg.output or cfg.input), []
    if cfg.report or cfg.card:
        make_folder(folder)
    if cfg.card:
        from datagen.stats.card import write_card

        is_ours = write_card(dataset, folder / "README.md", cfg.overwrite)
        kept = "was edited or written by something else, so it was kept; --overwrite replaces it."
        lines.append(f"{folder / 'README.md'}: {'the dataset card.' if is_ours else kept}")
    if cfg.report:
        from datagen.engine.store import Store
        from datagen.stats.report import write_report

        write_report(dataset, Store(cfg.store), folder / "report.html", cfg.shown, cfg.overwrite)
        lines.append(f"{folder / 'report.html'}: open it in a browser.")
    return lines


if __name__ == "__main__":
    main()
