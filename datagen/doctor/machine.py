"""Facts about this machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from omegaconf import DictConfig

from datagen.doctor.packages import python_range

JAVASCRIPT = ("deno", "node", "bun", "qjs")  # runtimes that yt-dlp can use
CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Fact:
    """A line of the report; `problem` is a sentence if a run cannot work with it."""

    name: str
    value: str
    problem: str = ""


def facts(cfg: DictConfig, weights: Path) -> list[Fact]:
    """Facts about the machine and the configured folders."""
    return [
        _python(),
        Fact("system", platform.platform()),
        Fact("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}"),
        Fact("memory", _memory()),
        *(
            _disk(name, str(folder))
            for name, folder in (("store", cfg.store), ("output", cfg.output))
        ),
        _disk("weights", str(weights)),
        Fact("GPU", gpu() or _no_gpu()),
        Fact("onnxruntime", _providers()),
        Fact(
            "Ray",
            f"{_version('ray')}, address {cfg.ray.address}" if cfg.runner == "ray" else "not used",
        ),
        Fact(
            "ffmpeg",
            shutil.which("ffmpeg") or "missing; only downloads from video sites may need it",
        ),
        Fact("JavaScript", next(_javascript(), "missing; only yt-dlp needs it, for YouTube")),
    ]


def gpu() -> str | None:
    """Names and memory of the GPUs that torch can use."""
    try:
        import torch
    except (ImportError, OSError):  # a system library may be missing
        return None
    if not torch.cuda.is_available():
        return None
    found = [
        torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())
    ]
    return ", ".join(f"{device.name} ({device.total_memory / 1e9:.0f} GB)" for device in found)


def _no_gpu() -> str:
    seen = shutil.which("nvidia-smi") is not None
    return f"none for torch {_version('torch')}" + (", though nvidia-smi is here" if seen else "")


def _providers() -> str:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return f"cannot be used ({error})"
    return f"{onnxruntime.__version__}, {', '.join(onnxruntime.get_available_providers())}"


def _python() -> Fact:
    found, asked = platform.python_version(), python_range()
    value = f"{found} ({sys.executable})"
    if asked.contains(found, prereleases=True):
        return Fact("Python", value)
    return Fact(
        "Python",
        value,
        f"this is Python {found}, {asked} is expected: create the environment with one of those",
    )


def _memory() -> str:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    total = min(total, int(limit)) if limit.isdigit() else total
    return f"{total / 1e9:.1f} GB"


def _disk(name: str, folder: str) -> Fact:
    """The free space where a folder is or would be created."""
    local = folder.removeprefix("file://")
    if "://" in local:
        return Fact(name, f"{folder}: remote, not checked")
    near = next(
        path for path in (Path(local).absolute(), *Path(local).absolute().parents) if path.exists()
    )
    if not (near.is_dir() and os.access(near, os.W_OK | os.X_OK)):
        return Fact(
            name,
            folder,
            f"{near} cannot be written to: choose another --{name} or change its permissions",
        )
    return Fact(name, f"{folder}: {shutil.disk_usage(near).free / 1e9:.1f} GB free")


def _javascript() -> Iterator[str]:
    yield from (path for path in map(shutil.which, JAVASCRIPT) if path)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
