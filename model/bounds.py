"""What a model's configuration out of a file may ask for: known classes, in numbers that a model
has.
"""

from __future__ import annotations

import re
from typing import Any

# Of the classes that conf/model names; others could run any code
TARGETS = frozenset(
    (
        "model.pipeline.MegActorPipeline",
        "model.unet.DenoisingUNet",
        "model.unet.ReferenceNet",
        "model.driven.DrivenEncoder",
        "model.dct.DctAutoencoder",
        "model.background.vision_tower",
        "model.background.preparation",
        "model.schedule.ddim",
        "diffusers.AutoencoderKL",
    )
)
HYDRA = ("_target_", "_convert_")  # of the words that Hydra takes as its own
MOST = (
    (re.compile("layers"), 128),
    (re.compile("length|image_size"), 4096),
    (re.compile(""), 2**20),
)  # by name
MOST_ENTRIES = 256  # of a list or object
DEEPEST = 8


def refuse_absurd(told: Any, name: str = "", depth: int = 0) -> None:
    """ValueError for a number of which no machine could make a model, and for what has no end."""
    if depth > DEEPEST or (isinstance(told, dict | list) and len(told) > MOST_ENTRIES):
        raise ValueError(f"{name or 'the configuration'} is longer or deeper than that of a model")
    if isinstance(told, dict):
        for key, value in told.items():
            refuse_absurd(value, str(key), depth + 1)
    elif isinstance(told, list):
        for value in told:
            refuse_absurd(value, name, depth + 1)
    elif isinstance(told, int | float):
        most = next(most for pattern, most in MOST if pattern.search(name))
        if not -most <= told <= most:
            raise ValueError(f"{name} is {told}, at most {most} is expected")


def refuse_code(told: Any) -> None:
    """ValueError where Hydra would call something else than a part of a model, or look something
    up.
    """
    if isinstance(told, dict):
        target = told.get("_target_")
        if "_target_" in told and not (isinstance(target, str) and target in TARGETS):
            raise ValueError(
                f"it asks for {target!r:.100}, which could run any code: parts of a "
                "model are expected"
            )
        odd = sorted(str(key) for key in told if str(key).startswith("_") and key not in HYDRA)
        if odd:
            raise ValueError(f"it says {odd[0]:.60}, which is not of a model's configuration")
    elif isinstance(told, str) and "${" in told:
        raise ValueError(f"it refers to {told:.60}: plain values are expected")
    for value in (
        told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    ):
        refuse_code(value)
