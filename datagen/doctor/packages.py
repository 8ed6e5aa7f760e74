"""The packages that the project requires, and those that are installed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
PROJECT = "megactor-kit"
FOR_DEVELOPERS = "dev"


@dataclass(frozen=True)
class Package:
    """A required package: its version range, the installed version, and the extra that needs it."""

    name: str
    asked: str
    found: str | None
    extra: str = ""

    @property
    def state(self) -> str:
        if self.found is None:
            return "optional, not installed" if self.extra else "missing"
        fits = Requirement(self.asked).specifier.contains(self.found, prereleases=True)
        return "installed" if fits else "outside the range"

    @property
    def mend(self) -> str | None:
        return (
            f"python -m pip install '{self.asked}'"
            if self.state in ("missing", "outside the range")
            else None
        )


def packages() -> list[Package]:
    """The required packages by name, without those for developers or other systems."""
    return sorted(_packages(), key=lambda package: (bool(package.extra), package.name.lower()))


def python_range() -> SpecifierSet:
    """The versions of Python that the project supports."""
    if PYPROJECT.is_file():
        return SpecifierSet(_project()["requires-python"])
    return SpecifierSet(metadata(PROJECT)["Requires-Python"])


def _packages() -> Iterator[Package]:
    for text, extra in _asked():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        wanted.marker = None
        yield Package(wanted.name, str(wanted), _version(wanted.name), extra)


def _asked() -> Iterator[tuple[str, str]]:
    """(requirement, extra) from pyproject.toml, or from the installed package's metadata."""
    if PYPROJECT.is_file():
        project = _project()
        yield from ((text, "") for text in project["dependencies"])
        for extra, texts in project.get("optional-dependencies", {}).items():
            yield from ((text, extra) for text in texts if extra != FOR_DEVELOPERS)
        return
    installed = metadata(PROJECT)
    for text in installed.get_all("Requires-Dist", []):
        marker = str(Requirement(text).marker or "")
        extra = next(
            (e for e in installed.get_all("Provides-Extra", []) if f'extra == "{e}"' in marker), ""
        )
        if extra != FOR_DEVELOPERS:
            yield text, extra


def _project() -> dict[str, Any]:
    return tomllib.loads(PYPROJECT.read_text())["project"]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
