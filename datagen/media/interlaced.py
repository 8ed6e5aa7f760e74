"""Pictures of which odd and even lines are of two moments, made whole. (FFmpeg's bwdif)

Most files say so of each picture. Some do not: there the lines are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import av
import numpy as np

LINES = (480, 486, 576, 1080)  # of television: only there lines are compared
LOOKED_AT = 24  # pictures, at the beginning
COMBED = 1.6  # how much more neighbouring lines differ than those two apart, in moving places
MOVES = 12.0  # levels by which a place changes from picture to picture
LEAST_MOVING = 0.01  # share of a picture that must move for its lines to say anything
MAJORITY = 0.5  # of the pictures that move


def progressive(pictures: Iterator[Any]) -> Iterator[Any]:
    """Decoded pictures, deinterlaced where the first of them, or their lines, say so."""
    first = next(pictures, None)
    if first is None:
        return
    if first.interlaced_frame:
        yield from _deinterlaced(chain([first], pictures), "interlaced")
    elif first.height in LINES:
        some = [first, *islice(pictures, LOOKED_AT - 1)]
        every = chain(some, pictures)
        yield from _deinterlaced(every, "all") if is_combed(some) else every
    else:
        yield from chain([first], pictures)


def is_combed(pictures: list[Any]) -> bool:
    """Whether moving edges have teeth: there each line is nearer to the next but one than to its
    neighbours.
    """
    verdicts = []
    last: np.ndarray | None = None
    for picture in pictures:
        grey = picture.to_ndarray(format="gray").astype(np.int16)
        if last is not None and last.shape == grey.shape:
            moving = np.abs(grey - last)[1:-1] > MOVES
            if moving.mean() >= LEAST_MOVING:
                near = np.abs(grey[1:-1] - grey[:-2])[moving].mean()
                apart = np.abs(grey[2:] - grey[:-2])[moving].mean()
                verdicts.append(near > COMBED * apart)
        last = grey
    return bool(verdicts) and float(np.mean(verdicts)) > MAJORITY


def _deinterlaced(pictures: Iterator[Any], which: str) -> Iterator[Any]:
    """One picture for each, at its time: `which` are "interlaced" ones or "all"."""
    graph: Any = None
    for picture in pictures:
        if graph is None:
            graph = _graph(picture, which)
        graph.push(picture)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _graph(picture: Any, which: str) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format.name,
        time_base=picture.time_base,
    )
    bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={which}")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: Any) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
