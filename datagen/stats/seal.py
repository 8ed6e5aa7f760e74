"""Files beside the shards that are written again when these change, unless a person has edited
them.

The last line of such a file is a comment with the hash of everything before it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from datagen.core.errors import UserError
from datagen.core.files import write_if_new
from datagen.core.lock import make_folder

MARK = "<!-- megactor-kit {what}, sha256 "
TAIL = (
    " of all before this line: once edited, this file is never replaced without being asked. -->\n"
)


def sealed(data: bytes, what: str) -> bytes:
    """`data`, which ends with a line end, and the line that knows it; `what` is "card" or
    "report".
    """
    return data + f"{MARK.format(what=what)}{hashlib.sha256(data).hexdigest()}{TAIL}".encode()


def is_free(path: Path, what: str) -> bool:
    """Nothing is there, or what was written here and is unchanged. UserError where no file can be
    written.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, the {what} is a file: move the folder, or choose "
            "another --output."
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): move it, or choose another --output."
        ) from None
    text, _, _ = data.rpartition(MARK.format(what=what).encode())
    return data == sealed(text, what)


def write(path: Path, data: bytes, what: str) -> None:
    """With its seal; a file that holds just that keeps its date."""
    write_if_new(path, sealed(data, what))
