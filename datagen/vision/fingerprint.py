"""A short code of how a face looks, the same for copies of one video: joins near-duplicates before
the splits are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 16  # bits: SIDE * SIDE
# Aligned on the outer eye corners and the base of the nose: places in a unit square that shows the
# inner face.
_ANCHORS = (33, 263, 2)
_PLACES = np.array([[0.2, 0.3], [0.8, 0.3], [0.5, 0.68]], np.float32)


def fingerprint(rgb: np.ndarray, points: np.ndarray) -> str:
    """Difference hash of the aligned grey face of an RGB uint8 frame with points [478, 2+] px: 64
    hex digits.
    """
    size = np.array([SIDE + 1, SIDE], np.float32)
    warp = cv2.getAffineTransform(np.float32(points[list(_ANCHORS), :2]), _PLACES * size * 8)
    grey = cv2.cvtColor(cv2.warpAffine(rgb, warp, ((SIDE + 1) * 8, SIDE * 8)), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = small[:, 1:] > small[:, :-1]
    return np.packbits(bits).tobytes().hex()


def distance(a: str, b: str) -> int:
    """Number of differing bits."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def near_pairs(codes: Sequence[Sequence[str]], limit: int) -> list[tuple[int, int]]:
    """Pairs (i, j) of clips of which some code of one is within `limit` bits of some code of the
    other.

    Codes that differ in at most `limit` < 32 bits agree in at least one of 32 bytes: only those are
    compared.
    """
    assert limit < 32
    shelves: dict[tuple[int, str], list[tuple[int, str]]] = {}
    pairs = set()
    for i, own in enumerate(codes):
        for code in own:
            for byte in range(0, len(code), 2):
                shelf = shelves.setdefault((byte, code[byte : byte + 2]), [])
                pairs |= {(j, i) for j, other in shelf if j != i and distance(code, other) <= limit}
                shelf.append((i, code))
    return sorted(pairs)
