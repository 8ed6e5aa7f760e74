"""A command declares its options once: a dataclass with a type, a default and a sentence of help
for each.

    @dataclass
    class CutOptions:
        input: str = option(REQUIRED, "folder of videos")
        limit: int | None = option(None, "take only the first N")

A `bool` is a switch, a `tuple[str, str]` takes two values, a `tuple[str, ...]` as many as follow, a
`str` stays text even where it looks
like a number, and `str | None` takes `null` too.
"""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

REQUIRED: Any = "???"  # the default of an option that must be given
T = TypeVar("T")


def option(default: T, help: str, *, positional: bool = False) -> T:
    """A field of a dataclass of options. A positional one may be given as a bare word."""
    metadata = {"help": help, "positional": positional}
    if isinstance(default, list) or is_dataclass(default):
        factory = partial(copy.deepcopy, default)
        return typing.cast(T, field(default_factory=factory, metadata=metadata))
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """What the command line knows of one field."""

    key: str  # in the configuration
    type: Any
    default: Any
    help: str
    is_positional: bool

    @property
    def name(self) -> str:
        """`from_` is the option `from`, which Python reserves."""
        return self.key.rstrip("_")

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        return self.type is bool

    @property
    def is_pair(self) -> bool:
        return typing.get_origin(_types(self.type)[0]) is tuple and not self.is_many

    @property
    def is_many(self) -> bool:
        """Takes one word or more."""
        return typing.get_args(_types(self.type)[0])[1:] == (...,)

    def is_literal(self, value: str) -> bool:
        """Whether a value of the command line is text, whatever it looks like."""
        return _types(self.type) == (str,) and (self.type is str or value != "null")

    def row(self) -> str:
        """The help of this option, with its default."""
        notes = (
            " (the bare word)" * self.is_positional
            + " (two values)" * self.is_pair
            + " (one or more)" * self.is_many
        )
        if self.default == REQUIRED:
            return f"{self.help}{notes} (required)"
        is_shown = not (self.default in (None, "") or is_dataclass(self.default))
        return self.help + notes + (f" (default {_shown(self.default)})" if is_shown else "")


def options_of(declared: type) -> dict[str, Option]:
    """By name; a command's own options stand before those that it shares."""
    hints = typing.get_type_hints(declared)
    known = {found.name: found for found in fields(declared)}
    keys = [key for kind in declared.__mro__ for key in vars(kind).get("__annotations__", ())]
    options = [_option(known[key], hints[key]) for key in dict.fromkeys(keys) if key in known]
    return {option.name: option for option in options}


def paths_of(declared: type) -> Iterator[str]:
    """Everything that can be set: `breaker.after` and the like too, the options themselves last."""
    options = options_of(declared)
    for option in options.values():
        if is_dataclass(option.default):
            yield from (f"{option.key}.{found.name}" for found in fields(option.default))
    yield from options


def _option(found: Any, hint: Any) -> Option:
    is_made = callable(found.default_factory)
    default = found.default_factory() if is_made else found.default
    metadata = found.metadata
    return Option(found.name, hint, default, metadata["help"], metadata["positional"])


def register(declared: type) -> None:
    """Let the YAML file of a command take in its options: `/options/CutOptions@_global_`; and that
    of a command whose options it extends.
    """
    from hydra.core.config_store import ConfigStore

    for kind in filter(is_dataclass, declared.__mro__):
        ConfigStore.instance().store(kind.__name__, _node(kind), "options")


def mistakes(declared: type, overrides: list[Override]) -> Iterator[str]:
    """A part of a sentence for each option whose value is not of its type."""
    node, options = _node(declared), options_of(declared)
    for override in overrides:
        option = options.get(override.key_or_group.partition(".")[0].rstrip("_"))
        if option and not override.is_delete() and not override.is_sweep_override():
            wrong = _wrong(node, option, override.key_or_group, override.value())
            if wrong is not None:
                yield mistake(declared, *wrong)


def _wrong(node: Any, option: Option, key: str, value: Any) -> tuple[str, Any] | None:
    """Which key has which wrong value, if `key` is set to `value`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigAttributeError, ValidationError

    is_truth = isinstance(value, bool) or (isinstance(value, str) and value.startswith("${"))
    if option.is_switch and not is_truth:  # OmegaConf takes 1 and "no" too
        return key, value
    if option.is_pair and isinstance(value, list) and len(value) != 2:
        return key, value
    try:
        OmegaConf.update(node, key, value)
    except ValidationError as error:
        is_below = "." in key or isinstance(value, dict)
        return (str(error.full_key), error.value) if is_below else (key, value)
    except ConfigAttributeError:
        return None  # Hydra says that there is no such option
    return None


def mistake(declared: type, key: str, value: Any) -> str:
    """`--limit is 'abc', a whole number is expected`; `key` may lead below an option."""
    first, *below = key.split(".")
    option = options_of(declared)[first.rstrip("_")]
    flag, expected = option.flag, _expected(option.flag, option.type, option.default)
    for name in below:
        option = options_of(_types(option.type)[0])[name]
        flag, expected = key, _expected(key, option.type, option.default)
    return f"{flag} is {_shown(value) if value is None else repr(value)}, {expected}"


def _expected(flag: str, hint: Any, default: Any) -> str:
    kinds = _types(hint)
    if is_dataclass(kinds[0]):
        first = fields(kinds[0])[0]
        return f"options like {flag.removeprefix('--')}.{first.name}={first.default} are expected"
    if typing.get_origin(kinds[0]) is tuple:
        is_pair = typing.get_args(kinds[0])[1] is not ...
        return f"{'two values are' if is_pair else 'one value or more is'} expected: {flag} A B"
    if typing.get_origin(kinds[0]) is list:
        return f"a list like {_shown(default)} is expected"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return f"{' or '.join(words[kind] for kind in kinds)} is expected"


def _node(declared: type) -> Any:
    """Typed, and open: the groups of the command join the options at the top."""
    from omegaconf import OmegaConf

    return OmegaConf.structured(declared, flags={"struct": False})


def _types(hint: Any) -> tuple[Any, ...]:
    """The types that an option may have, but for null."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = typing.get_args(hint) if is_union else (hint,)
    return tuple(kind for kind in kinds if kind is not types.NoneType)


def _shown(value: Any) -> str:
    """As YAML has it."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
