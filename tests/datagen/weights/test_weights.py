"""The registry of weights: fetched whole or not at all, by hand where there is no network,
verified.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from datagen.core.errors import UserError
from datagen.options import options_of
from datagen.weights.registry import WEIGHTS, Weight, find, require
from datagen.weights.tensors import locate
from model.convert.__main__ import ConvertOptions
from tests.conftest import REPOSITORY
from tests.fakes import checkpoints
from tests.faults import Run, call

CONFIG = b'{"a": 1}'
COMMIT = "0" * 40
SCRIPT = """
import json, sys
import datagen.weights.registry
datagen.weights.registry.WEIGHTS = (datagen.weights.registry.Weight(**json.loads(sys.argv[1])),)
from datagen.weights.__main__ import main
main(sys.argv[2:])
"""


@dataclass
class Hub:
    """Stands in for Hugging Face: files by path, and what goes wrong with them."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    code: str = ""  # X-Error-Code
    cut: bool = False  # half of every body, then nothing
    size: int = 0  # claimed
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    path = checkpoints.write(tmp_path / "published.safetensors", {"a": torch.rand(5000)})
    result = Hub(files={"sub/config.json": CONFIG, "sub/model.safetensors": path.read_bytes()})
    path.unlink()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, with_body: bool) -> None:
            result.asked.append(f"{self.command} {self.path}")
            name = self.path.partition("/resolve/")[2].partition("/")[2]
            body = result.files.get(name, b"")
            status = result.status if name in result.files else 404
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            if status != 200:
                self.send_header(
                    "X-Error-Code", result.code or ("EntryNotFound" if status == 404 else "")
                )
                body = b""
            is_large = name.endswith(".safetensors")
            etag = hashlib.sha256(body).hexdigest() if is_large else hashlib.sha1(body).hexdigest()
            self.send_header("ETag", f'"{etag}"')
            if result.size and is_large:
                self.send_header("X-Linked-Size", str(result.size))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body[: len(body) // 2] if result.cut and is_large else body)
                self.close_connection = result.cut

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    result.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield result
    server.shutdown()
    server.server_close()
    thread.join()


def small(sha256: str = "") -> Weight:
    digests = {"sub/model.safetensors": sha256} if sha256 else {}
    files = ("sub/config.json", "sub/model.safetensors")
    return Weight("small", "a small model", "someone/small", "MIT", "tests", files, 20_000, digests)


def weights(hub: Hub, weight: Weight, *words: object) -> Run:
    """`python -m datagen.weights words` with `weight` as the registry, in a process of its own that
    asks `hub`.
    """
    environment = {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    environment |= {
        "HF_HUB_DISABLE_XET": "1",
        "PATH": "",
        "HF_HOME": "/nonexistent",
        "no_proxy": "127.0.0.1",
    }
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        SCRIPT,
        json.dumps(asdict(weight)),
        *map(str, words),
    ]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )
    return Run(ended.returncode, ended.stdout, ended.stderr)


def test_what_is_fetched_is_whole_and_is_fetched_once(hub, tmp_path):
    words = ("fetch", "small", "--folder", tmp_path)
    first = weights(hub, small(), *words)
    assert first.code == 0, first.err
    assert (
        "a small model, https://huggingface.co/someone/small" in first.out
        and "licence: MIT" in first.out
    )
    there = {
        p.relative_to(tmp_path).as_posix(): p.read_bytes()
        for p in tmp_path.rglob("*")
        if p.is_file()
    }
    record = json.loads(there.pop("small/fetched.json"))
    assert there == {f"small/{name}": data for name, data in hub.files.items()}
    assert (
        record["sub/model.safetensors"]["sha256"]
        == hashlib.sha256(hub.files["sub/model.safetensors"]).hexdigest()
    )
    asked = len(hub.asked)
    second = weights(hub, small(), *words)
    assert second.code == 0 and len(hub.asked) == asked


def test_another_file_than_the_registry_knows_is_not_kept(hub, tmp_path):
    ended = weights(hub, small("f" * 64), "fetch", "small", "--folder", tmp_path)
    assert ended.code == 2 and "ffffffffffff... is expected) and was removed" in ended.err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_download_that_is_cut_off_is_not_taken_for_whole(hub, tmp_path):
    hub.cut = True
    ended = weights(hub, small(), "fetch", "small", "--folder", tmp_path)
    assert ended.code == 2 and ended.err.count("error: ") == 1 and "Traceback" not in ended.err
    assert not list(tmp_path.rglob("model.safetensors"))
    hub.cut = False
    ended = weights(hub, small(), "fetch", "small", "--folder", tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "small" / "sub" / "model.safetensors").read_bytes() == hub.files[
        "sub/model.safetensors"
    ]


def test_no_room_is_told_before_anything_is_fetched(hub, tmp_path):
    hub.size = 10**15
    ended = weights(hub, small(), "fetch", "small", "--folder", tmp_path)
    assert ended.code == 2 and "1000000.0 GB are needed: make room" in ended.err
    assert {line.split()[0] for line in hub.asked if "/resolve/" in line} == {"HEAD"}


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "GatedRepo", "requires consent: accept its terms there"),
        (
            404,
            "EntryNotFound",
            "no longer has it; small (a small model; size: about 2e-05 GB; licence: MIT)",
        ),
        (
            503,
            "",
            "does not answer; small (a small model; size: about 2e-05 GB; licence: MIT) is not in",
        ),
    ],
)
def test_a_source_that_refuses_is_one_sentence(status, code, sentence, hub, tmp_path):
    hub.status, hub.code = status, code
    ended = weights(hub, small(), "fetch", "small", "--folder", tmp_path)
    assert ended.code == 2 and sentence in ended.err and ended.err.count("\n") == 1


