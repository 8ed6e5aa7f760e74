"""Downloads from plain addresses: assets of GitHub releases, files of ModelScope models."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
from tqdm import tqdm

from datagen.core.errors import UserError
from datagen.weights.disk import keep_if_whole, refuse_full_disk
from datagen.weights.registry import Weight, how_to_get

# Environment variables that name a mirror, as HF_ENDPOINT does for Hugging Face.
GITHUB = ("GITHUB_ENDPOINT", "https://github.com")
MODELSCOPE = ("MODELSCOPE_ENDPOINT", "https://modelscope.cn")
TIMEOUT_S = 30.0  # without receiving a byte


@dataclass(frozen=True)
class RemoteFile:
    """What a host says of a file before it is downloaded."""

    address: str
    size: int | None
    version: str  # its ETag, or ""
    sha256: str | None

    def part(self, path: Path) -> Path:
        """Where the partial file lies; a partial file of another version is not resumed."""
        mark = hashlib.sha256(f"{self.address} {self.version} {self.size}".encode()).hexdigest()[:8]
        return path.with_name(f".{path.name}.{mark}.part")


def fetch(weight: Weight, names: Sequence[str], folder: Path) -> None:
    """Download the files; on a UserError, the partial files are kept and resumed later."""
    try:
        # a compressed transfer could not be resumed
        with httpx.Client(
            follow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}
        ) as client:
            _fetch(client, weight, names, folder)
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        reason = "no longer has it" if code in (404, 410) else f"refuses the download (HTTP {code})"
        raise UserError(f"{weight.page} {reason}; {how_to_get(weight, folder)}") from error
    except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError) as error:
        raise _cut_off(str(error)) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(
            f"{weight.page} does not answer ({error}); {how_to_get(weight, folder)}"
        ) from error


def address(weight: Weight, name: str) -> str:
    """The address of one of its files."""
    variable, usual = GITHUB if weight.host == "github" else MODELSCOPE
    base = os.environ.get(variable, usual).rstrip("/")
    if weight.host == "github":
        return f"{base}/{weight.source}/{quote(name)}"
    revision = quote(weight.revision or "master", safe="")
    query = f"Revision={revision}&FilePath={quote(name, safe='')}"
    return f"{base}/api/v1/models/{weight.source}/repo?{query}"


def _fetch(client: httpx.Client, weight: Weight, names: Sequence[str], folder: Path) -> None:
    asked = {name: _ask(client, address(weight, name)) for name in names}
    parts = {name: remote.part(folder / weight.name / name) for name, remote in asked.items()}
    refuse_full_disk(
        sum((remote.size or 0) - _size(parts[name]) for name, remote in asked.items()), folder
    )
    for name, remote in asked.items():
        parts[name].parent.mkdir(parents=True, exist_ok=True)
        _receive(client, remote, parts[name])
        keep_if_whole(parts[name], weight, name, weight.sha256.get(name, remote.sha256), folder)


def _ask(client: httpx.Client, where: str) -> RemoteFile:
    """Ask for the first byte, since GitHub's storage does not answer HEAD."""
    with client.stream("GET", where, headers={"Range": "bytes=0-0"}) as response:
        if response.status_code == 416:  # the file is empty
            return RemoteFile(where, 0, "", None)
        response.raise_for_status()
        headers = response.headers
        if headers.get("Content-Type", "").startswith("text/html"):
            raise UserError(
                f"{where} returns a web page instead of a file: open it in a browser to see "
                "what it asks for."
            )
        length = headers.get("Content-Range", "").rpartition("/")[2] or headers.get(
            "Content-Length", ""
        )
        stated = headers.get("X-Linked-ETag", "").strip('"')
        return RemoteFile(
            where,
            int(length) if length.isdigit() else None,
            headers.get("ETag", ""),
            stated if len(stated) == 64 else None,
        )


def _receive(client: httpx.Client, remote: RemoteFile, part: Path) -> None:
    """Download the file to `part`, whose first bytes may already be there."""
    there = _size(part) if remote.size is not None else 0
    if there and there == remote.size:
        return
    wanted = (
        {"Range": f"bytes={there}-"} | ({"If-Range": remote.version} if remote.version else {})
        if there
        else {}
    )
    with client.stream("GET", remote.address, headers=wanted) as response:
        response.raise_for_status()
        goes_on = response.status_code == 206
        bar = tqdm(
            total=remote.size,
            initial=there * goes_on,
            unit="B",
            unit_scale=True,
            desc=part.name,
            disable=None,
        )
        with part.open("ab" if goes_on else "wb") as file, bar:
            for (
                block
            ) in response.iter_raw():  # as it comes: what a fuller block waits for may not come
                bar.update(file.write(block))
    if remote.size is None or (came := _size(part)) == remote.size:
        return
    if came > remote.size:
        part.unlink()
    raise _cut_off(f"{came} of {remote.size} bytes came")


def _cut_off(reason: str) -> UserError:
    return UserError(
        f"the download was cut off ({reason}): run the same command again to resume it."
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
