"""What the trainer's tests make once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.once import once


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Shards of 5 clips to learn and 3 held back."""
    from tests.training import fits

    return once(tmp_path_factory, "small", fits.shards)


@pytest.fixture(scope="session")
def whole(small, tmp_path_factory) -> Path:
    """20 steps in one piece."""
    from tests.training import fits

    words = (fits.EMA, "max_steps=20")
    return (
        once(tmp_path_factory, "whole", lambda home: fits.fit(small, home / "run", *words)) / "run"
    )
