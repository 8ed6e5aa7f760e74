"""Mistakes in the options of an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from omegaconf import DictConfig

OPTIM: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda x: 0 < x < float("inf"), "a number above 0 is"),
    "betas": (lambda x: 0 <= x < 1, "numbers from 0 to below 1 are"),
    "eps": (lambda x: x > 0, "a number above 0 is"),
    "weight_decay": (lambda x: x >= 0, "a number from 0 is"),
    "warmup": (lambda x: x >= 0, "a number from 0 is"),
    "clip": (lambda x: x > 0, "a number above 0 or null is"),
    "ema": (lambda x: 0 < x < 1, "a number between 0 and 1 or null is"),
}


OFF = ("clip", "ema")  # may be null


def optim_mistakes(optim: DictConfig) -> Iterator[str]:
    """One phrase for each number that no optimizer accepts."""
    for name, (fits, expected) in OPTIM.items():
        value = optim[name]
        for one in value if name == "betas" else [value]:
            if not (name in OFF and one is None) and not (type(one) in (int, float) and fits(one)):
                yield f"optim.{name} is {value!r}, {expected} expected"
                break
