"""The map of gaze directions: each clip's gaze relative to its own median, and the drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datagen.stats.rows import Row
from datagen.stats.svg import BOTTOM, GREY, LEFT, WIDTH


def from_middle(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """(yaw, pitch) of every cell minus its clip's medians, deg [n, 2], and its frames [n].

    What a detector takes for straight ahead differs between people: only movement is compared.
    """
    cells = [(clip, *cell) for clip, row in enumerate(rows) for cell in row.gaze_map if cell[2] > 0]
    clips, *angles, frames = np.array(cells, np.int64).reshape(-1, 4).T
    return np.stack([axis - _medians(clips, axis, frames) for axis in angles], 1).astype(
        float
    ), frames


def _medians(clips: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For each of values [n], the lower median of its clip's values, weighted by `counts`.

    `clips` is sorted.
    """
    order = np.lexsort((values, clips))
    upto = np.cumsum(counts[order])
    names, first = np.unique(clips, return_index=True)
    before = np.append(0, upto)[np.append(first, len(clips))]  # of each clip, and all
    middle = np.searchsorted(upto, before[:-1] + (np.diff(before) + 1) // 2)
    return values[order][middle][np.searchsorted(names, clips)]


def gaze_map(shares: np.ndarray, end: float) -> Figure:
    """Draw shares of all frames [pitch, yaw], from -end to end deg, as seen by the viewer.

    Colours follow the square root of the share.
    """
    high, side, most = 3.6, 2.8, shares.max()
    figure = Figure(figsize=(WIDTH, high))
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / high, side / WIDTH, side / high))
    look: dict[str, Any] = {
        "cmap": "viridis_r",
        "vmin": 0,
        "vmax": 1,
        "origin": "lower",
        "interpolation": "none",
    }
    root = np.ma.masked_equal(np.sqrt(shares / most), 0)
    # yaw > 0 is to the left of the picture
    axes.imshow(root[:, ::-1], extent=(end, -end, -end, end), **look)
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.axvline(0, color=GREY, linewidth=0.5)
    axes.set_xlabel("yaw from the middle [deg]: > 0 to the picture's left")
    axes.set_ylabel("pitch from the middle [deg]: > 0 up", rotation_mode="anchor")
    key = figure.add_axes(
        ((LEFT + side + 0.15) / WIDTH, BOTTOM / high, 0.12 / WIDTH, side / high), xticks=[]
    )
    key.imshow(np.linspace(0, 1, 64)[:, None], extent=(0, 1, 0, 1), aspect="auto", **look)
    ticks = np.array(
        [tick for tick in MaxNLocator(4).tick_values(0, 100 * most) if tick <= 100 * most]
    )
    key.set_title("of frames", fontsize=9)
    key.set_yticks(np.sqrt(ticks / (100 * most)), [f"{tick:.3g} %" for tick in ticks])
    key.yaxis.tick_right()
    return figure
