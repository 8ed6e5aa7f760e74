"""Weights of GitHub, ModelScope and of owners who give them out by hand: whole, gone on with, or
one sentence.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datagen.core.lock import locked
from datagen.weights.registry import BY_HAND, Weight
from tests.faults import Run, call

BYTES = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
SHA256 = hashlib.sha256(BYTES).hexdigest()
RELEASE = Weight(
    "toy",
    "a toy",
    "someone/toys/releases/download/v1.0",
    "MIT",
    "tests",
    ("a.bin",),
    len(BYTES),
    host="github",
)
MODEL = Weight(
    "toy",
    "a toy",
    "someone/toys",
    "MIT",
    "tests",
    ("sub/a.bin",),
    0,
    host="modelscope",
    revision="v1.0.1",
)
ASSET = "/someone/toys/releases/download/v1.0/a.bin"
FILE = "/api/v1/models/someone/toys/repo?Revision=v1.0.1&FilePath=sub%2Fa.bin"


@dataclass
class Host:
    """Stands in for both hosts: files by address, and what goes wrong with them."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    cut: bool = False  # half of every body, then nothing
    ranges: bool = True  # parts can be asked for
    claimed: int = 0  # size, in place of the true one
    kind: str = "application/octet-stream"
    mark: str = '"one"'  # ETag
    sent: list[tuple[str, int, int]] = field(
        default_factory=list
    )  # address, first byte and bytes of each answer

    @property
    def begun_at(self) -> list[int]:
        """First byte of every answer that was more than the question whether the file is there."""
        return [first for _, first, count in self.sent if count > 1]


