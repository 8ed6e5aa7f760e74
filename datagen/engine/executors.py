"""Where stages run: here, or on Ray actors. Both offer the same four verbs: room, submit, wait,
close.

Why plain actors and one clip in flight per actor: with Ray Data a bad row takes its whole block
with it and a row that kills its worker is retried for ever; here a clip that kills its worker costs
itself alone.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datagen.core.errors import UserError
from datagen.core.json import JsonObject
from datagen.engine.clip import Clip
from datagen.engine.cluster import Cluster
from datagen.engine.pipeline import Outcome, Pipeline, run_clip_safely
from datagen.engine.stage import Needs
from datagen.engine.store import Store
from datagen.engine.workers import Worker, WorkerHandle, WorkerPool, first_line, single_threaded

# for the first worker to come up, and for one of a cluster that has lost all; models not counted
START_S = 300


class Executor(Protocol):
    def room(self, needs: Needs) -> bool: ...
    def submit(self, clip: Clip, needs: Needs) -> None: ...
    def wait(self) -> list[Outcome]: ...  # or none, when there may be room now
    def close(self) -> None: ...


class LocalExecutor:
    """The same stages in this process, one clip after the other: for debuggers and small tests."""

    def __init__(self, pipeline: Pipeline, store: Store):
        self._pipeline, self._store = pipeline, store
        self._waiting: deque[Clip] = deque()
        single_threaded()

    def room(self, needs: Needs) -> bool:
        return not self._waiting

    def submit(self, clip: Clip, needs: Needs) -> None:
        self._waiting.append(clip)

    def wait(self) -> list[Outcome]:
        clip = self._waiting.popleft()
        return [run_clip_safely(clip, self._pipeline, self._store, lambda stage: True)]

    def close(self) -> None:
        self._waiting.clear()


@dataclass
class _Task:
    clip: Clip
    handle: WorkerHandle
    started: float


class RayExecutor:
    """Clips at work on Ray actors. Ray is started or reached, and workers are asked for, on first
    use.

    `lock` is the folder that the run holds: no other run with the same one goes on beside it.
    `workers` is the most of those without a GPU; None is as many as the cluster has processors, or
    this machine.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store,
        lock: Path,
        workers: int | None,
        deadline_s: float = 900.0,
        ray_options: JsonObject | None = None,
    ):
        self._pipeline, self._store, self._deadline = pipeline, store, deadline_s
        self._cluster = Cluster(lock, workers, dict(ray_options or {}))
        self._sign = uuid.uuid4().hex
        self._ray: Any = None
        self._workers: WorkerPool
        self._tasks: dict[Any, _Task] = {}
        self.start_seconds = 0.0  # until the first worker was up

    def room(self, needs: Needs) -> bool:
        self._start()
        return self._workers.has_idle(needs)

    def submit(self, clip: Clip, needs: Needs) -> None:
        handle = self._workers.lend(needs)
        self._tasks[handle.actor.work.remote(clip)] = _Task(clip, handle, time.monotonic())

    def wait(self) -> list[Outcome]:
        """A dead worker gives `crashed`, one whose machine is gone `lost`, an overdue one is killed
        and gives `failed: timeout`. No outcome at all where a worker came up meanwhile.
        """
        began = time.monotonic()
        while True:
            self._workers.ask()
            done = self._done([*self._tasks, *self._workers.coming])
            outcomes = [self._collect(reference) for reference in done if reference in self._tasks]
            outcomes += [
                self._stop(ref) for ref, task in list(self._tasks.items()) if self._is_overdue(task)
            ]
            came = any(
                [
                    self._welcome(reference)
                    for reference in done
                    if reference in self._workers.coming
                ]
            )
            if outcomes or came:
                return outcomes
            if not self._tasks and time.monotonic() - began > START_S:
                raise UserError(
                    f"Ray did not start {self._workers.status()}, within {START_S} s: "
                    "lower --workers."
                )

    def close(self) -> None:
        if self._ray is not None:
            self._store.clear_sign()
            self._cluster.close()

    def _done(self, references: list[Any]) -> list[Any]:
        if not references:
            time.sleep(1.0)
            return []
        return self._ray.wait(references, num_returns=1, timeout=1.0)[0]

    def _collect(self, reference: Any) -> Outcome:
        task = self._tasks.pop(reference)
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.OutOfMemoryError as error:
            self._workers.lose(task.handle)
            return Outcome(task.clip, "crashed", "out_of_memory", first_line(error))
        except self._ray.exceptions.RayError as error:
            if self._workers.lose(task.handle, error):
                return Outcome(task.clip, "lost", "machine_lost", first_line(error))
            return Outcome(task.clip, "crashed", "crash", first_line(error))
        self._workers.take_back(task.handle)
        return outcome

    def _stop(self, reference: Any) -> Outcome:
        task = self._tasks.pop(reference)
        self._workers.lose(task.handle)
        return Outcome(task.clip, "failed", "timeout", f"not done after {self._deadline:g} s")

    def _is_overdue(self, task: _Task) -> bool:
        return time.monotonic() - task.started > self._deadline

    def _welcome(self, reference: Any) -> bool:
        is_up = self._workers.welcome(reference)
        if is_up and not self.start_seconds:
            self.start_seconds = time.perf_counter() - self._began
        return is_up

    def _start(self) -> None:
        if self._ray is not None:
            return
        self._began = time.perf_counter()
        self._ray = self._cluster.ray()
        self._store.sign(self._sign)
        self._workers = WorkerPool(self._ray, self._worker, self._cluster.wanted)

    def _worker(self, needs: Needs) -> Any:
        # where a GPU is needed it alone is counted: the workers without one hold all processors;
        # our own Ray counts none, since nobody else is there
        cpus = 0 if needs.gpus or self._cluster.is_own else needs.cpus
        remote = self._ray.remote(
            num_cpus=cpus, num_gpus=needs.gpus, max_restarts=0, max_task_retries=0
        )(Worker)
        return remote.remote(self._pipeline, self._store, needs, self._sign, str(Path.cwd()))
