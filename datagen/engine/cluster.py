"""Ray itself: started for this run, or a cluster that is there; how many workers it has place
for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from datagen.core.seeds import seed_of
from datagen.engine.stage import Needs
from datagen.engine.workers import first_line

WORKER_ENVIRONMENT = {
    **{name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")},
    # glibc would give every frame's memory back and fault it in again: 13 % of the whole journey's
    # time
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
TOKEN = (
    "where it wants a token, set RAY_AUTH_MODE=token here and RAY_AUTH_TOKEN or "
    "~/.ray/auth_token to its token"
)


class Cluster:
    """`options` are those of ray.init. With `address` local (the default) Ray is started here, for
    `lock`'s holder.
    """

    def __init__(self, lock: Path, workers: int | None, options: JsonObject):
        self._options = {"address": "local", "log_to_driver": False, **options}
        self.is_own = self._options["address"] == "local"
        self._most = len(os.sched_getaffinity(0)) if workers is None and self.is_own else workers
        # short, because Ray's socket paths are limited; the same for every run with this lock, of
        # which there is one at a time, so that a killed run's leavings go with the next
        self._home = Path(f"/tmp/mk-{os.getuid()}-{seed_of(lock.absolute()) % 2**32:08x}")
        self._ray: Any = None

    def ray(self) -> Any:
        """The module, connected. UserError where that is not possible."""
        os.environ.update(
            {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", **WORKER_ENVIRONMENT}
        )
        import ray

        options = self._options | (self._own() if self.is_own else self._others())
        try:
            with own_sigterm():
                ray.init(logging_level=logging.ERROR, **options)
        except (
            ConnectionError,
            RuntimeError,
            TypeError,
            ValueError,
            ray.exceptions.RayError,
        ) as error:
            where = options["address"]
            hint = "" if self.is_own else f"; {TOKEN}"
            raise UserError(
                f"Ray ({where}) cannot be started or reached: {first_line(error)}{hint}"
            ) from None
        self._ray = ray
        return ray

    def wanted(self, needs: Needs) -> int:
        """How many workers there should be: one for each GPU share, or `workers`, or one for each
        processor.
        """
        if not needs.gpus:
            return self._most or max(1, int(self._resources().get("CPU", 0) / needs.cpus))
        gpus = self._resources().get("GPU", 0)
        if not gpus:
            raise UserError(
                "a chosen backend needs a GPU and Ray sees none: choose another backend "
                "or another machine."
            )
        return max(1, int(gpus / needs.gpus))

    def close(self) -> None:
        self._ray.shutdown()
        if self.is_own:
            shutil.rmtree(self._home, ignore_errors=True)

    def _resources(self) -> dict[str, float]:
        return self._ray.cluster_resources()

    def _own(self) -> JsonObject:
        shutil.rmtree(self._home, ignore_errors=True)
        return {
            "include_dashboard": False,
            "_temp_dir": str(self._home),
            "num_cpus": max(self._most or 1, os.cpu_count() or 1),
            "object_store_memory": 100 * 2**20,  # keys, paths and numbers only
        } | self._options

    def _others(self) -> JsonObject:
        """Workers elsewhere do not inherit this process's environment."""
        given = dict(self._options.get("runtime_env") or {})
        return {
            "runtime_env": given
            | {"env_vars": WORKER_ENVIRONMENT | dict(given.get("env_vars") or {})}
        }


@contextlib.contextmanager
def own_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself: Python's handler, and below it one that aborts the process
    three seconds later, whatever it is doing then. Afterwards it is ours again.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # what Ray's handler raises
        signal.alarm(0)
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
