"""What the project asks of the Python package index: it must have all of it."""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement

from tests.conftest import REPOSITORY


def constraints() -> list[Requirement]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_constraints_name_exact_versions_that_the_plain_index_has():
    """A local version such as 2.13.0+cpu is on no public index, and forbids the CUDA build."""
    for requirement in constraints():
        (version,) = requirement.specifier
        assert version.operator == "==", requirement
        assert "+" not in version.version, f"{requirement}: pin the public version"


def test_constraints_lie_within_the_ranges_of_the_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [
        one for group in project["optional-dependencies"].values() for one in group
    ]
    ranges = {
        requirement.name.lower(): requirement.specifier for requirement in map(Requirement, asked)
    }
    for requirement in constraints():
        (version,) = requirement.specifier
        assert ranges.get(requirement.name.lower(), requirement.specifier).contains(
            version.version
        ), requirement


def test_releases_of_lightning_with_malware_are_excluded():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (lightning,) = (
        Requirement(one) for one in project["dependencies"] if one.startswith("lightning")
    )
    assert not any(lightning.specifier.contains(version) for version in ("2.6.2", "2.6.3"))
    assert lightning.specifier.contains("2.6.6")
