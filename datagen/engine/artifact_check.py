"""What a stage gives is looked at before the store takes it: a mistake in a stage costs its clip
and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

from datagen.core.files import canonical, plain
from datagen.engine.clip import Artifact, Clip
from datagen.engine.stage import Stage

MARK = "done.json"  # beside every artifact in the store


class InvalidArtifact(Exception):
    """A stage gave what is no artifact, or harmed what it was given: its code is wrong."""


def validate_artifact(given: object, stage: Stage, clip: Clip, workdir: Path) -> Artifact:
    """What the stage gave, if it is an artifact: a new file of its own with something in it, and
    numbers for JSON. Else InvalidArtifact.
    """
    if not isinstance(given, Artifact):
        raise InvalidArtifact(
            f"{stage.name} returned {type(given).__name__}: an Artifact is expected."
        )
    path, expected = given.path, f"a file that {stage.name} wrote below its workdir is expected"
    if not os.path.lexists(path):
        raise InvalidArtifact(
            f"{stage.name} returned {path.name}, which does not exist: {expected}."
        )
    for name in stage.inputs:
        if clip.path(name).exists() and path.exists() and path.samefile(clip.path(name)):
            raise InvalidArtifact(f"{stage.name} returned its input {name}: {expected}.")
    if not stage.external and (
        path.is_symlink() or not path.resolve().is_relative_to(workdir.resolve())
    ):
        raise InvalidArtifact(
            f"{stage.name} returned {path}, which is a link or elsewhere: {expected}."
        )
    if not path.is_file():
        raise InvalidArtifact(f"{stage.name} returned {path.name}, which is no file: {expected}.")
    if not path.stat().st_size:
        raise InvalidArtifact(
            f"{stage.name} wrote nothing into {path.name}: an artifact has bytes."
        )
    if path.name == MARK:
        raise InvalidArtifact(
            f"{stage.name} calls its artifact {MARK}, which is the store's own name: "
            "choose another one."
        )
    _refuse_strange(given.metrics, stage)
    return given


def _refuse_strange(metrics: object, stage: Stage) -> None:
    try:
        canonical(plain(metrics))
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidArtifact(
            f"the metrics of {stage.name} cannot be written as JSON ({error}): numbers "
            "are expected."
        ) from None
