"""An S3 service on loopback with faults to order: moto, behind a door that sometimes shuts."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

BUCKET = "clips"
ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"


SAID = {
    "busy": ("503 Slow Down", "SlowDown"),
    "broken": ("500 Error", "InternalError"),
    "refused": ("403 Forbidden", "InvalidAccessKeyId"),
}


@dataclass
class Door:
    """A WSGI application before another. `fate` says what befalls a request by its number: nothing,
    one of SAID, or `cut` (the connection is closed).
    """

    inner: Any
    fate: Callable[[int], str] = lambda number: ""
    struck: Counter[str] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        fault = self.fate(next(self.numbers))
        if not fault:
            return self.inner(environ, start)
        self.struck[fault] += 1
        if fault == "cut":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        status, code = SAID[fault]
        start(status, [("Content-Type", "application/xml")])
        return [ERROR.format(code, "no").encode()]


@contextlib.contextmanager
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The service, with an empty bucket; the environment, which programs inherit, says where it
    is.
    """
    from moto.server import DomainDispatcherApplication, create_backend_app
    from s3fs import S3FileSystem
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *words: Any) -> None:
            pass

    door = Door(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # in one go: there are others above
    }.items():
        monkeypatch.setenv(name, value)
    try:
        S3FileSystem.clear_instance_cache()  # which would go on with another test's service
        httpx.post(f"{address}/moto-api/reset")
        with contextlib.closing(_client()) as client:
            client.create_bucket(Bucket=BUCKET)
        yield door
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def count(ending: str) -> int:
    """Objects in the bucket whose names end so."""
    with contextlib.closing(_client()) as client:
        found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return sum(row["Key"].endswith(ending) for row in found)


def _client() -> Any:
    import boto3

    return boto3.client("s3")
