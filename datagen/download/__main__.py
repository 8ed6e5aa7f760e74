"""Fetch the videos of a listed source.

python -m datagen.download source=celebvhq --limit 100
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datagen.cli import command


@command("datagen/download")
def main(cfg: Any) -> int:
    from datagen.core.lock import locked
    from datagen.download.options import check, fetching, make_source
    from datagen.download.run import dry_run, run, terms

    source = make_source(cfg)
    check(cfg)
    options = fetching(cfg)
    print(terms(source), flush=True)
    if cfg.dry_run:
        return dry_run(cfg, source)
    with locked(Path(source.raw)):
        return run(cfg, source, options)


if __name__ == "__main__":
    main()
