"""Where stages run: here, or on Ray actors. Both offer the same four verbs: room, submit, wait, close.

Why plain actors and one clip in flight per actor: with Ray Data a bad row takes its whole block with it and a row
that kills its worker is retried for ever; here a clip that kills its worker costs itself alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datagen.clip import Clip, seed_of
from datagen.engine.errors import UserError
from datagen.engine.journey import Journey, Outcome, guarded
from datagen.engine.store import Store
from datagen.stage import NO_GPU, Needs

WORKER_ENVIRONMENT = {
    **{name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")},
    # glibc would give every frame's memory back and fault it in again: 13 % of the whole journey's time
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


START_S = 300  # for a worker to come up, models not counted


class Pool(Protocol):
    def room(self, needs: Needs) -> bool: ...
    def submit(self, clip: Clip, needs: Needs) -> None: ...
    def wait(self) -> list[Outcome]: ...
    def close(self) -> None: ...


def single_threaded() -> None:
    """One thread per worker: results do not depend on it, the workers do not fight over cores."""
    import cv2

    cv2.setNumThreads(1)


class LocalPool:
    """The same stages in this process, one clip after the other: for debuggers and small tests."""

    def __init__(self, journey: Journey, store: Store):
        self._journey, self._store = journey, store
        self._waiting: deque[Clip] = deque()
        single_threaded()

    def room(self, needs: Needs) -> bool:
        return not self._waiting

    def submit(self, clip: Clip, needs: Needs) -> None:
        self._waiting.append(clip)

    def wait(self) -> list[Outcome]:
        clip = self._waiting.popleft()
        return [guarded(clip, self._journey, self._store, lambda stage: True)]

    def close(self) -> None:
        self._waiting.clear()


class Worker:
    """An actor: keeps the stages and so their models; computes those whose needs it was made for."""

    def __init__(self, journey: Journey, store: Store, needs: Needs):
        self._journey, self._store, self._needs = journey, store, needs
        single_threaded()

    def ready(self) -> int:
        return os.getpid()

    def work(self, clip: Clip) -> Outcome:
        return guarded(clip, self._journey, self._store, lambda stage: stage.needs == self._needs)


@dataclass
class _Task:
    clip: Clip
    needs: Needs
    actor: Any
    started: float


class RayPool:
    """Actors by needs: `workers` for stages without a GPU, one per GPU share for those with. Started on first use.

    `lock` is the folder that the run holds: no other run with the same one goes on beside it.
    """

    def __init__(
        self,
        journey: Journey,
        store: Store,
        lock: Path,
        workers: int,
        deadline_s: float = 900.0,
        ray_options: dict[str, Any] | None = None,
    ):
        self._journey, self._store, self._lock = journey, store, lock
        self._workers, self._deadline = workers, deadline_s
        self._options = dict(ray_options or {})
        self._ray: Any = None
        self._home = ""
        self._idle: dict[Needs, list[Any]] = {}
        self._tasks: dict[Any, _Task] = {}
        self.start_seconds = 0.0

    def room(self, needs: Needs) -> bool:
        self._start()
        if needs not in self._idle:
            self._idle[needs] = self._actors(needs, self._count(needs))
        return bool(self._idle[needs])

    def submit(self, clip: Clip, needs: Needs) -> None:
        actor = self._idle[needs].pop()
        self._tasks[actor.work.remote(clip)] = _Task(clip, needs, actor, time.monotonic())

    def wait(self) -> list[Outcome]:
        """At least one outcome; a dead worker gives `crashed`, an overdue one is killed and gives `failed: timeout`."""
        while True:
            done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=1.0)
            outcomes = [self._collect(reference) for reference in done]
            outcomes += [self._stop(ref) for ref, task in list(self._tasks.items()) if self._is_overdue(task)]
            if outcomes:
                return outcomes

    def close(self) -> None:
        if self._ray is None:
            return
        self._ray.shutdown()
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)

    def _collect(self, reference: Any) -> Outcome:
        task = self._tasks.pop(reference)
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.OutOfMemoryError as error:
            outcome = Outcome(task.clip, "crashed", "out_of_memory", _first_line(error))
        except self._ray.exceptions.RayError as error:
            outcome = Outcome(task.clip, "crashed", "crash", _first_line(error))
        if outcome.name == "crashed":
            self._idle[task.needs] += self._actors(task.needs, 1)
        else:
            self._idle[task.needs].append(task.actor)
        return outcome

    def _stop(self, reference: Any) -> Outcome:
        task = self._tasks.pop(reference)
        self._ray.kill(task.actor, no_restart=True)
        self._idle[task.needs] += self._actors(task.needs, 1)
        return Outcome(task.clip, "failed", "timeout", f"not done after {self._deadline:g} s")

    def _is_overdue(self, task: _Task) -> bool:
        return time.monotonic() - task.started > self._deadline

    def _count(self, needs: Needs) -> int:
        if not needs.gpus:
            return self._workers
        gpus = self._ray.cluster_resources().get("GPU", 0)
        if not gpus:
            raise UserError(
                "a chosen backend needs a GPU and Ray sees none: choose another backend or another machine."
            )
        return max(1, int(gpus / needs.gpus))

    def _actors(self, needs: Needs, count: int) -> list[Any]:
        # our own Ray counts no processors: workers of another kind would wait for those of the first to go
        cpus = 0 if self._home else needs.cpus
        options = {"num_cpus": cpus, "num_gpus": needs.gpus, "max_restarts": 0, "max_task_retries": 0}
        remote = self._ray.remote(**options)(Worker)
        actors = [remote.remote(self._journey, self._store, needs) for _ in range(count)]
        try:
            self._ray.get([actor.ready.remote() for actor in actors], timeout=START_S)
        except self._ray.exceptions.GetTimeoutError:
            free = {name: n for name, n in self._ray.available_resources().items() if name in ("CPU", "GPU")}
            asked = f"{count} workers of {needs.cpus:g} CPU and {needs.gpus:g} GPU"
            raise UserError(
                f"Ray did not start {asked} within {START_S} s, free are {free}: lower --workers."
            ) from None
        except self._ray.exceptions.RayError as error:
            raise UserError(
                f"Ray cannot start a worker ({_first_line(error)}): run the same command again, or with --runner local "
                "to see why."
            ) from None
        return actors

    def _start(self) -> None:
        if self._ray is not None:
            return
        started = time.perf_counter()
        os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", **WORKER_ENVIRONMENT})
        import ray

        options = {"address": "local", "log_to_driver": False, **self._options}
        if options["address"] == "local":
            # short, because Ray's socket paths are limited; the same for every run with this lock, of which there is
            # one at a time, so that a killed run's leavings go with the next
            self._home = f"/tmp/mk-{os.getuid()}-{seed_of(self._lock.absolute()) % 2**32:08x}"
            shutil.rmtree(self._home, ignore_errors=True)
            options |= {
                "include_dashboard": False,
                "_temp_dir": self._home,
                "num_cpus": max(self._workers, os.cpu_count() or 1),
            }
            options.setdefault("object_store_memory", 100 * 2**20)  # keys, paths and numbers only
        try:
            with own_sigterm():
                ray.init(logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, TypeError, ValueError) as error:
            where = options["address"]
            raise UserError(f"Ray ({where}) cannot be started or reached: {_first_line(error)}") from None
        self._ray = ray
        self._idle[NO_GPU] = self._actors(NO_GPU, self._workers)
        self.start_seconds = time.perf_counter() - started


@contextlib.contextmanager
def own_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself: Python's handler, and below it one that aborts the process three seconds later,
    whatever it is doing then. Afterwards it is ours again.
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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
