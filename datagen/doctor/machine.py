"""What this machine is and has."""

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

JAVASCRIPT = ("deno", "node", "bun", "qjs")  # that yt-dlp can use
CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Fact:
    """A line; `problem` is a sentence where it keeps a run from working."""

    name: str
    value: str
    problem: str = ""


def facts(cfg: DictConfig, weights: Path) -> list[Fact]:
    """Of the machine, and of the folders that the configuration names."""
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
            shutil.which("ffmpeg") or "not there; only downloads from video sites may want it",
        ),
        Fact("JavaScript", next(_javascript(), "not there; only yt-dlp wants it, for YouTube")),
    ]


def gpu() -> str | None:
    """Name and memory of those that torch can use."""
    try:
        import torch
    except (ImportError, OSError):  # a library of the system may be missing
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
        f"Python {found} runs, {asked} is expected: make the environment with such a one",
    )


def _memory() -> str:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    total = min(total, int(limit)) if limit.isdigit() else total
    return f"{total / 1e9:.1f} GB"


def _disk(name: str, folder: str) -> Fact:
    """Room where a folder is or would be made."""
    local = folder.removeprefix("file://")
    if "://" in local:
        return Fact(name, f"{folder}: remote, not asked")
    near = next(
        path for path in (Path(local).absolute(), *Path(local).absolute().parents) if path.exists()
    )
    if not (near.is_dir() and os.access(near, os.W_OK | os.X_OK)):
        return Fact(
            name, folder, f"{near} cannot be written to: choose another --{name} or mend its rights"
        )
    return Fact(name, f"{folder}: {shutil.disk_usage(near).free / 1e9:.1f} GB free")


def _javascript() -> Iterator[str]:
    yield from (path for path in map(shutil.which, JAVASCRIPT) if path)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