def test_without_a_network_the_way_by_hand_is_told(tmp_path):
    ended = call("datagen.weights", "fetch", "vae", "--folder", tmp_path)
    assert ended.code == 2
    assert ended.err == (
        "error: HF_HUB_OFFLINE forbids the network; vae (the autoencoder that MegActor "
        "uses (sd-vae-ft-mse); "
        f"size: about 0.34 GB; licence: MIT) is not in {tmp_path}/vae: "
        "put config.json, diffusion_pytorch_model.safetensors of "
        "https://huggingface.co/stabilityai/sd-vae-ft-mse "
        "there, or run `python -m datagen.weights fetch vae` where there is a network.\n"
    )
    assert not list(tmp_path.rglob("*.safetensors"))


def test_files_put_there_by_hand_are_found_and_verified(tmp_path):
    with pytest.raises(
        UserError, match="put config.json, diffusion_pytorch_model.safetensors of https"
    ):
        require("vae", tmp_path)
    checkpoints.autoencoder().save_pretrained(tmp_path / "vae")
    assert require("vae", tmp_path) == tmp_path / "vae"
    result = call("datagen.weights", "verify", "vae", "--folder", tmp_path)
    assert (result.code, result.out) == (
        0,
        "vae: can be read; no checksum is known for all of it\n",
    )
    assert re.search(
        r"^vae .* yes$", call("datagen.weights", "list", "--folder", tmp_path).out, re.M
    )
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    result = call("datagen.weights", "verify", "--folder", tmp_path)
    assert result.code == 1 and f"vae: {file} is damaged or cut short" in result.out
    assert "sd15: not there\n" in result.out and "mediapipe: in its package\n" in result.out


def test_a_file_of_another_checksum_is_found(tmp_path):
    (tmp_path / "animatediff").mkdir()
    checkpoints.write(tmp_path / "animatediff" / "v3_sd15_mm.ckpt", {"a": torch.zeros(1)})
    result = call("datagen.weights", "verify", "animatediff", "--folder", tmp_path)
    assert result.code == 1 and "2412711886f6... is expected" in result.out


def test_a_changed_size_or_byte_of_what_was_fetched_is_found(hub, tmp_path, monkeypatch):
    weights(hub, small(), "fetch", "small", "--folder", tmp_path)
    monkeypatch.setattr("datagen.weights.__main__.WEIGHTS", (small(),))
    verify = ("datagen.weights", "verify", "--folder", tmp_path)
    assert call(*verify).out == "small: whole\n"
    file = tmp_path / "small" / "sub" / "config.json"
    for change, sentence in (
        (b'{"a": 2}', "has sha256"),
        (b'{"a": 10}', "has 9 bytes, 8 were fetched"),
    ):
        file.write_bytes(change)
        result = call(*verify)
        assert result.code == 1 and sentence in result.out
    file.unlink()
    assert f"{file} is missing" in call(*verify).out
    shutil.rmtree(tmp_path / "small")
    assert call(*verify).out == "small: not there\n"


def test_the_list_says_where_everything_stands(tmp_path):
    result = call("datagen.weights", "--folder", tmp_path)
    assert result.code == 0
    head, *rows = result.out.splitlines()
    assert head.split() == ["name", "size", "licence", "needed", "by", "host", "there"]
    assert [row.split()[0] for row in rows] == [weight.name for weight in WEIGHTS]
    assert re.search(r"about 3.4 GB +CreativeML Open RAIL-M", result.out)
    assert re.search(r"^megactor +unknown +unknown \(code: ", result.out, re.M)


def test_many_files_are_counted_and_listed_on_demand(monkeypatch, tmp_path):
    files = tuple(f"part/{number}.json" for number in range(6))
    many = Weight("many", "many files", "someone/many", "MIT", "tests", files)
    for module in ("datagen.weights.__main__", "datagen.weights.registry"):
        monkeypatch.setattr(f"{module}.WEIGHTS", (many,))
    with pytest.raises(
        UserError,
        match=r"put part/0.json and 5 more files \(python -m datagen.weights list many\) of http",
    ):
        require("many", tmp_path)
    assert [
        line.strip() for line in call("datagen.weights", "list", "many").out.splitlines()[2:]
    ] == [*files]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fetch"], "fetch what? megactor, sd15, vae"),
        (["fetch", "sd21"], "there is no weight 'sd21': megactor"),
        (["list", "action=steal"], "'steal' is not an action: list or fetch or verify is expected"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    ended = call("datagen.weights", *words)
    assert ended.code == 2 and sentence in ended.err and ended.err.count("\n") == 1


def test_what_comes_with_a_package_needs_no_fetching():
    assert (
        call("datagen.weights", "fetch", "mediapipe").out
        == "mediapipe comes with the Python package mediapipe: nothing to fetch.\n"
    )


def test_the_registry_fits_the_command_that_converts(tmp_path):
    options = options_of(ConvertOptions)
    for weight in WEIGHTS:
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in weight.sha256.values())
        assert {*weight.sha256} <= {*weight.files} or not weight.files  # those of a package
        assert all(not Path(name).is_absolute() and ".." not in name for name in weight.files)
        if weight.needed_by.startswith("model.convert"):
            option = weight.needed_by.split("--")[1].replace("-", "_")
            assert options[option].default is None
            for name in weight.files:
                (tmp_path / weight.name / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / weight.name / name).touch()
            largest = next(name for name in weight.files if not name.endswith(".json"))
            found = locate(require(weight.name, tmp_path), "unet", "vae", "appearance_encoder")
            assert found == tmp_path / weight.name / largest
    assert len({weight.name for weight in WEIGHTS}) == len(WEIGHTS)
    assert find("sd15").path(tmp_path) == tmp_path / "sd15"
