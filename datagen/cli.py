"""Flags are Hydra overrides spelt like flags: `--input raw/` is `input=raw/`, always one literal
value.

A command is a function of a configuration. Its options are a dataclass (`datagen.options`), its
description and its groups are `conf/<name>.yaml`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.core.errors import Transient, UserError, halting, interruption_kept
from datagen.core.text import line_of
from datagen.options import Option, mistake, mistakes, options_of, paths_of, register

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[1] / "conf"
TAKES_VALUE = ("--cfg", "-c", "--package", "-p", "--experimental-rerun", "--config-dir", "-cd")
HYDRA_FLAGS = (*TAKES_VALUE, "--resolve", "--multirun", "-m", "--info", "-i")


def command(
    name: str, declared: type
) -> Callable[[Callable[[Any], int | None]], Callable[..., None]]:
    """Make a command of a function of the composed `conf/<name>.yaml`; the process ends with its
    result. `declared` is the dataclass of its options.
    """

    def decorate(function: Callable[[Any], int | None]) -> Callable[..., None]:
        def main(argv: list[str] | None = None) -> None:
            arguments = sys.argv[1:] if argv is None else argv
            if any(word in ("--help", "-h") for word in arguments):
                print(help_text(name, declared))
                sys.exit(0)
            sys.exit(_guarded(lambda: _run(name, declared, function, arguments)))

        main.__doc__ = function.__doc__
        return main

    return decorate


def overrides(argv: Sequence[str], options: Mapping[str, Option]) -> tuple[list[str], list[str]]:
    """Hydra's own flags, and overrides: `--a-b v`, `--a-b=v` and the switch `--dry-run` become
    `a_b=v`, `a_b=v`, `dry_run=true`; everything else stays.

    A pair takes two words, and an option of many those up to the next option: `--compare a b` is
    `compare=['a','b']`.
    """
    words = deque(argv)
    flags: list[str] = []
    result: list[str] = []
    bare = next((option.key for option in options.values() if option.is_positional), "")
    while words:
        word = words.popleft()
        name, equals, value = word.partition("=")
        if word in HYDRA_FLAGS:
            flags += [word, *([words.popleft()] if word in TAKES_VALUE and words else [])]
        elif name.startswith("--"):
            result.append(_override(name, value if equals else None, words, options))
        elif equals:
            option = options.get(name)
            if option is not None and option.is_many and not value.startswith(("[", "$")):
                value = _list([value])
            result.append(f"{option.key if option else name}={value}")
        elif word.startswith("~"):
            result.append(word)
        elif bare and not word.startswith("-"):
            result.append(f"{bare}={quoted(word, True)}")
        else:
            raise UserError(
                f"{word!r} is no option: --name VALUE or name=VALUE is expected (see --help)."
            )
    return flags, result


def _override(
    flag: str, value: str | None, words: deque[str], options: Mapping[str, Option]
) -> str:
    """One flag as an override; values that do not follow an equals sign are taken off `words`."""
    name = flag[2:].replace("-", "_")
    option = options.get(name)
    if option is not None and option.is_pair:
        two = (value or _value(flag, words, False), _value(flag, words, False))
        return f"{option.key}={_list(two)}"
    if option is not None and option.is_many:
        several = [value] if value else [_value(flag, words, False)]
        while words and not words[0].startswith(("-", "~")) and "=" not in words[0]:
            several.append(words.popleft())
        return f"{option.key}={_list(several)}"
    if value is None:
        value = _value(flag, words, option is not None and option.is_switch)
    is_text = option is not None and option.is_literal(value)
    return f"{option.key if option else name}={quoted(value, is_text)}"


def _list(words: Sequence[str]) -> str:
    """Texts as a list of Hydra's grammar."""
    return f"[{','.join(quoted(word, True) for word in words)}]"


