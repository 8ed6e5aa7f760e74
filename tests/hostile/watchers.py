"""What reads videos for their faces, called with hostile ones: `python -m tests.hostile.watchers
FILE...`.

A process of its own, in which MediaPipe never runs: it hangs in a fork of one in which it has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from datagen.clips.square import Clips
from datagen.core.errors import Reject, UserError
from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.shots.adaptive import Shots
from datagen.sources.listed.exact import stream
from model.inputs import driving_video
from tests.conftest import REPOSITORY
from tests.hostile import confined

Reader = Callable[[Path], Any]
PLAIN: dict[str, Reader] = {
    "probe": video.probe,
    "times": video.times,
    "read": lambda path: sum(1 for _ in video.read(path, None, 64)),
    "shots": lambda path: Shots()(clip_of(path), path.parent),
}
WATCHING = PLAIN | {
    "stream": stream,
    "clips": lambda path: Clips()(clip_of(path), path.parent),
    "look": driving_video.analyze_driving_video,
}


def refusals(path: Path, readers: Mapping[str, Reader] = PLAIN) -> dict[str, str]:
    """Reader -> reason of its refusal, "" where it reads the file; all in one confined process."""
    return confined(
        lambda: {name: _refusal(reader, path) for name, reader in readers.items()}
    ).value


def watched(paths: Iterable[Path]) -> list[dict[str, str]]:
    """`refusals` of all readers for each file, by one process anew."""
    command = [sys.executable, "-m", "tests.hostile.watchers", *map(str, paths)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def clip_of(path: Path) -> Clip:
    return Clip("a", {}, artifacts={"source": Artifact(path)})


def _refusal(reader: Reader, path: Path) -> str:
    try:
        reader(path)
    except Reject as error:
        return error.reason
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    print(json.dumps([refusals(Path(path), WATCHING) for path in sys.argv[1:]]))
