"""What a model's configuration from a file may contain: known classes, and numbers of plausible
size.
"""

from __future__ import annotations

import re
from typing import Any

# The classes that conf/model names; others could run any code
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
HYDRA = ("_target_", "_convert_")  # Hydra's own keys that are allowed
MOST = (
    (re.compile("layers"), 128),
    (re.compile("length|image_size"), 4096),
    (re.compile(""), 2**20),
)  # by name
MOST_ENTRIES = 256  # of a list or object
DEEPEST = 8


def refuse_absurd(config: Any, name: str = "", depth: int = 0) -> None:
    """ValueError for numbers too large for any model, and for nesting too deep."""
    if depth > DEEPEST or (isinstance(config, dict | list) and len(config) > MOST_ENTRIES):
        raise ValueError(f"{name or 'the configuration'} is longer or deeper than that of a model")
    if isinstance(config, dict):
        for key, value in config.items():
            refuse_absurd(value, str(key), depth + 1)
    elif isinstance(config, list):
        for value in config:
            refuse_absurd(value, name, depth + 1)
    elif isinstance(config, int | float):
        most = next(most for pattern, most in MOST if pattern.search(name))
        if not -most <= config <= most:
            raise ValueError(f"{name} is {config}, at most {most} is expected")


def refuse_code(config: Any) -> None:
    """ValueError where Hydra would call anything but a part of a model, or resolve a reference."""
    if isinstance(config, dict):
        target = config.get("_target_")
        if "_target_" in config and not (isinstance(target, str) and target in TARGETS):
            raise ValueError(
                f"it asks for {target!r:.100}, which could run any code: parts of a "
                "model are expected"
            )
        odd = sorted(str(key) for key in config if str(key).startswith("_") and key not in HYDRA)
        if odd:
            raise ValueError(f"it says {odd[0]:.60}, which is not of a model's configuration")
    elif isinstance(config, str) and "${" in config:
        raise ValueError(f"it refers to {config:.60}: plain values are expected")
    for value in (
        config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    ):
        refuse_code(value)
