"""Libraries that say nothing while a command works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without the bars, warnings and tables of the libraries, which are as they were afterwards."""
    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries]
    for each in libraries:
        each.set_verbosity(50)  # CRITICAL
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, verbosity, has_bars in before:
            each.set_verbosity(verbosity)
            if has_bars:
                each.enable_progress_bar()
