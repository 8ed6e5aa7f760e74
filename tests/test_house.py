"""The house: who may import whom, and that nothing imports itself by a detour."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.conftest import REPOSITORY

PACKAGES = ("datagen", "model", "training")
GROUND = {
    "core",
    "media",
    "vision",
    "weights",
    "cli",
    "options",
}  # of datagen, for model and training
FOR_TRAINING = GROUND | {"shards", "sources"}
OLD_NAMES = {"training.prepare", "model.weights"}  # commands that only say their new name


def modules() -> dict[str, ast.Module]:
    found = {}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text())
    return found


def imports() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, anywhere in it."""
    known = modules()
    return {name: set(_imported(tree, known)) - {name} for name, tree in known.items()}


def _imported(tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known or node.module in known:
                    yield name if name in known else node.module


def test_no_module_imports_itself_by_a_detour():
    graph = imports()
    free = dict(graph)
    while ready := [name for name, needed in free.items() if not needed & free.keys()]:
        for name in ready:
            del free[name]
    assert not free, f"these import each other: {sorted(free)}"


def test_training_stands_on_model_and_model_on_datagens_ground():
    allowed = {"model": GROUND, "training": FOR_TRAINING}
    wrong = []
    for name, needed in imports().items():
        package = name.partition(".")[0]
        for other in needed if name.removesuffix(".__main__") not in OLD_NAMES else ():
            top, _, rest = other.partition(".")
            if top == package:
                continue
            upwards = PACKAGES.index(top) > PACKAGES.index(package)
            beyond = top == "datagen" and rest.partition(".")[0] not in allowed[package]
            if upwards or beyond:
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_the_engine_knows_no_stage_and_no_media():
    inside = ("datagen.engine", "datagen.core")
    wrong = [
        f"{name} imports {other}"
        for name, needed in imports().items()
        for other in needed
        if name.startswith(inside) and not other.startswith(inside)
    ]
    assert not wrong


def test_the_ground_floor_stands_on_nothing():
    floors = ["core", "media", "weights", "vision"]  # each may import those before it
    wrong = []
    for name, needed in imports().items():
        _, _, rest = name.partition(".")
        floor = rest.partition(".")[0]
        if not name.startswith("datagen.") or floor not in floors or name.endswith("__main__"):
            continue
        allowed = {f"datagen.{other}" for other in floors[: floors.index(floor) + 1]}
        wrong += [
            f"{name} imports {other}"
            for other in needed
            if ".".join(other.split(".")[:2]) not in allowed
        ]
    assert not wrong
