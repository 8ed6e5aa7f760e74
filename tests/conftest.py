"""Shared by all tests: one thread per library, no network, footage where it is at hand."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# one token for all that the tests start; Ray reads it once and would else write one into the user's home
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2}

import cv2
import pytest

cv2.setNumThreads(1)
# a shell ignores Ctrl-C in what it starts in the background, and so would every program that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).resolve().parents[1]
MEDIA = REPOSITORY.parent / "shared" / "media"


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """The store that all tests share whose subject is not what is computed."""
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="session")
def sample(tmp_path_factory, store) -> Path:
    """The small sample's shards, made once for all tests, in this process."""
    from tests import faults

    return faults.sample_shards(tmp_path_factory.mktemp("sample"), store)


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A folder of videos, made once: one.mp4 and sub/two.mp4 are talking heads, one file is no video."""
    from tests import faults

    return faults.raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="session")
def media() -> Path:
    """Real clips, portraits and broken files; only where the project's footage lies beside the checkout."""
    if not MEDIA.is_dir():
        pytest.skip("the footage in ../shared/media is not here")
    return MEDIA
