"""The old name of `python -m datagen.prepare`."""

from __future__ import annotations

import sys

from datagen.prepare.__main__ import main

if __name__ == "__main__":
    print("note: python -m training.prepare is now python -m datagen.prepare.", file=sys.stderr)
    main()
