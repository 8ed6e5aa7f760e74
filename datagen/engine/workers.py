"""The workers of a run on Ray: asked for, up, at work, lost, and asked for again as long as the run
goes on.

It knows machines and workers, nothing of clips. A cluster may grow and shrink under it: what is
asked for and has no place waits in Ray's queue until a machine joins, and the run goes on with
those that are up.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datagen.core.errors import UserError
from datagen.engine.clip import Clip
from datagen.engine.pipeline import Outcome, Pipeline, run_clip_safely
from datagen.engine.stage import Needs
from datagen.engine.store import Store

LOOK_S = 2.0  # between the questions how large the cluster is
AGAIN_S = 15.0  # after a worker did not come up


def single_threaded() -> None:
    """One thread per worker: results do not depend on it, the workers do not fight over cores."""
    import cv2

    cv2.setNumThreads(1)


class Worker:
    """An actor: keeps the stages and so their models; computes those whose needs it was made
    for.
    """

    def __init__(self, pipeline: Pipeline, store: Store, needs: Needs, sign: str, folder: str):
        self._pipeline, self._store, self._needs, self._sign = pipeline, store, needs, sign
        with contextlib.suppress(
            OSError
        ):  # a path that the user gave is relative to where the command was started
            os.chdir(folder)
        single_threaded()

    def ready(self) -> str:
        """The id of the node that it runs on. UserError where that does not see the run's store."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        if not self._store.has_sign(self._sign):
            raise UserError(
                f"the machine {ray.util.get_node_ip_address()} does not see the store "
                f"{self._store.root}: "
                "name a folder that all machines share, or a URL, with --store."
            )
        return node

    def work(self, clip: Clip) -> Outcome:
        return run_clip_safely(
            clip, self._pipeline, self._store, lambda stage: stage.needs == self._needs
        )


@dataclass(frozen=True)
class WorkerHandle:
    """A worker that is up."""

    actor: Any
    needs: Needs
    node: str


class WorkerPool:
    """As many workers of each kind as `wanted` says, which may say another number at any time.

    `make` gives the actor for needs. Kinds are known from the first question for one on.
    """

    def __init__(self, ray: Any, make: Callable[[Needs], Any], wanted: Callable[[Needs], int]):
        self._ray, self._make, self._wanted = ray, make, wanted
        self._idle: dict[Needs, list[WorkerHandle]] = {}
        self._coming: dict[
            Any, tuple[Any, Needs]
        ] = {}  # Ray's reference to its first answer -> actor
        self._count: Counter[Needs] = Counter()  # asked for and not lost
        self._refused: dict[Needs, str] = {}  # why the last one did not come up
        self._ask_at: dict[Needs, float] = {}

    @property
    def coming(self) -> list[Any]:
        """References that are done when a worker is up, for `welcome`."""
        return list(self._coming)

    def has_idle(self, needs: Needs) -> bool:
        if needs not in self._idle:
            self._idle[needs] = []
            self.ask()
        return bool(self._idle[needs])

    def lend(self, needs: Needs) -> WorkerHandle:
        return self._idle[needs].pop()

    def take_back(self, handle: WorkerHandle) -> None:
        self._idle[handle.needs].append(handle)

    def ask(self) -> None:
        """Ask Ray for the workers that are missing."""
        now = time.monotonic()
        for needs in self._idle:
            if now < self._ask_at.get(needs, 0.0):
                continue
            self._ask_at[needs] = now + LOOK_S
            for _ in range(self._wanted(needs) - self._count[needs]):
                actor = self._make(needs)
                self._coming[actor.ready.remote()] = (actor, needs)
                self._count[needs] += 1

    def welcome(self, reference: Any) -> bool:
        """True if that worker is up now. UserError where none can come up."""
        actor, needs = self._coming.pop(reference)
        try:
            self._idle[needs].append(WorkerHandle(actor, needs, self._ray.get(reference)))
            return True
        except self._ray.exceptions.RayError as error:
            self._dismiss(actor, needs)
            self._ask_at[needs] = time.monotonic() + AGAIN_S
            if not isinstance(error, self._ray.exceptions.ActorUnavailableError):
                self._refuse(needs, error)
            return False

    def lose(self, handle: WorkerHandle, error: Exception | None = None) -> bool:
        """A worker that is no more, or shall be no more. True if by this error its whole node is
        out of reach, and with it all that idle there.
        """
        self._dismiss(handle.actor, handle.needs)
        self._ask_at.pop(handle.needs, None)
        # of a node that died Ray says "unavailable" at once, and knows better after many seconds
        # without a heartbeat
        is_away = isinstance(error, self._ray.exceptions.ActorUnavailableError) or (
            error is not None and not self._is_alive(handle.node)
        )
        if is_away:
            for idle in self._idle.values():
                for other in [other for other in idle if other.node == handle.node]:
                    idle.remove(other)
                    self._dismiss(other.actor, other.needs)
        return is_away

    def status(self) -> str:
        """Why nothing comes up, for the user."""
        free = {
            name: n for name, n in self._ray.available_resources().items() if name in ("CPU", "GPU")
        }
        asked = " and ".join(
            f"{n} workers of {k.cpus:g} CPU and {k.gpus:g} GPU" for k, n in self._count.items()
        )
        return f"{asked or 'workers'}, free are {free}"

    def _is_alive(self, node: str) -> bool:
        return any(row["NodeID"] == node and row["Alive"] for row in self._ray.nodes())

    def _dismiss(self, actor: Any, needs: Needs) -> None:
        self._ray.kill(actor, no_restart=True)
        self._count[needs] -= 1

    def _refuse(self, needs: Needs, error: Exception) -> None:
        """The run goes on with the workers that are up, if any are."""
        cause = getattr(error, "cause", None)
        why = (
            str(cause)
            if isinstance(cause, UserError)
            else f"Ray cannot start a worker ({first_line(error)})"
        )
        if not self._count[needs]:
            if isinstance(cause, UserError):
                raise UserError(why) from None
            raise UserError(
                f"{why}: run the same command again, or with --runner local to see why."
            ) from None
        if self._refused.get(needs) != why:
            print(f"note: a worker less: {why}", file=sys.stderr, flush=True)
        self._refused[needs] = why


def first_line(error: Exception) -> str:
    """In Ray's words; of a dead actor, whose first lines are its name and place, why it is dead."""
    lines = str(error).strip().splitlines()
    return next((line for line in lines if line.startswith("The actor is dead because")), lines[0])[
        :300
    ]
