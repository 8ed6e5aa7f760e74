"""Flags are Hydra overrides spelt like flags: `--input raw/` is `input=raw/`, always one literal
value.

There is no parser and no second list of options or defaults: a command's YAML file is the list, its
comments are the help.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datagen.core.errors import Transient, UserError, halting, interruption_kept
from datagen.core.text import line_of

CONF = Path(__file__).resolve().parents[1] / "conf"
TAKES_VALUE = ("--cfg", "-c", "--package", "-p", "--experimental-rerun", "--config-dir", "-cd")
TEXTS = (
    "input",
    "output",
    "store",
    "donors",
    "key",
    "reference",
    "driving",
    "weights",
    "name",
    "init_from",
    "cache",
    "checkpoint",
    "features",
    "readout",
    "cookies",
    "proxy",
    "url",
)  # options that are text even where they look like a number
HYDRA_FLAGS = (*TAKES_VALUE, "--resolve", "--multirun", "-m", "--info", "-i")


def command(name: str) -> Callable[[Callable[[Any], int | None]], Callable[[], None]]:
    """Make a command of a function of the composed `conf/<name>.yaml`; the process ends with its
    result.
    """

    def decorate(function: Callable[[Any], int | None]) -> Callable[[], None]:
        def main(argv: list[str] | None = None) -> None:
            arguments = sys.argv[1:] if argv is None else argv
            if any(word in ("--help", "-h") for word in arguments):
                print(help_text(name))
                sys.exit(0)
            sys.exit(_guarded(lambda: _run(name, function, arguments)))

        main.__doc__ = function.__doc__
        return main

    return decorate


def overrides(
    argv: list[str],
    switches: frozenset[str] = frozenset(),
    positional: str = "",
    pairs: frozenset[str] = frozenset(),
) -> list[str]:
    """`--a-b v`, `--a-b=v` and the switch `--dry-run` as `a_b=v`, `a_b=v`, `dry_run=true`;
    everything else as it is.

    Options in `pairs` take two words: `--compare a b` is `compare=['a','b']`.
    """
    words, flags, result = deque(argv), [], []
    while words:
        word = words.popleft()
        name, equals, value = word.partition("=")
        if word in HYDRA_FLAGS:
            flags += [word, *([words.popleft()] if word in TAKES_VALUE and words else [])]
        elif name.startswith("--"):
            key = name[2:].replace("-", "_")
            if key in pairs:
                two = [
                    quoted(word, True)
                    for word in (value or _value(name, words, False), _value(name, words, False))
                ]
                result.append(f"{key}=[{','.join(two)}]")
                continue
            if not equals:
                value = _value(name, words, key in switches)
            result.append(f"{key}={quoted(value, key in TEXTS)}")
        elif equals or word.startswith("~"):
            result.append(word)
        elif positional and not word.startswith("-"):
            result.append(f"{positional}={quoted(word, True)}")
        else:
            raise UserError(
                f"{word!r} is no option: --name VALUE or name=VALUE is expected (see --help)."
            )
    return flags + result


def _value(name: str, words: deque[str], is_switch: bool) -> str:
    """The word after a flag; a switch may stand without one."""
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


def help_text(name: str) -> str:
    """From the comments of the command's YAML file, without loading anything."""
    head, options = _options(name)
    width = max(map(len, options), default=0)
    rows = [f"  --{key.replace('_', '-'):<{width}}  {text}" for key, text in options.items()]
    texts = [path.read_text() for path in _files(CONF / f"{name}.yaml")]
    groups = [
        g for text in texts for g in re.findall(r"^\s*- (?:override )?/?(\w+): (\w+)", text, re.M)
    ]
    choices = [
        f"  {group}={'|'.join(_choices(group))}   (default {default})" for group, default in groups
    ]
    tail = ["", "Choices (any key of theirs too, e.g. swap.seed=2):", *choices] if choices else []
    return "\n".join([*head, "", "Options (--name VALUE, or name=VALUE):", *rows, *tail])


def _options(name: str) -> tuple[list[str], dict[str, str]]:
    """Head comment and options of a command, those of the files that it includes after its own."""
    (head, options), *included = map(_read_options, _files(CONF / f"{name}.yaml"))
    for _, more in included:
        options |= {k: v for k, v in more.items() if k not in options}
    return head, options


def _files(path: Path) -> list[Path]:
    """A command's YAML file, and after it those that it includes."""
    includes = re.findall(r"^\s*- /?([\w/]+)@_global_", path.read_text(), re.M)
    return [path, *(file for include in includes for file in _files(_find(path, include)))]


