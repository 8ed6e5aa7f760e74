"""The old name of `python -m datagen.prepare`."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    print("note: python -m training.prepare is now python -m datagen.prepare.", file=sys.stderr)
    runpy.run_module("datagen.prepare", run_name="__main__", alter_sys=True)
