"""Clips of one person, by a face recogniser: they must not lie on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from datagen.vision.identity import decoded, distance

BLOCK = 1024  # clips that are compared with all leaders at once


def same_people(
    codes: Sequence[str | None], names: Sequence[str | None], within: float
) -> Iterator[tuple[int, int]]:
    """(clip, the earlier clip that leads its person's), where their faces are nearer than `within`.

    `codes` are descriptors, encoded (datagen.vision.identity); `names` is who a clip is known to
    show: two names are never one person, and each name is compared once. Only leaders are compared:
    through a chain of faces, each a little like the next, everybody would be one person.
    """
    clips = list(_once(codes, names))
    leaders = np.empty((0, 0), np.float32)
    led: list[int] = []
    for start in range(0, len(clips), BLOCK):
        block = clips[start : start + BLOCK]
        faces = np.stack([decoded(codes[clip] or "") for clip in block])
        before = _gaps(leaders, faces) if led else np.empty((len(block), 0), np.float32)
        new: list[int] = []
        for row, clip in enumerate(block):
            gaps = np.concatenate([before[row], distance(faces[new], faces[row])])
            others = led + [block[each] for each in new]
            if names[clip] is not None:
                gaps[[names[other] is not None for other in others]] = np.inf
            if len(gaps) and gaps.min() < within:
                yield clip, others[int(gaps.argmin())]
            else:
                new.append(row)
        led += [block[row] for row in new]
        leaders = np.concatenate([leaders.reshape(-1, faces.shape[1]), faces[new]])


def _once(codes: Sequence[str | None], names: Sequence[str | None]) -> Iterator[int]:
    """Of the clips that have a face those of nobody knows whom, and one of each name."""
    known = set()
    for index, (code, name) in enumerate(zip(codes, names, strict=True)):
        if code is not None and name not in known:
            known.add(name)
            known.discard(None)
            yield index


def _gaps(leaders: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distances [N, L] of faces [N, D] from leaders [L, D]."""
    squares = (faces**2).sum(1)[:, None] + (leaders**2).sum(1)[None] - 2 * faces @ leaders.T
    return np.sqrt(np.maximum(squares, 0))