@pytest.fixture
def host(monkeypatch) -> Iterator[Host]:
    host_state = Host(files={ASSET: BYTES, FILE: BYTES})

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:  # as GitHub's storage
            self.send_error(403)

        def do_GET(self) -> None:
            if self.path.startswith("/storage"):
                return self.give(host_state.files[self.path.removeprefix("/storage")])
            if host_state.status != 200 or self.path not in host_state.files:
                return self.send_error(host_state.status if host_state.status != 200 else 404)
            self.send_response(302)
            self.send_header("Location", f"/storage{self.path}")
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def give(self, data: bytes) -> None:
            first, last = 0, len(data) - 1
            asked = self.headers.get("Range") if host_state.ranges else None
            if asked and self.headers.get("If-Range", host_state.mark) == host_state.mark:
                low, _, high = asked.removeprefix("bytes=").partition("-")
                first, last = int(low), int(high or last)
            body = data[first : last + 1]
            self.send_response(206 if len(body) < len(data) else 200)
            if len(body) < len(data):
                self.send_header(
                    "Content-Range", f"bytes {first}-{last}/{host_state.claimed or len(data)}"
                )
            self.send_header("Content-Type", host_state.kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", host_state.mark)
            self.end_headers()
            if host_state.cut and len(body) > 1:
                body, self.close_connection = body[: len(body) // 2], True
            host_state.sent.append((self.path.removeprefix("/storage"), first, len(body)))
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    host_state.address = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("GITHUB_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, host_state.address)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield host_state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def weights(monkeypatch, tmp_path) -> Callable[..., Run]:
    """`python -m datagen.weights words` with one weight as the registry, in the folder
    `tmp_path`.
    """

    def run(weight: Weight, *words: str) -> Run:
        # the command first: it is imported here, and must not keep the registry of this test
        monkeypatch.setattr("datagen.weights.__main__.WEIGHTS", (weight,))
        monkeypatch.setattr("datagen.weights.registry.WEIGHTS", (weight,))
        return call("datagen.weights", *words, "--folder", tmp_path)

    return run


def changed(weight: Weight, **values: object) -> Weight:
    return Weight(**{**vars(weight), **values})  # type: ignore[arg-type]


def left(folder: Path) -> set[str]:
    """All files, part files as *.part"""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {"*.part" if name.endswith(".part") else name for name in names}


@pytest.mark.parametrize(("weight", "address"), [(RELEASE, ASSET), (MODEL, FILE)])
def test_what_is_fetched_is_whole_recorded_and_fetched_once(
    weight, address, host, weights, tmp_path
):
    first = weights(weight, "fetch", "toy")
    assert first.code == 0, first.err
    name = weight.files[0]
    assert left(tmp_path) == {f"toy/{name}", "toy/fetched.json"}
    assert (tmp_path / "toy" / name).read_bytes() == BYTES
    assert json.loads((tmp_path / "toy" / "fetched.json").read_text()) == {
        name: {"bytes": len(BYTES), "sha256": SHA256}
    }
    assert host.sent == [(address, 0, 1), (address, 0, len(BYTES))]
    assert weights(weight, "fetch", "toy").code == 0 and len(host.sent) == 2


def test_a_download_that_was_cut_off_goes_on_where_it_was(host, weights, tmp_path):
    weight = changed(RELEASE, sha256={"a.bin": SHA256})
    host.cut = True
    ended = weights(weight, "fetch", "toy")
    assert (
        ended.code == 2
        and "the download was cut off (" in ended.sentence
        and "same command again" in ended.sentence
    )
    assert left(tmp_path) == {"*.part"}
    assert weights(weight, "fetch", "toy").code == 2
    host.cut = False
    assert weights(weight, "fetch", "toy").code == 0
    assert host.begun_at == [0, len(BYTES) // 2, len(BYTES) * 3 // 4]
    assert left(tmp_path) == {"toy/a.bin", "toy/fetched.json"}
    assert (tmp_path / "toy" / "a.bin").read_bytes() == BYTES


@pytest.mark.parametrize("change", ["another version", "no ranges"])
def test_what_cannot_be_gone_on_with_begins_anew(change, host, weights, tmp_path):
    host.cut = True
    weights(RELEASE, "fetch", "toy")
    host.cut = False
    if change == "no ranges":
        host.ranges = False
    else:
        host.files[ASSET], host.mark = BYTES[::-1], '"two"'
    assert weights(RELEASE, "fetch", "toy").code == 0
    assert host.begun_at[-1] == 0
    assert (tmp_path / "toy" / "a.bin").read_bytes() == host.files[ASSET]


def test_a_file_of_another_checksum_is_not_kept(host, weights, tmp_path):
    ended = weights(changed(RELEASE, sha256={"a.bin": "f" * 64}), "fetch", "toy")
    assert ended.code == 2
    assert (
        f"({SHA256[:12]}... came, ffffffffffff... is expected) and was removed"
        in ended.sentence.replace("sha256 ", "")
    )
    assert left(tmp_path) == set()


def test_more_or_less_than_the_size_that_was_told_is_not_taken(host, weights, tmp_path):
    host.claimed = len(BYTES) + 5
    ended = weights(RELEASE, "fetch", "toy")
    assert ended.code == 2 and f"{len(BYTES)} of {len(BYTES) + 5} bytes came" in ended.sentence
    host.claimed = len(BYTES) - 5
    assert weights(RELEASE, "fetch", "toy").code == 2
    assert "toy/a.bin" not in left(tmp_path)
    host.claimed = 0
    assert weights(RELEASE, "fetch", "toy").code == 0


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            404,
            "https://github.com/someone/toys/releases/tag/v1.0 no longer has it; toy (a "
            "toy; size: about 0.003 GB",
        ),
        (503, "refuses the download (HTTP 503); toy (a toy"),
        (429, "refuses the download (HTTP 429)"),
    ],
)
def test_a_host_that_refuses_is_one_sentence(status, sentence, host, weights, tmp_path):
    host.status = status
    ended = weights(RELEASE, "fetch", "toy")
    assert ended.code == 2 and sentence in ended.sentence
    assert "put a.bin of https://github.com/someone/toys/releases/tag/v1.0 there" in ended.sentence
    assert left(tmp_path) == set()


def test_no_room_is_told_before_anything_is_fetched(host, weights, tmp_path):
    host.claimed = 10**15
    ended = weights(RELEASE, "fetch", "toy")
    assert ended.code == 2 and "1000000.0 GB are needed: make room" in ended.sentence
    assert host.begun_at == []


def test_a_web_page_is_not_taken_for_a_file(host, weights, tmp_path):
    host.kind = "text/html; charset=utf-8"
    ended = weights(MODEL, "fetch", "toy")
    assert ended.code == 2 and "returns a web page instead of a file" in ended.sentence
    assert left(tmp_path) == set()


def test_nobody_is_asked_where_there_is_no_host_or_no_network(host, weights, monkeypatch):
    monkeypatch.setenv("GITHUB_ENDPOINT", "http://127.0.0.1:1")
    ended = weights(RELEASE, "fetch", "toy")
    assert ended.code == 2 and "does not answer (" in ended.sentence
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ended = weights(MODEL, "fetch", "toy")
    assert (
        ended.code == 2
        and "error: HF_HUB_OFFLINE forbids the network; toy (a toy; size: unknown" in ended.sentence
    )
    assert host.sent == []


def test_two_cannot_fetch_into_one_folder(host, weights, tmp_path):
    with locked(tmp_path / "toy"):
        ended = weights(RELEASE, "fetch", "toy")
    assert ended.code == 2 and "is in use by another run" in ended.sentence


def test_what_its_owner_gives_out_by_hand_is_not_fetched(host, weights, tmp_path):
    weight = changed(
        RELEASE,
        host=BY_HAND,
        source="the link in https://example.org/toys",
        licence="research only",
    )
    ended = weights(weight, "fetch", "toy")
    assert (ended.code, ended.err) == (
        2,
        "error: toy (a toy; size: about 0.003 GB; licence: research only) is not in "
        f"{tmp_path}/toy: "
        "put a.bin of the link in https://example.org/toys there.\n",
    )
    assert host.sent == []
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.bin").write_bytes(BYTES)
    assert weights(weight, "fetch", "toy").out.splitlines()[-1] == f"{tmp_path}/toy/a.bin: there."
    assert "by hand  yes" in weights(weight, "list").out
