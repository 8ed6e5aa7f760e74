"""The map of gaze: each clip from its own middle, drawn as one sees it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from datagen.stats.dataset import Dataset, read_dataset
from datagen.stats.gaze_map import from_middle
from datagen.stats.plots import Plot, plots
from tests.datagen.stats.made_up import shards

HREF = "{http://www.w3.org/1999/xlink}href"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    folder = shards(tmp_path_factory.mktemp("gaze"), kept=2, lost=0, films=False)
    return read_dataset(folder, folder / "no ledger")


def gaze_map(dataset: Dataset) -> Plot:
    return next(plot for plot in plots(dataset) if plot.name == "gaze.map")


def with_gaze(dataset: Dataset, cells: Sequence[Sequence[int]]) -> Dataset:
    """One clip that looks there."""
    rows = {"train-000000.tar": [replace(dataset.rows[0], gaze_map=cells)]}
    return Dataset(dataset.folder, dataset.index, dataset.measures, rows, dataset.history)


def test_gaze_is_drawn_as_it_is_seen(dataset):
    """From the middle, yaw 10 is to the left, pitch 14 above; the more frames, the darker."""
    plot = gaze_map(with_gaze(dataset, [[12, 36, 5], [2, 22, 30]]))
    images = ElementTree.fromstring(plot.svg).iter("{http://www.w3.org/2000/svg}image")
    shown_map = next(image for image in images if image.get("width") == image.get("height"))
    picture = Image.open(io.BytesIO(base64.b64decode(shown_map.get(HREF).partition(",")[2])))
    pixels = np.array(picture.convert("RGBA")).astype(int)
    transform = [float(x) for x in re.findall(r"[-\d.]+", shown_map.get("transform", ""))]
    pixels = pixels[::-1] if transform[3] < 0 else pixels
    middle = len(pixels) // 2
    looked = {(int(x) - middle, middle - int(y)) for y, x in np.argwhere(pixels[..., 3] > 0)}
    assert looked == {(-5, 7), (0, 0)}  # cells of 2 degrees: to the right, up
    assert pixels[middle - 7, middle - 5, :3].sum() > pixels[middle, middle, :3].sum()
    result = (
        "35 frames, 85.7% within 10 deg of their clip's own middle; absolute zero is not "
        "calibrated."
    )
    assert plot.about == result
    assert plot.title == "where the eyes look, from each clip's own middle"


def test_gaze_of_each_clip_counts_from_its_own_middle(dataset):
    """Against a median of its frames written out one by one; offsets and scarce frames change
    nothing.
    """
    draw = np.random.default_rng(1)
    clips = [
        [[*draw.integers(-9, 20, 2) * 2, draw.integers(0, 6)] for _ in range(9)] for _ in range(20)
    ] + [[]]
    rows = [
        replace(dataset.rows[0], gaze_map=[tuple(map(int, cell)) for cell in cells])
        for cells in clips
    ]
    angles, frames = from_middle(rows)
    expected = []
    for row in rows:
        every = sorted([cell[:2] for cell in row.gaze_map for _ in range(cell[2])])
        if every:
            middle = [sorted(axis)[(len(every) - 1) // 2] for axis in zip(*every, strict=True)]
            expected += [(yaw - middle[0], pitch - middle[1]) for yaw, pitch in every]
    assert sorted(map(tuple, np.repeat(angles, frames, 0).astype(int).tolist())) == sorted(expected)
    moved = [
        replace(row, gaze_map=[(yaw + 30, pitch - 8, n) for yaw, pitch, n in row.gaze_map])
        for row in rows
    ]
    assert np.array_equal(from_middle(moved)[0], angles)


def test_gaze_far_out_is_counted_at_the_edge(dataset):
    plot = gaze_map(with_gaze(dataset, [[10**9, 0, 3], [0, -80, 1], [0, 0, 7]]))
    assert "4 beyond 44 deg are at the edge" in plot.about
