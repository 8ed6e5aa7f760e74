"""Words out of data that somebody else made, as text that can be shown."""

from __future__ import annotations

import unicodedata

UNSHOWN = (
    "Cc",
    "Cs",
    "Co",
    "Zl",
    "Zp",
)  # Unicode categories: control, halves of characters, private use, line ends
TURNING = frozenset(
    "\u200e\u200f\u061c" + "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
)


def text_of(value: object) -> str:
    """Text that can be shown and encoded: no control characters, none that turn the direction."""
    text = str(value)
    return text if text.isprintable() else "".join(c if _is_shown(c) else "\ufffd" for c in text)


def line_of(value: object) -> str:
    """The same in one line."""
    return text_of(value).replace("\n", " ")


def _is_shown(character: str) -> bool:
    return character == "\n" or (
        unicodedata.category(character) not in UNSHOWN and character not in TURNING
    )