def _value(name: str, words: deque[str], is_switch: bool) -> str:
    """The word after a flag. A switch may stand without one."""
    if is_switch and (not words or words[0] not in ("true", "false")):
        return "true"
    if not words or words[0].startswith("--"):
        raise UserError(f"{name} needs a value, or one more (see --help).")
    return words.popleft()


def quoted(value: str, is_text: bool = False) -> str:
    """A literal value for Hydra's grammar; numbers, booleans and null keep their type unless it is
    a text.
    """
    if not is_text and re.fullmatch(r"[A-Za-z0-9_./+-]+", value):
        return value
    return (
        "'"
        + re.sub(r"(\\*)'", lambda m: m[1] * 2 + r"\'", value)
        + ("\\" if value.endswith("\\") else "")
        + "'"
    )


def help_text(name: str, declared: type) -> str:
    """Description, options and choices of a command, without loading anything."""
    options = options_of(declared)
    width = max(map(len, options), default=0)
    rows = [f"  {option.flag:<{width + 2}}  {option.row()}" for option in options.values()]
    choices = [
        f"  {group}={'|'.join(_choices(group))}   (default {default})"
        for group, default in _groups(CONF / f"{name}.yaml").items()
    ]
    tail = ["", "Choices (any key of theirs too, e.g. swap.seed=2):", *choices] if choices else []
    return "\n".join([*_head(name), "", "Options (--name VALUE, or name=VALUE):", *rows, *tail])


def _head(name: str) -> list[str]:
    """The comment at the head of a command's YAML file."""
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    comments = (line for line in lines if line.startswith("#") and "@package" not in line)
    return [line[1:].removeprefix(" ") for line in comments]


def _groups(path: Path) -> dict[str, str]:
    """The groups in the defaults list of a YAML file with their defaults, then those of the files
    that it includes.
    """
    text = path.read_text()
    found = dict(re.findall(r"^\s*- /?(\w+): (\w+)", text, re.M))
    for include in re.findall(r"^\s*- (\w+)@_global_", text, re.M):
        found = {**found, **_groups(path.with_name(f"{include}.yaml"))}
    return found


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _run(
    name: str, declared: type, function: Callable[[Any], int | None], argv: Sequence[str]
) -> int:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        flags, own = overrides(argv, options_of(declared))
        _refuse_mistakes(name, declared, own)
        return _composed(name, declared, function, flags + own)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_sentence(error, name, declared)) from error


