"""Swaps faces with ModelScope, in an interpreter of its own: one frame after the other, for as long
as stdin is open.

This file imports nothing of its project, whose packages its interpreter does not have. A message is
two lengths (4 bytes each, big-endian), a JSON header and data. Pictures are RGB uint8, `shape` [H,
W, 3] in the header.

    {"ask": "load", "task", "model", "trust_remote_code"} -> {"gpu", "versions"}
    {"ask": "donor", "shape"} picture                                 -> {}
    {"ask": "swap", "shape"} picture -> {"shape"} picture,
        or {"no_face": the model's message, "whose"}
    and to whatever goes wrong:      -> {"error": package, code or model, "text", "name"}
"""

import functools
import json
import logging
import os
import queue
import re
import struct
import sys
import threading
import traceback
from importlib import metadata
from typing import Any

LENGTHS = struct.Struct("!II")
NAMED = ("modelscope", "torch", "torchvision", "tensorflow", "tensorflow-cpu", "numpy")
os.environ.setdefault("MODELSCOPE_LOG_LEVEL", str(logging.WARNING))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


class Refused(Exception):
    """What the user can mend: `error` says what it is about."""

    def __init__(self, error, text, name=""):
        super().__init__(text)
        self.answer = {"error": error, "text": text, "name": name}


class Words(logging.Handler):
    """Keeps what libraries say about the frame at hand: ModelScope tells by a warning alone that it
    found no face.
    """

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


class Fusion:
    """The model, once it is asked to load, and the donor at hand."""

    def __init__(self):
        self.pipeline: Any = None
        self.donor: Any = None
        self.words = Words()

    def load(self, header, data):
        folder = header["model"]  # always a folder: nothing is fetched
        _refuse_remote_code(folder, header["trust_remote_code"])
        gpu = _cuda()
        from modelscope.pipelines import pipeline

        self.pipeline = pipeline(
            header["task"],
            model=folder,
            device="gpu" if gpu else "cpu",
            trust_remote_code=bool(header["trust_remote_code"]),
        )
        for name in (None, "modelscope"):  # the latter passes nothing on
            logging.getLogger(name).addHandler(self.words)
        return {"gpu": gpu, "versions": _versions()}, b""

    def take_donor(self, header, data):
        self.donor = _picture(header, data)
        return {}, b""

    def swap(self, header, data):
        import numpy as np

        rgb = _picture(header, data)
        self.words.messages.clear()
        # it takes BGR, and gives BGR; but where it finds no face it gives what it takes, in RGB
        made = self.pipeline({"template": _flipped(rgb), "user": _flipped(self.donor)})[
            "output_img"
        ]
        made = np.asarray(made)
        if made.shape != rgb.shape:
            raise ValueError(f"the model gives {made.shape} for a picture of {rgb.shape}")
        if made.dtype != np.uint8:
            made = np.clip(np.rint(made), 0, 255).astype(np.uint8)
        message = next(
            (words for words in self.words.messages if re.search(r"no\W+face", words, re.I)), ""
        )
        if message or np.array_equal(made, rgb) or np.array_equal(made, _flipped(rgb)):
            whose = "donor" if re.search(r"\buser\b", message, re.I) else "target"
            return {"no_face": message or "it gives its input back", "whose": whose}, b""
        return {"shape": list(made.shape)}, _flipped(made).tobytes()

    def answer(self, header, data):
        try:
            verb = {"load": self.load, "donor": self.take_donor, "swap": self.swap}[header["ask"]]
            return verb(header, data)
        except Refused as refused:
            return refused.answer, b""
        except Exception as error:
            traceback.print_exc()
            return _described(error), b""


def _refuse_remote_code(folder, trusted):
    """ModelScope runs code of its own hub's models unasked; nobody else decides that here."""
    path = os.path.join(folder, "configuration.json")
    try:
        with open(path, encoding="utf-8") as file:
            configuration = json.load(file)
    except (OSError, ValueError) as error:
        raise Refused("model", f"{path} cannot be read ({error})") from None
    asks = [key for key in ("allow_remote", "plugins") if configuration.get(key)]
    if asks and not trusted:
        raise Refused("code", f"{path} says {' and '.join(asks)}")


def _cuda():
    """Whether there is a GPU. Where there is none, checkpoints that were saved on one are read all
    the same, and one thread computes.
    """
    import torch

    if not torch.cuda.is_available():
        torch.load = functools.partial(torch.load, map_location="cpu")
        torch.set_num_threads(1)
    return torch.cuda.is_available()


def _versions():
    found = {}
    for name in NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _described(error):
    """An exception with its causes; a package that is missing is often named in the text
    alone.
    """
    chain, link = [], error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for link in reversed(chain):
        for pattern in (r"No module named '([\w.]+)'", r"requires the (\w+) library"):
            missing = re.search(pattern, str(link))
            if missing:
                return {"error": "package", "text": missing[0], "name": missing[1]}
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return {"error": "model", "text": words[:400], "name": ""}


def _flipped(picture):
    """RGB <-> BGR, contiguous."""
    return picture[:, :, ::-1].copy()


def _picture(header, data):
    import numpy as np

    return np.frombuffer(data, np.uint8).reshape(header["shape"])


def _exactly(fd, count):
    """So many bytes, or None at the end of the stream."""
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _listen(fd, asked):
    """Messages into a queue. At the end of stdin whoever asks is gone, killed perhaps: this process
    ends at once, even in the middle of a frame.
    """
    while True:
        lengths = _exactly(fd, LENGTHS.size)
        if lengths is None:
            break
        header, data = (_exactly(fd, length) for length in LENGTHS.unpack(lengths))
        if header is None or data is None:
            break
        asked.put((json.loads(header), data))
    os._exit(0)


def _write(fd, header, data):
    text = json.dumps(header).encode()
    message = memoryview(LENGTHS.pack(len(text), len(data)) + text + data)
    while message:
        message = message[os.write(fd, message) :]


def main():
    questions, answers = os.dup(0), os.dup(1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what libraries print must not get between the answers
    sys.stdout = sys.stderr
    asked: queue.Queue = queue.Queue(maxsize=2)
    fusion = Fusion()
    threading.Thread(target=_listen, args=(questions, asked), daemon=True).start()
    while True:
        _write(answers, *fusion.answer(*asked.get()))


if __name__ == "__main__":
    main()
