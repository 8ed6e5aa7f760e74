"""Where artifacts live, found by content, so that nothing is computed twice.

    <root>/<stage>/<first two digits>/<key>/<file>       what the stage made
    <root>/<stage>/<first two digits>/<key>/done.json    written last: the artifact is whole

The key is a hash of what the result depends on: stage, version, parameters, weights, encoder and
the contents of the inputs; never of run, host, time or number of workers. The root may be any
fsspec URL.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from datagen.core.errors import Reject
from datagen.core.files import canonical, file_sha256, plain, write_atomically
from datagen.core.json import JsonObject
from datagen.engine.artifact_check import MARK
from datagen.engine.clip import Artifact, Clip
from datagen.engine.remote import Remote
from datagen.engine.stage import Stage

SIGN = "tmp/run"  # of the run that is on


@dataclass(frozen=True)
class Record:
    """What the store knows of one finished stage of one clip: an artifact, or the reason why there
    is none.
    """

    key: str
    stage: str
    version: int
    file: str = ""  # a name beside done.json, or the absolute path of a file that stays where it is
    sha256: str = ""
    bytes: int = 0
    metrics: JsonObject = field(default_factory=dict)
    outcome: str = "done"  # or "filtered", "invalid"
    reason: str = ""
    detail: str = ""
    seconds: float = 0.0  # that the stage took; informs, is no part of any result
    identity: JsonObject = field(default_factory=dict)  # what the key was made of

    @property
    def is_external(self) -> bool:
        """Somebody else's file, where it was."""
        return os.path.isabs(self.file)