def _composed(
    name: str, declared: type, function: Callable[[Any], int | None], words: Sequence[str]
) -> int:
    """The function's result for the configuration that Hydra composes."""
    import hydra
    from omegaconf import OmegaConf

    register(declared)
    sys.argv = [sys.argv[0], *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, who print one sentence
    results: list[int] = []
    errors: list[BaseException] = []

    def task(cfg: DictConfig) -> None:
        OmegaConf.set_readonly(cfg, True)
        try:
            _refuse_missing(cfg)
            with _native_stderr_muted():
                results.append(function(cfg) or 0)
        except BaseException as error:  # Hydra would print its own lines about it
            errors.append(error)

    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(task)()
    if errors:
        raise errors[0]
    return max(results, default=0)


def _refuse_mistakes(name: str, declared: type, words: Sequence[str]) -> None:
    """UserError for groups that the command has not, and for all values of a wrong type at once."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = OverridesParser.create().parse_overrides(list(words))
    groups = _groups(CONF / f"{name}.yaml")
    for override in found:
        group = override.key_or_group
        if override.is_delete() or not (choices := _choices(group)):
            continue
        if group not in groups and not override.is_add():
            raise UserError(_unknown(group, name, declared))
        if override.value() is None:  # of which Hydra says nothing but a traceback
            raise UserError(f"{group}=null: one of {', '.join(choices)} is expected.")
    if wrong := list(mistakes(declared, found)):
        raise UserError(f"{'; '.join(wrong)} (see --help).")


def _refuse_missing(cfg: DictConfig) -> None:
    """Options first: other keys may only refer to them."""
    from omegaconf import OmegaConf

    missing = sorted(str(key) for key in cfg if OmegaConf.is_missing(cfg, key)) or sorted(
        OmegaConf.missing_keys(cfg)
    )
    if missing:
        flags = (f"--{key.rstrip('_').replace('_', '-')}" for key in missing)
        raise UserError(f"missing: {', '.join(flags)} (see --help).")


def _guarded(run: Callable[[], int]) -> int:
    """Exit code: the function's, 2 after a user's mistake (one sentence), 130 after an
    interruption.
    """
    try:
        with interruption_kept():
            return run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except UserError as error:
        print(f"error: {line_of(error)}", file=sys.stderr)
    except ImportError as error:
        if "libGL" not in str(error) and "libgthread" not in str(error):
            raise
        print(
            f"error: OpenCV lacks a system library ({error}): apt-get install libgl1 libglib2.0-0.",
            file=sys.stderr,
        )
    except OSError as error:
        sentence = halting(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
    except Transient as error:
        print(f"error: stopped, {error}: run the same command again.", file=sys.stderr)
    except KeyboardInterrupt:
        print(
            "interrupted: what is done is kept; the same command goes on from here.",
            file=sys.stderr,
        )
        return 130
    return 2


def _sentence(error: Exception, name: str, declared: type) -> str:
    """What Hydra says in several lines, as one sentence."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, MissingConfigException) and cause.options and cause.missing_cfg_file:
            group = cause.missing_cfg_file.rpartition("/")[0]
            choices = " or ".join(cause.options)
            return f"there is no {cause.missing_cfg_file!r}; {group} can be {choices}."
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
            return _unknown(cause.full_key, name, declared)
        if isinstance(cause, ValidationError) and _is_option(cause.full_key, declared):
            return f"{mistake(declared, str(cause.full_key), cause.value)} (see --help)."
    text = " ".join(" ".join(str(cause).split()) for cause in causes)
    return re.split(r" See https?://", text)[0][:400]


def _is_option(key: Any, declared: type) -> bool:
    return str(key).partition(".")[0].rstrip("_") in options_of(declared)


def _unknown(key: str, name: str, declared: type) -> str:
    """There is no such option; with the nearest that there is."""
    if key == "input" and "source" in _groups(CONF / f"{name}.yaml"):
        return "there is no option 'input': say source=folder source.input=FOLDER (see --help)."
    above, _, last = key.rpartition(".")
    known = _known(name, declared)
    beside = {k: v for k, v in known.items() if v.rpartition(".")[0] == above} if above else known
    near = difflib.get_close_matches(last, beside or known, 1)
    hint = f"; did you mean {known[near[0]]}?" if near and known[near[0]] != key else ""
    return f"there is no option {key!r}{hint} (see --help)."


def _known(name: str, declared: type) -> dict[str, str]:
    """What can be set, by its last word: the command's options, its groups and their keys."""
    from omegaconf import DictConfig, OmegaConf

    known: dict[str, str] = {}
    groups = _groups(CONF / f"{name}.yaml")
    for path in (path for group in groups for path in (CONF / group).glob("*.yaml")):
        loaded = OmegaConf.load(path)
        assert isinstance(loaded, DictConfig)
        known |= {key: f"{path.parent.name}.{key}" for key in map(str, loaded)}
    known |= {group: group for group in groups}
    return known | {path.rpartition(".")[2]: path for path in paths_of(declared)}


@contextlib.contextmanager
def _native_stderr_muted() -> Iterator[None]:
    """Native libraries write notes to file descriptor 2 that are not for the user; Python's own
    stderr goes on.
    """
    kept, before = os.dup(2), sys.stderr
    with open(os.devnull, "w") as sink, os.fdopen(kept, "w", buffering=1) as stderr:
        os.dup2(sink.fileno(), 2)
        sys.stderr = stderr
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)
