"""Makes a model, or only its shapes, from a preset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from datagen.cli import CONF
from datagen.core.errors import UserError
from model.pipeline import MegActorPipeline

PARTS = ("unet", "reference_net", "driven_encoder", "vae", "image_encoder")


NEEDED = (*PARTS, "feature_extractor", "scheduler")  # by a configuration


def preset(name: str) -> Any:
    """The configuration in conf/model/NAME.yaml, or in a YAML file of the user."""
    known = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    path = CONF / "model" / f"{name}.yaml" if name in known else Path(name)
    if not path.is_file():
        raise UserError(
            f"there is no preset {name!r}: {' or '.join(known)}, or a YAML file like "
            "theirs, is expected."
        )
    try:
        config = OmegaConf.load(path)
        OmegaConf.resolve(config)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise _no_preset(name, known, " ".join(str(error).split())[:200]) from error
    lacking = [
        key
        for key in ("_target_", *NEEDED)
        if not isinstance(config, DictConfig) or key not in config
    ]
    if lacking:
        raise _no_preset(name, known, f"it has no {', '.join(lacking)}")
    return config


def _no_preset(name: str, known: Sequence[str], why: str) -> UserError:
    return UserError(
        f"preset {name} is no model configuration ({why}): {' or '.join(known)}, "
        f"or a YAML file like {CONF / 'model' / known[0]}.yaml, is expected."
    )


def instantiate(config: Any) -> Any:
    """Passes plain lists and dicts, which diffusers can write into a part's config.json."""
    return hydra_instantiate(config, _convert_="all")


def skeleton(config: Any) -> MegActorPipeline:
    """The model with all names and shapes, on the meta device."""
    try:
        with init_empty_weights(include_buffers=False):
            pipeline = instantiate(config)
    except (InstantiationException, OmegaConfBaseException) as error:
        why = " ".join(str(error).split())[:300]
        raise UserError(
            f"the preset makes no model ({why}): a YAML file like those of conf/model is expected."
        ) from error
    if not isinstance(pipeline, MegActorPipeline):
        raise UserError(
            f"the preset makes a {type(pipeline).__name__}, a MegActorPipeline is expected: "
            "take _target_ as in the files of conf/model."
        )
    return pipeline
