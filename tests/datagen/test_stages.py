"""Contracts that every stage keeps: its place in the order, and what is in the store's key."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest
import yaml

from datagen.core.errors import UserError
from datagen.engine.stage import Stage
from datagen.stages import in_order, stage_names, stage_position
from tests.conftest import REPOSITORY

CONF = REPOSITORY / "conf"
OURS = ("source", "shots", "clips", "faces", "mask", "gaze", "swap", "style", "agree")


def backends() -> dict[str, type[Stage]]:
    """GROUP/NAME -> the class that conf/GROUP/NAME.yaml names."""
    found = {}
    for group in stage_names()[1:]:
        for path in sorted((CONF / group).glob("*.yaml")):
            target = (yaml.safe_load(path.read_text()) or {}).get("_target_")
            if target:
                module, _, name = target.rpartition(".")
                found[f"{group}/{path.stem}"] = getattr(importlib.import_module(module), name)
    return found


BACKENDS = backends()


@pytest.mark.parametrize("choice", BACKENDS)
def test_a_backend_is_where_its_configuration_says(choice):
    """conf/GROUP/NAME.yaml is datagen/GROUP/NAME.py, or a folder of that name."""
    group, _, name = choice.partition("/")
    module = BACKENDS[choice].__module__
    assert module == f"datagen.{group}.{name}"


ALL_IN_USE = {  # options with which every field of a backend has an effect
    "gaze": {"rule": "megactor"},
    "style/sdxl": {"prompts": ("a",), "controlnet": "x"},
    "style/sdxl_paper": {"prompts": ("a",), "controlnet": "x"},
    "mask/densepose": {"config": __file__},
}


@pytest.mark.parametrize("choice", BACKENDS)
def test_a_field_is_in_the_key_unless_it_opts_out_by_name(choice):
    backend = BACKENDS[choice]
    options = ALL_IN_USE.get(choice, ALL_IN_USE.get(choice.partition("/")[0], {}))
    fields = {field.name for field in dataclasses.fields(backend)}
    opted_out = {n for base in backend.__mro__ for n in vars(base).get("not_in_key", ())}
    assert opted_out <= fields
    assert fields - backend(**options).parameters().keys() == opted_out


def test_a_new_field_changes_the_key():
    @dataclasses.dataclass
    class Toy(Stage):
        name = "toy"
        version = 1
        not_in_key = ("threads",)

        strength: float = 1.0
        threads: int = 1
        forgotten: tuple[int, ...] = (1, 2)

        def __call__(self, clip, workdir):
            raise AssertionError

    assert Toy().parameters() == {"strength": 1.0, "forgotten": [1, 2]}
    assert Toy(forgotten=(3,)).parameters() != Toy().parameters()
    assert Toy(threads=8).parameters() == Toy().parameters()


def test_the_order_is_that_of_the_configuration_and_of_the_inputs():
    assert tuple(name for name in stage_names() if name in OURS) == OURS
    assert sorted(["agree", "later", "clips"], key=stage_position) == ["clips", "agree", "later"]
    stages = [stage for stage in map(_bare, BACKENDS.values()) if not stage.splits]
    for stage in (ordered := in_order(reversed(stages))):
        before = {other.name for other in ordered[: ordered.index(stage)]} | {"source"}
        assert set(stage.inputs) <= before


def _bare(backend: type[Stage]) -> Stage:
    """A stage that nobody has made: its name and inputs are the class's."""
    assert not inspect.isabstract(backend)
    return object.__new__(backend)


def test_stages_that_wait_for_each_other_are_refused():
    @dataclasses.dataclass
    class One(Stage):
        name, version, inputs = "one", 1, ("two",)

        def __call__(self, clip, workdir):
            raise AssertionError

    @dataclasses.dataclass
    class Two(One):
        name, inputs = "two", ("one",)

    with pytest.raises(UserError, match="the stages one, two read each other's artifacts"):
        in_order([One(), Two()])
