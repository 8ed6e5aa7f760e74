"""One run at a time on one folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from datagen.core.errors import UserError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` itself; the system lets go however the process ends. UserError if another holds
    it.
    """
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = (
                f"{folder} is in use by another run: wait for its end, or choose another folder."
            )
            raise UserError(message) from None
        except OSError as error:  # some network file systems know no lock on a folder
            print(
                f"note: {folder} cannot be locked ({error.strerror}); let no other run use it.",
                flush=True,
            )
        yield
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create it; UserError where that cannot be done or it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # has no name: nothing to leave behind
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; choose another folder or mend its rights."
        ) from None
