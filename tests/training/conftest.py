"""What the trainer's tests make once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Shards of 5 clips to learn and 3 held back."""
    from tests.training import fits

    return fits.shards(tmp_path_factory.mktemp("small"))
