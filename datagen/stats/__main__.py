"""What is in the shards, what was lost and why, whether the twins are any good.

python -m datagen.stats --input data/shards
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.engine.cli import command

if TYPE_CHECKING:
    from datagen.stats.dataset import Dataset


@command("datagen/stats")
def main(cfg: Any) -> int:
    if cfg.compare is not None:
        return _compare(cfg)
    dataset = _read(cfg, cfg.input)
    if cfg.json:
        return _print_json(dataset.to_json())
    from datagen.stats import terminal

    terminal.show(dataset)
    for line in _write(cfg, dataset):
        print(line)
    return 0


def _read(cfg: Any, folder: str) -> Dataset:
    from datagen.job import ledger_path
    from datagen.stats.dataset import read_dataset

    return read_dataset(Path(folder), ledger_path(cfg.store))


def _compare(cfg: Any) -> int:
    from datagen.stats import compare

    first, second = (_read(cfg, folder) for folder in cfg.compare)
    if cfg.json:
        return _print_json(compare.to_json(first, second))
    compare.show(first, second)
    return 0


def _print_json(told: dict[str, Any]) -> int:
    import json

    print(json.dumps(told, indent=1))
    return 0


def _write(cfg: Any, dataset: Dataset) -> list[str]:
    """Report and card where they are wanted; a line for each."""
    folder, lines = Path(cfg.output or cfg.input), []
    if cfg.report:
        from datagen.engine.store import Store
        from datagen.stats.report import write_report

        write_report(dataset, Store(cfg.store), folder / "report.html", cfg.shown, cfg.overwrite)
        lines.append(f"{folder / 'report.html'}: open it in a browser.")
    if cfg.card:
        from datagen.stats.card import write_card

        is_ours = write_card(dataset, folder / "README.md", cfg.overwrite)
        kept = "was edited or is not ours and stays as it is; --overwrite replaces it."
        lines.append(f"{folder / 'README.md'}: {'the dataset card.' if is_ours else kept}")
    return lines


if __name__ == "__main__":
    main()
