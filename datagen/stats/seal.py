"""Files beside the shards that are rewritten when these change, unless somebody has edited them.

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
    """`data` (which ends with a newline) and the line with its hash; `what`: "card" or "report"."""
    return data + f"{MARK.format(what=what)}{hashlib.sha256(data).hexdigest()}{TAIL}".encode()


def is_free(path: Path, what: str) -> bool:
    """Whether `path` is free, or holds an unchanged file of ours.

    UserError if no file can be written there.
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
    """Write `data` and its hash; a file with the same content keeps its date."""
    write_if_new(path, sealed(data, what))
