"""The old name of `python -m datagen.weights`."""

from __future__ import annotations

import sys

from datagen.weights.__main__ import main

if __name__ == "__main__":
    print("note: python -m model.weights is now python -m datagen.weights.", file=sys.stderr)
    main()
