"""What is in the shards, what was lost and why, whether the twins are any good.

python -m datagen.stats --input data/shards
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datagen.engine.cli import command


@command("datagen/stats")
def main(cfg: Any) -> int:
    from datagen.job import ledger_path
    from datagen.stats.dataset import read_dataset

    dataset = read_dataset(Path(cfg.input), ledger_path(cfg.store))
    if cfg.json:
        print(json.dumps(dataset.to_json(), indent=1))
        return 0
    return 0


if __name__ == "__main__":
    main()
