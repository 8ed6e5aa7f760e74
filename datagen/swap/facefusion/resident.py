"""The worker process as seen from here: started, asked with a deadline, ended; its death is an
exception.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

WORKER = Path(__file__).with_name("worker.py")
LENGTHS = struct.Struct("!II")  # of header and data, see worker.py
# numbers do not depend on the machine's processors, and workers do not fight over them
ONE_THREAD = {
    f"{name}_THREADS": "1"
    for name in ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
}
LAST_WORDS = 12  # lines that the worker wrote to stderr


class Died(Exception):
    """The worker ended, or did not answer in time and was ended."""


class Resident:
    """One worker process. Ends with this object, with this process, and when this process is
    killed. Raises Died.
    """

    def __init__(self, python: str, gpu: bool):
        self.loaded = False  # noted by those who ask: whether it has the model
        self.donor = ""  # and which donor
        here, there = socket.socketpair()
        # isolated: our own PYTHONPATH and packages are not for it
        environment = dict(os.environ) | ONE_THREAD | ({} if gpu else {"CUDA_VISIBLE_DEVICES": ""})
        with there:
            try:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [python, "-I", "-u", str(WORKER)],
                    stdin=there.fileno(),
                    stdout=there.fileno(),
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for us to handle
                )
            except OSError as error:
                here.close()
                raise Died(f"cannot be started ({error.strerror})") from None
        self._line = here
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._listener = threading.Thread(
            target=_keep, args=(self._process.stderr, self._words), daemon=True
        )
        self._listener.start()
        self._end = weakref.finalize(self, _end, self._process, here, self._listener)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(
        self, seconds: float, ask: str, picture: np.ndarray | None = None, **more: Any
    ) -> dict[str, Any]:
        """The answer's header; a picture in it is under "picture", uint8 [H, W, 3]. Raises Died."""
        shape = {} if picture is None else {"shape": picture.shape}
        header = json.dumps({"ask": ask, **shape, **more}).encode()
        data = b"" if picture is None else np.ascontiguousarray(picture, np.uint8).tobytes()
        until = time.monotonic() + seconds
        try:
            self._line.settimeout(seconds)
            self._line.sendall(LENGTHS.pack(len(header), len(data)) + header + data)
            first, second = LENGTHS.unpack(self._exactly(LENGTHS.size, until))
            answer = json.loads(self._exactly(first, until))
            shown = self._exactly(second, until)
        except TimeoutError:
            self.end()
            raise Died(f"gave no answer within {seconds:g} s") from None
        except OSError:
            raise Died(self._epitaph()) from None
        return (
            {**answer, "picture": np.frombuffer(shown, np.uint8).reshape(answer["shape"])}
            if shown
            else answer
        )

    def end(self) -> None:
        self._end()

    def _exactly(self, count: int, until: float) -> bytearray:
        received = bytearray()
        while len(received) < count:
            self._line.settimeout(max(until - time.monotonic(), 1e-3))
            part = self._line.recv(min(count - len(received), 1 << 20))
            if not part:
                raise ConnectionError
            received += part
        return received

    def _epitaph(self) -> str:
        """How it ended and its last words."""
        self.end()
        code = self._process.returncode
        end = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        lines = [line for line in self._words if line.strip()]
        return f"{end}, saying {lines[-1][:200]!r}" if lines else end


def _keep(stream: Any, words: deque[str]) -> None:
    for line in stream:
        words.append(line.decode("utf-8", "replace").rstrip())


def _end(process: subprocess.Popen, line: socket.socket, listener: threading.Thread) -> None:
    """Kill and bury; nothing that it could lose is in it."""
    line.close()
    try:
        process.wait(0.2)  # one that has ended by itself keeps its exit code
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    listener.join(1.0)
    if process.stderr and not listener.is_alive():
        process.stderr.close()
