"""A host on this machine that serves videos, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S"><Period>
<AdaptationSet mimeType="video/mp4">
<Representation id="b" bandwidth="9000" width="96" height="64" codecs="avc1">
<BaseURL>big.mp4</BaseURL></Representation>
<Representation id="s" bandwidth="800" width="48" height="32" codecs="avc1">
<BaseURL>small.mp4</BaseURL></Representation>
</AdaptationSet>
<AdaptationSet mimeType="audio/mp4">
<Representation id="a" bandwidth="100" codecs="mp4a.40.2">
<BaseURL>sound.m4a</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""


class Host:
    """`script[id]` is a list of what the next requests of an id get; the last word stays. Words:

    whole, 404, 403, 429, 503 (`429:9` asks to wait 9 s), cut (the connection ends in the middle),
    short (a length that ends in the middle), long (a length that is never reached), slow, held
    (stands still in the middle), page (no video), to (a file of the reader), audio, live, dash
    (picture in two sizes and sound, apart).
    """

    def __init__(self, film: bytes):
        self.film = film
        self.audio = b""
        self.script: dict[str, list[str]] = {}
        self.parts: dict[str, bytes] = {}  # of dash: big.mp4, small.mp4, sound.m4a
        self.cookies: list[str] = []
        self.asked: Counter[str] = Counter()  # requests by id
        self.continued: Counter[str] = Counter()  # requests for the rest of a file, by id
        self.holding = threading.Event()  # a `held` video stands still
        self.gate = threading.Event()  # until it is set, `held` videos stand still in the middle
        self.lock = threading.Lock()

    def word(self, video: str) -> str:
        with self.lock:
            self.asked[video] += 1
            words = self.script.get(video, ["whole"])
            return words.pop(0) if len(words) > 1 else words[0]


@contextlib.contextmanager
def serving(host: Host) -> Iterator[str]:
    """The address of a running host, with {id} where the id belongs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if cookie := self.headers.get("Cookie"):
                host.cookies.append(cookie)
            if part := host.parts.get(self.path.strip("/")):
                self.answer(part, "video/mp4")
                return
            video = unquote(self.path.strip("/").removesuffix(".mp4"))
            word, _, number = host.word(video).partition(":")
            if word.isdigit():
                self.send_response(int(word))
                if number:
                    self.send_header("Retry-After", number)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif word == "to":  # the scheme that must not be followed
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif word in ("dash", "live"):
                text = DASH if word == "dash" else DASH.replace("static", "dynamic")
                self.answer(text.encode(), "application/dash+xml")
            elif word == "page":
                self.answer(b"<html><title>x</title></html>", "text/html")
            else:
                self.serve(video, word)

        do_HEAD = do_GET

        def serve(self, video: str, word: str) -> None:
            data = host.audio if word == "audio" else host.film
            start = self.start(len(data)) if word in ("whole", "slow", "held") else 0
            half = len(data) // 2
            length = {"short": half, "long": len(data) + 5000}.get(word, len(data) - start)
            sent = data[: {"short": half, "cut": half}.get(word, len(data))][start:]
            self.send_response(206 if start else 200)
            if start:
                host.continued[video] += 1
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            step = max(1, len(sent) // 8)
            for at in range(0, len(sent), step):
                if word == "slow":
                    time.sleep(0.02)
                if word == "held" and at >= half:
                    host.holding.set()
                    host.gate.wait(60)
                self.wfile.write(sent[at : at + step])
                self.wfile.flush()

        def start(self, size: int) -> int:
            match = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            return min(int(match[1]), size - 1) if match else 0

        def answer(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is no error of ours."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{{id}}.mp4"
    finally:
        host.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
