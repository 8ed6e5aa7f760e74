"""A store that is no folder, by fsspec: what goes wrong on the way is tried again, and what the
user must fix is reported.

Errors: FileNotFoundError where there is no such file; UserError where the service refuses us, or
there is no such bucket; Transient where it does not answer, or with errors of its own, again and
again.
"""

from __future__ import annotations

import time
from typing import Any

from datagen.core.errors import Transient, UserError

PAUSES = (
    5.0,
    20.0,
)  # s, before it is tried again, which the libraries below have done many times by then
OBJECTS = {
    "s3",
    "s3a",
    "gs",
    "gcs",
    "az",
    "abfs",
    "abfss",
    "oss",
}  # have no folders, and a folder's name may be a bucket's


class Remote:
    """The few verbs of a file system that the store needs; paths are the file system's own, below
    `root`, a URL.
    """

    def __init__(self, filesystem: Any, root: str):
        self._fs, self._root = filesystem, root
        kinds = filesystem.protocol
        self._has_folders = not OBJECTS & ({kinds} if isinstance(kinds, str) else set(kinds))

    def cat_file(self, path: str) -> bytes:
        return self._tried(self._fs.cat_file, path)

    def get_file(self, path: str, target: str) -> None:
        self._tried(self._fs.get_file, path, target)

    def pipe_file(self, path: str, data: bytes) -> None:
        self._written(self._fs.pipe_file, path, data)

    def put_file(self, source: str, path: str) -> None:
        self._written(self._fs.put_file, source, path)

    def rm_file(self, path: str) -> None:
        self._tried(self._fs.rm_file, path)

    def makedirs(self, path: str, exist_ok: bool) -> None:
        if self._has_folders:
            self._written(self._fs.makedirs, path, exist_ok)

    def _written(self, act: Any, *arguments: Any) -> None:
        try:
            self._tried(act, *arguments)
        except FileNotFoundError as error:
            raise UserError(
                f"--store {self._root} is not there ({_line(error)}): make that bucket first."
            ) from None

    def _tried(self, act: Any, *arguments: Any) -> Any:
        for pause in (*PAUSES, None):
            try:
                return act(*arguments)
            except (FileNotFoundError, NotADirectoryError):
                raise
            except Exception as error:
                if _is_refusal(error):
                    raise UserError(
                        f"--store {self._root} refuses us ({_line(error)}): mend the credentials."
                    ) from None
                if pause is None:
                    raise Transient(
                        f"the store {self._root} does not answer ({_line(error)})"
                    ) from None
                time.sleep(pause)
        raise AssertionError


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Credential" in type(error).__name__


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
