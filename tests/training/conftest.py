"""What the trainer's tests make once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Shards of 5 clips to learn and 3 held back."""
    from tests.training import fits

    return fits.shards(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def whole(small, tmp_path_factory) -> Path:
    """20 steps in one piece."""
    from tests.training import fits

    output = tmp_path_factory.mktemp("whole") / "run"
    fits.fit(small, output, fits.EMA, "max_steps=20")
    return output
