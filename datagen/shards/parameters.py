"""How the clips in shards were cut: size, frame rate and margin, as their makers wrote it down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from datagen.core.errors import UserError
from datagen.core.json import Json


@dataclass(frozen=True)
class ClipParameters:
    """The defaults are the only values that shards without `stages` were ever made with."""

    size: int = 512  # px of a clip's side
    fps: float = 25.0
    margin: float = 2.3  # side of the square over side of the face


def clip_parameters(described: Mapping[str, Json]) -> ClipParameters:
    """Of an index.json or of the json of a sample. UserError where it is damaged."""
    try:
        parameters = described.get("stages", {}).get("clips", {}).get("parameters", {})
        known = {
            field.name: parameters.get(field.name, field.default)
            for field in fields(ClipParameters)
        }
        found = ClipParameters(int(known["size"]), float(known["fps"]), float(known["margin"]))
        is_sound = 0 < found.size <= 2**16 and 0 < found.fps <= 1000 and 1 <= found.margin < 1000
    except (AttributeError, TypeError, ValueError, OverflowError):
        is_sound = False
    if not is_sound:
        raise UserError(
            "the shards do not say how their clips were cut (size, fps, margin): make them again."
        )
    return found


def agreed_parameters(
    folder: Path, index: Mapping[str, Json], samples: Iterable[ClipParameters | None]
) -> ClipParameters:
    """What index.json says, if the samples say the same; None is a sample that says nothing.
    UserError where shards made with different parameters lie in one folder.
    """
    expected = clip_parameters(index)
    other = next((found for found in samples if found not in (None, expected)), None)
    if other is not None:
        raise UserError(
            f"{folder} holds clips of different makings ({_text(expected)} and {_text(other)}): "
            "keep shards that were cut differently in folders of their own."
        )
    return expected


def sample_parameters(sample: Mapping[str, Json]) -> ClipParameters | None:
    """Of the json of a sample; None where its maker did not write its parameters down."""
    stages = sample.get("stages")
    clips = stages.get("clips") if isinstance(stages, dict) else None
    has_parameters = isinstance(clips, dict) and "parameters" in clips
    return clip_parameters(sample) if has_parameters else None


def _text(parameters: ClipParameters) -> str:
    return f"{parameters.size} px, {parameters.fps:g} fps, margin {parameters.margin:g}"
