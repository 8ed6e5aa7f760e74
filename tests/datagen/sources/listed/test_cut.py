"""ListedSource clips are cut to the frame, whatever the file: each frame of these videos shows its
number.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.core.errors import Invalid, Reject
from datagen.engine.clip import Artifact
from datagen.media import video
from datagen.sources.listed import exact
from datagen.sources.listed.base import ListedSource, safe_name
from tests.fakes.lists import celebvhq, celebvhq_entry, film, number_of, vfhq, vfhq_text

cv2.setNumThreads(1)
VIDEO = "-_Qx3a9-Z0_"
NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
ALL = {"top": 0.0, "bottom": 1.0, "left": 0.0, "right": 1.0}


def regular(count: int, fps, offset=0) -> list[Fraction]:
    return [Fraction(offset) + n / Fraction(fps) for n in range(count)]


def uneven(count: int) -> list[Fraction]:
    """Gaps of 20 to 80 ms."""
    return np.cumsum([0] + [Fraction(1 + n * 7 % 4, 50) for n in range(count - 1)]).tolist()


FILES = {
    "constant": dict(suffix=".mp4", times=regular(130, 25)),
    "variable": dict(suffix=".mp4", times=uneven(130)),
    "many_b": dict(
        suffix=".mp4", times=regular(130, 30), options={"bf": "8", "g": "250", "b-adapt": "0"}
    ),
    "open_gop": dict(
        suffix=".mp4",
        times=regular(130, 25),
        options={"x264-params": "open-gop=1:bframes=3:keyint=20"},
    ),
    "offset": dict(suffix=".mp4", times=regular(130, 25, Fraction(7, 2))),
    "rotated": dict(suffix=".mp4", times=regular(130, 25), turned=90),
    "film": dict(suffix=".mp4", times=regular(130, FILM)),
    "ntsc": dict(suffix=".mp4", times=regular(130, NTSC)),
    "mkv_film": dict(suffix=".mkv", times=regular(130, FILM)),
    "mkv_ntsc_offset": dict(suffix=".mkv", times=regular(130, NTSC, 2)),
    "mkv_variable": dict(suffix=".mkv", times=uneven(130)),
    "webm": dict(suffix=".webm", times=regular(130, NTSC), codec="libvpx-vp9"),
    "webm_film": dict(suffix=".webm", times=regular(130, FILM), codec="libvpx-vp9"),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Name of a file -> its folder, where it is the raw file of VIDEO, and the times of its frames;
    made once.
    """
    made: dict[str, tuple[Path, list[Fraction]]] = {}

    def of(name: str) -> tuple[Path, list[Fraction]]:
        if name not in made:
            arguments = dict(FILES[name])
            folder, times = tmp_path_factory.mktemp(name), arguments.pop("times")
            film(folder / f"{safe_name(VIDEO)}{arguments.pop('suffix')}", times, **arguments)
            made[name] = folder, times
        return made[name]

    return of


def cut(source: ListedSource, folder: Path) -> tuple[Artifact, list[int], list[float]]:
    """The only clip of a source: what is cut, the numbers of its frames, their times."""
    (clip,) = source.plan()
    artifact = source.stage()(clip, folder)
    shown = list(video.read(artifact.path))
    return artifact, [number_of(frame.rgb) for frame in shown], [frame.time for frame in shown]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("start, end", [(0.0, 0.5), (1.0, 2.36), (2.01, 4.04), (1.04, 1.2)])
def test_seconds_are_cut_to_the_frame(name, start, end, raw, tmp_path):
    folder, times = raw(name)
    source = celebvhq(
        folder, {f"{VIDEO}_0": celebvhq_entry(VIDEO, start, end, bbox=ALL)}, min_side=0
    )
    artifact, numbers, shown = cut(source, tmp_path)
    since = [time - times[0] for time in times]
    wanted = [
        n for n, time in enumerate(since) if Fraction(str(start)) <= time < Fraction(str(end))
    ]
    assert numbers == wanted
    assert shown == pytest.approx([float(since[n] - since[wanted[0]]) for n in wanted], abs=0.00101)
    assert artifact.metrics["cut"]["frames"] == len(wanted)
    assert artifact.metrics["cut"]["region"] == [70, 0, 180, 180]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("first, last", [(0, 12), (24, 60), (47, 49), (100, 129)])
def test_frame_numbers_are_cut_to_the_frame(name, first, last, raw, tmp_path):
    folder, times = raw(name)
    fps = round(129 / float(times[-1] - times[0]), 3)
    texts = {
        f"Clip+{VIDEO}+P0+C0+F{first}-{last}": vfhq_text(VIDEO, fps, (0, 0, 320, 180), (320, 180))
    }
    artifact, numbers, shown = cut(vfhq(folder, texts, min_side=0), tmp_path)
    assert numbers == list(range(first + 1, last))
    assert shown == pytest.approx(
        [float(times[n] - times[first + 1]) for n in range(first + 1, last)], abs=0.00101
    )
    assert artifact.metrics["cut"]["size"] == [320, 180]


@pytest.mark.parametrize(
    ("theirs", "size", "wanted"),
    [
        (
            NTSC,
            (640, 360),
            range(25, 60),
        ),  # the same pictures, another size: by time, and still the same
        (
            2 * NTSC,
            (320, 180),
            range(13, 30),
        ),  # they had twice as many: those of 25..59 that are there
        (
            NTSC / 2,
            (320, 180),
            range(50, 120),
        ),  # they had half as many: both halves of each of 25..59
        (Fraction(30), (320, 180), range(25, 60)),  # of 30 fps too, as nearly as there are pictures
    ],
)
def test_where_the_stream_is_another_time_decides(theirs, size, wanted, raw, tmp_path):
    folder, _ = raw("ntsc")
    name = f"Clip+{VIDEO}+P0+C0+F24-60"
    texts = {name: vfhq_text(VIDEO, float(theirs), (0, 0, *size), size)}
    artifact, numbers, _ = cut(vfhq(folder, texts, min_side=0), tmp_path)
    assert numbers == list(wanted)
    assert artifact.metrics["cut"]["region"] == [0, 0, 320, 180]


