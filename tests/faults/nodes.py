"""A Ray cluster of several nodes on this machine, each a `ray start` of its own that can be
killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import REPOSITORY
from tests.faults import until

RAY = Path(sys.executable).with_name("ray")
SMALL = (
    "--block",
    "--num-cpus=1",
    "--num-gpus=0",
    "--object-store-memory=80000000",
    "--disable-usage-stats",
)


@dataclass(frozen=True)
class Node:
    process: subprocess.Popen

    @property
    def raylet(self) -> int | None:
        """The process that is the parent of the node's workers; None where it is not up yet."""
        children = psutil.Process(self.process.pid).children()
        return next((child.pid for child in children if child.name() == "raylet"), None)

    def kill(self) -> None:
        """As if the machine had lost its power: everything on it at once, nothing said."""
        family = [
            psutil.Process(self.process.pid),
            *psutil.Process(self.process.pid).children(recursive=True),
        ]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def end(self) -> None:
        """Whatever of it is left."""
        if self.process.poll() is None:
            self.kill()


@dataclass
class Nodes:
    """`address` is the head's; every node has one processor."""

    home: Path
    port: int
    environment: dict[str, str]
    all: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *words: str, before: tuple[str, ...] = ()) -> Node:
        """`ray start`; returns at once."""
        log = self.home / f"node-{len(self.all)}.log"
        with log.open("wb") as sink:
            node = subprocess.Popen(
                [*before, RAY, "start", *SMALL, f"--temp-dir={self.home}", *words],
                cwd=self.home,  # where no path of the user's command begins
                env=self.environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.all.append(Node(node))
        return self.all[-1]

    def join(self) -> Node:
        return self.start(f"--address={self.address}")


@contextlib.contextmanager
def cluster() -> Iterator[Nodes]:
    """A head that is up."""
    home = Path(tempfile.mkdtemp(prefix="mk-", dir="/tmp"))  # short: Ray's socket paths are limited
    nodes = Nodes(home, _free_port(), {**os.environ, "PYTHONPATH": str(REPOSITORY)})
    try:
        nodes.start(
            *("--head", f"--port={nodes.port}", "--include-dashboard=false"),
            f"--ray-client-server-port={_free_port()}",
        )
        until(lambda: "Ray runtime started" in (home / "node-0.log").read_text())
        yield nodes
    finally:
        for node in nodes.all[::-1]:
            node.end()
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