class Store:
    """Artifacts under a folder or any fsspec URL; safe for many writers of the same key."""

    def __init__(self, root: str, encoder: str = ""):
        """`encoder`: what encodes videos here, with its version; part of the keys of videos."""
        self.encoder = encoder
        self._fs, self._base = _filesystem(str(root))
        self.root = str(root) if self._fs else self._base  # absolute: workers may stand elsewhere

    def __getstate__(self) -> JsonObject:
        return {"root": self.root, "encoder": self.encoder}

    def __setstate__(self, state: JsonObject) -> None:
        self.__init__(state["root"], state["encoder"])  # type: ignore[misc]

    @property
    def is_local(self) -> bool:
        return self._fs is None

    def check(self) -> None:
        """UserError where a remote store refuses to be written, or there is none."""
        if not self.is_local:
            self.sign("")
            self.clear_sign()

    def key(self, stage: Stage, clip: Clip) -> str:
        return _digest(self._identity(stage, clip))

    def get(self, stage: Stage, clip: Clip) -> Record | None:
        """The finished record, or None. A local artifact whose size is not as recorded counts as
        missing.
        """
        try:
            record = self.read(stage.name, self.key(stage, clip))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        if record.outcome != "done" or not self.is_local:
            return record
        return record if self._is_whole(record) else None

    def read(self, stage: str, key: str) -> Record:
        """The record under a key; FileNotFoundError where there is none."""
        return Record(**json.loads(self._read(f"{self._folder(stage, key)}/{MARK}")))

    def put(self, stage: Stage, clip: Clip, artifact: Artifact, seconds: float) -> Record:
        """Take a finished artifact out of its workdir into the store."""
        identity = self._identity(stage, clip)
        key = _digest(identity)
        path = artifact.path
        record = Record(
            key=key,
            stage=stage.name,
            version=stage.version,
            file=str(path.resolve()) if stage.external else path.name,
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            metrics=plain(artifact.metrics),
            seconds=round(seconds, 4),
            identity=identity,
        )
        if not stage.external:
            self._move(path, f"{self._folder(stage.name, key)}/{path.name}")
        self._finish(record)
        return record

    def put_reject(self, stage: Stage, clip: Clip, reject: Reject, seconds: float) -> Record:
        """Remember that this stage has nothing to give for this clip."""
        identity = self._identity(stage, clip)
        record = Record(
            key=_digest(identity),
            stage=stage.name,
            version=stage.version,
            outcome=reject.outcome,
            reason=reject.reason,
            detail=reject.detail,
            seconds=round(seconds, 4),
            identity=identity,
        )
        self._finish(record)
        return record

    def forget_harmed(self, records: Iterable[Record]) -> list[str]:
        """Stages whose artifacts are no longer as they were put; what was ours to keep is made
        again when it is asked for. Looks at local files' sizes alone.
        """
        harmed = [record for record in records if self.is_local and not self._is_whole(record)]
        for record in harmed:
            if not record.is_external:
                Path(self._folder(record.stage, record.key), MARK).unlink(missing_ok=True)
        return [record.stage for record in harmed]

    def artifact(self, record: Record) -> Artifact:
        """The artifact where it lies; in a remote store nothing is fetched yet (`brought`,
        `local`).
        """
        return Artifact(Path(self._where(record)), record.metrics, record.sha256)

    def brought(self, clip: Clip, stages: Iterable[str], workdir: Path) -> Clip:
        """The clip with these stages' artifacts as local files, fetched into `workdir` where the
        store is remote.
        """
        if self.is_local:
            return clip
        for stage in stages:
            artifact = clip.artifacts[stage]
            if not artifact.path.exists():
                folder = workdir / "inputs" / stage
                folder.mkdir(parents=True)
                self._fs.get_file(str(artifact.path), str(folder / artifact.path.name))
                clip = clip.with_artifact(
                    stage, replace(artifact, path=folder / artifact.path.name)
                )
        return clip

    def open(self, record: Record) -> IO[bytes]:
        """The artifact's bytes, wherever it lies."""
        path = self._where(record)
        return (
            open(path, "rb")
            if self.is_local or record.is_external
            else io.BytesIO(self._fs.cat_file(path))
        )

    @contextlib.contextmanager
    def workdir(self) -> Iterator[Path]:
        """A fresh folder for one stage's work, on the store's own disk where that is local; gone
        afterwards.
        """
        folder = self._scratch() / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Drop what killed workers left; only for the one who holds the store's lock."""
        shutil.rmtree(self._scratch(), ignore_errors=True)

    def sign(self, text: str) -> None:
        """Leave a word by which a worker elsewhere can tell that it sees this very store."""
        if self._fs is None:
            write_atomically(Path(self._base) / SIGN, text.encode())
        else:
            self._fs.makedirs(f"{self._base}/{os.path.dirname(SIGN)}", exist_ok=True)
            self._fs.pipe_file(f"{self._base}/{SIGN}", text.encode())

    def has_sign(self, text: str) -> bool:
        try:
            return self._read(f"{self._base}/{SIGN}") == text.encode()
        except (FileNotFoundError, NotADirectoryError):
            return False

    def clear_sign(self) -> None:
        with contextlib.suppress(OSError):
            if self._fs is None:
                os.unlink(f"{self._base}/{SIGN}")
            else:
                self._fs.rm_file(f"{self._base}/{SIGN}")

    def _identity(self, stage: Stage, clip: Clip) -> JsonObject:
        inputs = {name: _input_digest(clip.artifacts[name]) for name in stage.inputs}
        return plain(
            {
                "stage": stage.name,
                "backend": type(stage).__name__,
                "version": stage.version,
                "parameters": stage.parameters(),
                "weights": stage.weights(),
                "encoder": self.encoder if stage.encodes else "",
                "clip": stage.of_clip(clip),
                "inputs": inputs,
            }
        )

    def _folder(self, stage: str, key: str) -> str:
        return f"{self._base}/{stage}/{key[:2]}/{key}"

    def _where(self, record: Record) -> str:
        return (
            record.file
            if os.path.isabs(record.file)
            else f"{self._folder(record.stage, record.key)}/{record.file}"
        )

    def _scratch(self) -> Path:
        if self.is_local:
            return Path(self._base) / "tmp"
        return Path(os.environ.get("TMPDIR", "/tmp")) / f"megactor-{_digest(self.root)[:12]}"

    def _is_whole(self, record: Record) -> bool:
        try:
            return os.path.getsize(self._where(record)) == record.bytes
        except OSError:
            return False

    def _read(self, path: str) -> bytes:
        if self._fs is None:
            return Path(path).read_bytes()
        return self._fs.cat_file(path)

    def _move(self, source: Path, target: str) -> None:
        if self._fs is None:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
        else:
            self._fs.makedirs(os.path.dirname(target), exist_ok=True)
            self._fs.put_file(str(source), target)

    def _finish(self, record: Record) -> None:
        text = canonical(record.__dict__)
        target = f"{self._folder(record.stage, record.key)}/{MARK}"
        if self._fs is None:
            # by way of the scratch: a killed worker leaves nothing half-written beside its artifact
            write_atomically(Path(target), text.encode(), self._scratch())
        else:
            self._fs.makedirs(os.path.dirname(target), exist_ok=True)
            self._fs.pipe_file(target, text.encode())


def _digest(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def _input_digest(artifact: Artifact) -> str:
    return _digest([artifact.sha256, plain(artifact.metrics)])


def _filesystem(root: str) -> tuple[Any, str]:
    if "://" not in root:
        return None, str(Path(root).absolute())
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    filesystem, base = fsspec.core.url_to_fs(root)
    return (
        (None, base)
        if isinstance(filesystem, LocalFileSystem)
        else (Remote(filesystem, root), base)
    )