def _read_options(path: Path) -> tuple[list[str], dict[str, str]]:
    """Head comment and top-level `key: default  # text` lines of a YAML file."""
    lines = path.read_text().splitlines()
    head = [
        line[1:].removeprefix(" ")
        for line in lines
        if line.startswith("#") and "@package" not in line
    ]
    options = {}
    for line in lines:
        match = re.fullmatch(r"(\w+): *(.*?) *# (.*)", line)
        if match:
            key, default, text = match.groups()
            shown = "" if default in ("null", "???", '""') else f" (default {default})"
            options[key] = text + (" (required)" if default == "???" else shown)
    return head, options


def _find(path: Path, include: str) -> Path:
    beside = path.parent / f"{include}.yaml"
    return beside if beside.exists() else CONF / f"{include}.yaml"


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _run(name: str, function: Callable[[Any], int | None], argv: list[str]) -> int:
    import hydra
    from omegaconf import OmegaConf

    switches, positional, pairs = _kinds(name)
    own = overrides(argv, switches, positional, pairs)
    _refuse_no_choice(own)
    sys.argv = [sys.argv[0], *own]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, who print one sentence
    results: list[int] = []
    errors: list[BaseException] = []

    def task(cfg: Any) -> None:
        OmegaConf.set_readonly(cfg, True)
        try:
            _refuse_missing(cfg)
            _refuse_no_truth(cfg, switches)
            with _native_stderr_muted():
                results.append(function(cfg) or 0)
        except BaseException as error:  # Hydra would print its own lines about it
            errors.append(error)

    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(task)()
    if errors:
        raise errors[0]
    return max(results, default=0)


def _refuse_no_choice(overrides: Sequence[str]) -> None:
    """`logger=null`, of which Hydra says nothing but a traceback."""
    for override in overrides:
        name, _, value = override.partition("=")
        if value == "null" and (choices := _choices(name.lstrip("+"))):
            raise UserError(f"{override}: one of {', '.join(choices)} is expected.")


def _refuse_missing(cfg: Any) -> None:
    """Top-level keys first: the others may only refer to them."""
    from omegaconf import OmegaConf

    missing = sorted(key for key in cfg if OmegaConf.is_missing(cfg, key)) or sorted(
        OmegaConf.missing_keys(cfg)
    )
    if missing:
        raise UserError(
            f"missing: {', '.join('--' + key.replace('_', '-') for key in missing)} (see --help)."
        )


def _refuse_no_truth(cfg: Any, switches: frozenset[str]) -> None:
    """`overwrite=no` is a text to YAML of today, and a text is true."""
    wrong = [
        f"--{key.replace('_', '-')} is {cfg[key]!r}"
        for key in sorted(switches)
        if not isinstance(cfg[key], bool)
    ]
    if wrong:
        raise UserError(f"{', '.join(wrong)}: true or false is expected.")


def _kinds(name: str) -> tuple[frozenset[str], str, frozenset[str]]:
    """Options whose default is a truth value may stand without one; comments mark the bare word's
    key, and pairs.
    """
    _, options = _options(name)
    switches = frozenset(
        k for k, text in options.items() if re.search(r"\(default (true|false)\)$", text)
    )
    pairs = frozenset(k for k, text in options.items() if "(two values)" in text)
    return (
        switches,
        next((k for k, text in options.items() if "(the bare word)" in text), ""),
        pairs,
    )


def _guarded(run: Callable[[], int]) -> int:
    """Exit code: the function's, 2 after a user's mistake (one sentence), 130 after an
    interruption.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with interruption_kept():
            return run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except UserError as error:
        print(f"error: {line_of(error)}", file=sys.stderr)
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {line_of(_sentence(error))}", file=sys.stderr)
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


def _sentence(error: Exception) -> str:
    """Hydra's several lines as one sentence, with the nearest right spelling where a key is
    misspelt.
    """
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)  # type: ignore[arg-type]
    text = " ".join(" ".join(str(e).split()) for e in causes)
    match = re.search(r"Key '([\w.]+)' is not in struct|Could not override '([\w.]+)'", text)
    if match:
        key = match[1] or match[2]
        if key == "input":
            return "there is no option 'input': say source=folder source.input=FOLDER (see --help)."
        near = difflib.get_close_matches(key.rsplit(".", 1)[-1], _all_keys(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"there is no option {key!r}{hint} (see --help)."
    match = re.search(
        r"In '[^']*': Could not find '([^']+)'.*?Available options in '(\w+)': (.*?)(?: "
        r"Config search path| *$)",
        text,
    )
    if match:
        return f"there is no {match[1]!r}; {match[2]} can be {' or '.join(match[3].split())}."
    return re.split(r" See https?://", text)[0][:400]


def _all_keys() -> list[str]:
    return sorted(
        {
            key
            for path in CONF.rglob("*.yaml")
            for key in re.findall(r"^(\w+):", path.read_text(), re.M)
        }
    )


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
