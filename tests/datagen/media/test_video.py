"""Videos whose frames carry their number as black and white blocks: what is read is the frame that
was asked for.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datagen.core.errors import Invalid
from datagen.media import video
from tests.conftest import MEDIA

cv2.setNumThreads(1)

needs_media = pytest.mark.skipif(
    not MEDIA.is_dir(), reason="the folder shared/media with real videos is not here"
)
NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)


def numbered(number: int, height: int = 64, width: int = 128) -> np.ndarray:
    """A picture [H, W, 3] of 2 x 4 blocks that are the bits of `number` < 256."""
    bits = np.array([number >> i & 1 for i in range(8)], np.uint8).reshape(2, 4)
    grey = cv2.resize(bits * 200 + 25, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(grey[..., None], 3, axis=2)


def number_of(rgb: np.ndarray) -> int:
    grey = cv2.resize(rgb[..., 1], (4, 2), interpolation=cv2.INTER_AREA)
    return sum(int(bit) << i for i, bit in enumerate((grey > 125).ravel()))


def burn(
    path: Path, times, codec="libx264", options=None, size=(64, 128), pix_fmt="yuv420p", setup=None
):
    """Writes one numbered picture for each of the times (s, exact fractions)."""
    options = (
        options if options is not None else {"crf": "20", "g": "24"} if codec == "libx264" else {}
    )
    base = Fraction(1, 50 if codec == "mpeg4" else 90000)
    with av.open(
        str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}
    ) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = base
        if setup:
            setup(stream)
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
            picture.pts, picture.time_base = round(time / base), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def regular(count: int, fps, offset=0) -> list[Fraction]:
    return [Fraction(offset) + n / Fraction(fps) for n in range(count)]


def numbers(path: Path, span=None, **options) -> list[int]:
    return [number_of(frame.rgb) for frame in video.read(path, span, **options)]


FAST_VP9 = {"g": "24", "deadline": "realtime", "cpu-used": "8"}
FILES = {
    "mp4": dict(suffix=".mp4", fps=25),
    "mp4_without_b": dict(suffix=".mp4", fps=25, options={"bf": "0", "g": "30"}),
    "mp4_many_b": dict(suffix=".mp4", fps=30, options={"bf": "8", "g": "250", "b-adapt": "0"}),
    "mp4_open_gop": dict(
        suffix=".mp4", fps=25, options={"x264-params": "open-gop=1:bframes=3:keyint=20"}
    ),
    "mp4_ntsc": dict(suffix=".mp4", fps=NTSC),
    "mp4_film_offset": dict(suffix=".mp4", fps=FILM, offset=3),
    "mkv_ntsc": dict(suffix=".mkv", fps=NTSC),
    "mkv_offset": dict(suffix=".mkv", fps=25, offset=Fraction(7, 2)),
    "ts": dict(suffix=".ts", fps=50),
    "webm": dict(suffix=".webm", fps=FILM, codec="libvpx-vp9", options=FAST_VP9),
    "mpeg4_avi": dict(suffix=".avi", fps=25, codec="mpeg4", options={"g": "12"}),
}


@pytest.mark.parametrize("name", FILES)
def test_spans_begin_and_end_on_the_frame(name, tmp_path):
    file = dict(FILES[name])
    fps, offset = Fraction(file.pop("fps")), file.pop("offset", 0)
    path = burn(tmp_path / f"a{file.pop('suffix')}", regular(100, fps, offset), **file)
    assert numbers(path) == list(range(100))
    for first, last in [(0, 1), (3, 20), (47, 49), (60, 100), (99, 100)]:
        span = float((first - Fraction(1, 4)) / fps), float((last - Fraction(1, 4)) / fps)
        assert numbers(path, span) == list(range(first, last)), (first, last)
    times = [frame.time for frame in video.read(path, (float(60 / fps) - 0.01, 99))]
    assert np.abs(np.array(times) - [float(n / fps) for n in range(60, 100)]).max() < 0.00101


def test_a_span_beyond_the_end_is_empty_not_damaged(tmp_path):
    path = burn(tmp_path / "a.mp4", regular(50, 25))
    assert numbers(path, (5.0, 6.0)) == []


def test_times_come_from_timestamps(tmp_path):
    times = np.cumsum([0] + [Fraction(1 + n % 5, 50) for n in range(59)]).tolist()
    path = burn(tmp_path / "a.mp4", times)
    assert [frame.time for frame in video.read(path)] == pytest.approx(
        [float(t) for t in times], abs=1e-4
    )
    assert numbers(path, (float(times[40]), float(times[44]))) == [40, 41, 42, 43]
    steady = list(video.resample(video.read(path), 25))
    assert np.allclose(np.diff([frame.time for frame in steady]), 0.04)
    for frame in steady:
        early = max(n for n, t in enumerate(times) if t <= frame.time + video.EARLY / 25 + 1e-6)
        assert number_of(frame.rgb) == early


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_stand_upright(rotation, mirrored, tmp_path):
    def turn(stream):
        stream.set_display_rotation(rotation, hflip=mirrored)

    path = burn(tmp_path / "a.mp4", regular(6, 25), setup=turn)
    for number, frame in enumerate(video.read(path)):
        upright = np.rot90(numbered(number), rotation // 90)
        upright = upright[:, ::-1] if mirrored else upright
        assert np.abs(frame.rgb.astype(int) - upright).mean() < 8
    probe = video.probe(path)
    assert (probe.width, probe.height) == ((64, 128) if rotation % 180 else (128, 64))


@pytest.mark.parametrize("rotation", [0, 90])
def test_pixels_are_square(rotation, tmp_path):
    def anamorphic(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        stream.set_display_rotation(rotation)

    path = burn(tmp_path / "a.mp4", regular(6, 25), setup=anamorphic)
    height, width = (192, 64) if rotation else (64, 192)
    assert next(video.read(path)).rgb.shape == (height, width, 3)
    assert (video.probe(path).width, video.probe(path).height) == (width, height)
    assert max(next(video.read(path, max_side=96)).rgb.shape) == 96


def test_ten_bit_and_odd_sides(tmp_path):
    ten = burn(tmp_path / "ten.mp4", regular(10, 25), pix_fmt="yuv420p10le")
    odd = burn(
        tmp_path / "odd.webm", regular(10, 25), codec="libvpx-vp9", size=(63, 127), options=FAST_VP9
    )
    assert numbers(ten) == numbers(odd) == list(range(10))
    assert next(video.read(odd)).rgb.shape == (63, 127, 3)


@pytest.mark.parametrize(
    "source, expected", [(25, range(50)), (50, range(0, 100, 2)), (100, range(1, 200, 4))]
)
def test_resampling_whole_multiples_never_wavers(source, expected):
    rng = np.random.default_rng(0)
    count = 50 * source // 25
    # Matroska rounds to milliseconds
    times = [round(n / source + rng.uniform(-4e-4, 4e-4), 3) for n in range(count)]
    shown = [
        int(frame.rgb)
        for frame in video.resample((video.Frame(t, n) for n, t in enumerate(times)), 25)
    ]
    assert shown[:50] == list(expected)[:50]


def test_resampling_repeats_and_leaves_out():
    slow = [int(f.rgb) for f in video.resample((video.Frame(n / 5, n) for n in range(4)), 25)]
    assert slow == [0] * 5 + [1] * 5 + [2] * 5 + [3]
    film = [
        int(f.rgb)
        for f in video.resample((video.Frame(3 + n / 30, n) for n in range(60)), 25, start=3)
    ]
    assert len(film) == 50 and all(0 < b - a < 3 for a, b in pairwise(film))


def test_our_files_are_exact_by_index_and_the_same_every_time(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with video.Writer(tmp_path / name, 25, metadata={"key": "value"}) as writer:
            for number in range(120):
                writer.write(numbered(number))
    assert writer.count == 120
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert [number_of(rgb) for rgb in video.frames(tmp_path / "a.mp4")] == list(range(120))
    wanted = [110, 3, 4, 25, 26, 0, 3, 119, 49, 50]
    assert [number_of(rgb) for rgb in video.at_indices(tmp_path / "a.mp4", wanted)] == wanted
    for index in (120, -1):
        with pytest.raises(IndexError):
            video.at_indices(tmp_path / "a.mp4", [2, index])


def test_colours_survive_a_generation(tmp_path):
    names = ["ff0000", "00ff00", "0000ff", "ffffff", "000000", "808080", "c89678", "3c5a1e"]
    colours = [tuple(bytes.fromhex(name)) for name in names]
    picture = np.repeat(np.repeat(np.uint8([colours]), 64, axis=0), 64, axis=1)
    with video.Writer(tmp_path / "a.mp4", 25, crf=4) as writer:
        for _ in range(3):
            writer.write(picture)
    for options in ({}, {"max_side": 256}):
        rgb = next(video.read(tmp_path / "a.mp4", **options)).rgb
        step = rgb.shape[1] // 8
        seen = rgb[rgb.shape[0] // 2, step // 2 :: step].astype(int)
        assert np.abs(seen - colours).max() <= 2


def test_what_is_no_video_says_why(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(Invalid, match=f"unreadable: {name}"):
            video.probe(tmp_path / name)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 2048), np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(Invalid, match="no_video"):
        video.probe(tmp_path / "sound.mp4")
    with pytest.raises(FileNotFoundError):
        video.probe(tmp_path / "absent.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_cut_off_is_damaged(suffix, tmp_path):
    path = burn(tmp_path / f"a{suffix}", regular(200, 25), options={"crf": "10"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(Invalid, match="damaged"):
        list(video.read(path))
    assert numbers(path, (0.0, 1.0)) == list(range(25))  # a span before the damage is fine


@needs_media
@pytest.mark.parametrize(
    "name, reason",
    [
        ("truncated_faststart", "damaged"),
        ("corrupted_middle", "damaged"),
        ("zero_byte", "unreadable"),
        ("text_renamed", "unreadable"),
        ("audio_only", "no_video"),
    ],
)
def test_broken_files_are_invalid(name, reason):
    with pytest.raises(Invalid) as error:
        list(video.read(MEDIA / "bad" / f"{name}.mp4"))
    assert error.value.reason == reason


@needs_media
@pytest.mark.parametrize(
    "name, shape, count",
    [
        ("rotated_90_metadata", (320, 240, 3), 50),
        ("odd_511x383_vp9", (383, 511, 3), 40),
        ("ten_bit_h264", (256, 256, 3), 50),
        ("variable_frame_rate", (256, 256, 3), 50),
        ("audio_longer_than_video", (256, 256, 3), 75),
        ("one_frame", (256, 256, 3), 1),
    ],
)
def test_awkward_files_are_read_whole(name, shape, count):
    shapes = [frame.rgb.shape for frame in video.read(MEDIA / "bad" / f"{name}.mp4")]
    assert shapes == [shape] * count