def test_thirty_is_not_taken_for_29_97(tmp_path):
    """After 33 s they differ by a frame."""
    found = exact.Stream(np.arange(2000) / float(NTSC), (320, 180))
    by_number = exact.seconds_of_frames(1500, 1510, 29.97, (320, 180), found)
    by_time = exact.seconds_of_frames(1500, 1510, 30.0, (320, 180), found)
    assert by_number[0] == pytest.approx(1499.5 / float(NTSC)) and by_time[0] == pytest.approx(
        1499.5 / 30, abs=1e-3
    )


# --- the part of the picture


def official(box: exact.Box, width: int, height: int) -> tuple[float, float, float, float]:
    """The published recipe step by step: grow, pixels, square; top, bottom, left, right."""
    left, top, right, bottom = box
    grown = max(top - 0.02, 0), min(bottom + 0.02, 1), max(left - 0.02, 0), min(right + 0.02, 1)
    px = [
        round(value * side)
        for value, side in zip(grown, (height, height, width, width), strict=True)
    ]
    half = min(px[1] - px[0], px[3] - px[2]) // 2
    y, x = (px[0] + px[1]) / 2, (px[2] + px[3]) / 2
    return y - half, y + half, x - half, x + half


def test_the_square_is_the_published_one():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        x, y = np.sort(rng.uniform(0, 1, 2)), np.sort(rng.uniform(0, 1, 2))
        if rng.random() < 0.5:
            y[0] = 0
        if x[1] - x[0] < 0.1 or y[1] - y[0] < 0.1:
            continue
        width, height = (int(side) for side in rng.integers(200, 2000, 2))
        region = exact.square_of_shares((x[0], y[0], x[1], y[1]), (width, height))
        top, bottom, left, right = official((x[0], y[0], x[1], y[1]), width, height)
        assert 0 <= top - region.y < 1 and 0 <= left - region.x < 1
        assert region.width == region.height == right - left == bottom - top
        assert region.x >= 0 and region.x + region.width <= width
        assert region.y >= 0 and region.y + region.height <= height


def test_a_box_is_scaled_with_the_picture_and_widened_inside_it():
    assert exact.scaled_box((100, 50, 400, 350), (640, 360), (1280, 720)) == exact.Region(
        200, 100, 600, 600
    )
    assert exact.scaled_box((100, 50, 400, 350), (640, 360), (1280, 1080)) == exact.Region(
        200, 150, 600, 900
    )
    wide = exact.scaled_box((100, 50, 400, 350), (640, 360), (640, 360), margin=0.1)
    assert wide == exact.Region(70, 20, 360, 340)  # the picture ends below
    odd = exact.scaled_box((1, 1, 102, 104), (640, 360), (640, 360))
    assert (odd.width, odd.height) == (100, 102)


def test_a_region_is_where_it_says(raw, tmp_path):
    """The blocks of frame 1 are black but for the first: the region shows its lower right
    corner.
    """
    folder, _ = raw("constant")
    texts = {f"Clip+{VIDEO}+P0+C0+F0-2": vfhq_text(VIDEO, 25.0, (260, 22, 460, 222), (640, 360))}
    artifact, _, _ = cut(vfhq(folder, texts, min_side=0), tmp_path)
    rgb = next(video.frames(artifact.path))
    assert rgb.shape == (100, 100, 3)
    bright = rgb[..., 1] > 125
    assert (
        bright[:23, :28].mean() > 0.97
        and bright[27:].mean() < 0.01
        and bright[:, 32:].mean() < 0.01
    )


def test_a_small_download_is_filtered_and_says_how_small(raw, tmp_path):
    folder, _ = raw("constant")
    source = celebvhq(folder, {f"{VIDEO}_0": celebvhq_entry(VIDEO, 0, 1, bbox=ALL)})
    with pytest.raises(
        Reject, match="small_picture: .* of 320 x 180 px is 180 px, at least 512"
    ) as error:
        cut(source, tmp_path)
    assert not isinstance(error.value, Invalid)


def test_a_margin_makes_no_square_larger(raw, tmp_path):
    folder, _ = raw("constant")
    texts = {f"Clip+{VIDEO}+P0+C0+F0-2": vfhq_text(VIDEO, 25.0, (100, 40, 200, 140), (320, 180))}
    with pytest.raises(Reject, match="is 100 px, at least 120"):
        cut(vfhq(folder, texts, min_side=120, margin=0.3), tmp_path)
    artifact, _, _ = cut(vfhq(folder, texts, min_side=100, margin=0.3), tmp_path)
    assert artifact.metrics["cut"]["side"] == 100 and artifact.metrics["cut"]["region"] == [
        70,
        10,
        160,
        160,
    ]


def test_a_video_that_is_too_short_is_invalid(raw, tmp_path):
    folder, _ = raw("constant")
    source = celebvhq(folder, {f"{VIDEO}_0": celebvhq_entry(VIDEO, 4, 9, bbox=ALL)}, min_side=0)
    with pytest.raises(Invalid, match="ends_early"):
        cut(source, tmp_path)
    for size in ((320, 180), (640, 360)):
        texts = {f"Clip+{VIDEO}+P0+C0+F100-160": vfhq_text(VIDEO, 25.0, (0, 0, 320, 180), size)}
        with pytest.raises(Invalid, match="ends_early"):
            cut(vfhq(folder, texts, min_side=0), tmp_path)
