"""Shared by all tests: one thread per library, no network, footage where it is at hand."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# one token for all that the tests start; Ray reads it once and would else write one into the user's
# home
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2}

import cv2
import pytest

from tests.once import once

cv2.setNumThreads(1)
# a shell ignores Ctrl-C in what it starts in the background, and so would every program that the
# tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).resolve().parents[1]
MEDIA = REPOSITORY.parent / "shared" / "media"
# files that take the longest, which `make test` begins with: none is to be left alone at the end
LONG = (
    "faults/test_random.py",
    "datagen/shards/test_journey.py",
    "model/test_animate.py",
    "training/test_evaluate.py",
    "training/trainer/test_disasters.py",
    "training/trainer/test_resume.py",
    "training/trainer/test_faults.py",
    "training/trainer/test_ranks.py",
    "training/trainer/test_validation.py",
    "training/evaluation/test_cross_cases.py",
    "faults/test_s3.py",
    "faults/test_cluster.py",
)


assert all((REPOSITORY / "tests" / name).is_file() for name in LONG)


def pytest_collection_modifyitems(items) -> None:
    places = {REPOSITORY / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """This worker's copy of what one of them has made: the small sample's `shards`, and the `store`
    of that run.
    """
    from tests import faults

    made = once(
        tmp_path_factory,
        "sample",
        lambda home: faults.sample_shards(home / "shards", home / "store"),
    )
    return shutil.copytree(made, tmp_path_factory.mktemp("sample"), dirs_exist_ok=True)


@pytest.fixture(scope="session")
def store(prepared) -> Path:
    """The store that all tests share whose subject is not what is computed."""
    return prepared / "store"


@pytest.fixture(scope="session")
def sample(prepared) -> Path:
    """The small sample's shards, made once for all tests."""
    return prepared / "shards"


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A folder of videos: one.mp4 and sub/two.mp4 are talking heads, one file is no video."""
    from tests import faults

    return once(tmp_path_factory, "raw", faults.raw)


@pytest.fixture(scope="session")
def media() -> Path:
    """Real clips, portraits and broken files; only where the project's footage lies beside the
    checkout.
    """
    if not MEDIA.is_dir():
        pytest.skip("the footage in ../shared/media is not here")
    return MEDIA
