"""Videos as phones, cameras, recorders and broadcasters leave them; each with its right value."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from datagen.download.check import inspect
from datagen.media import video
from datagen.shots.adaptive import shots

SIZE = 320, 240
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg(*arguments: object) -> None:
    subprocess.run(
        [FFMPEG, "-y", "-v", "error", *map(str, arguments)], check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Three seconds: grey steps, colours, and a square that moves."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:] = (np.arange(SIZE[0]) * 0.7 + 10).astype(np.uint8)[None, :, None]
    picture[150:200] = np.repeat([(180, 60, 60), (60, 150, 70), (70, 80, 170)], [100, 110, 110], 0)
    with video.Writer(path, 25, crf=10) as writer:
        for number in range(75):
            frame = picture.copy()
            x = 20 + 3 * number
            frame[40:120, x : x + 40] = (205, 160, 140)
            writer.write(frame)
    return path


def means(path: Path) -> np.ndarray:
    """Brightness, its 99th percentile and saturation of a picture."""
    rgb = next(video.frames(path))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    saturation = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1]
    return np.array([grey.mean(), np.percentile(grey, 99), saturation.mean()])


@pytest.mark.parametrize("offset", [1000, 0.1])
def test_a_clock_that_jumps_ends_a_shot(plain, tmp_path, offset):
    """HLS segments, cameras that start anew: forwards, and backwards."""
    for name, at in (("a", 500 if offset < 1 else 0), ("b", offset)):
        ffmpeg("-i", plain, "-c:v", "libx264", "-f", "mpegts", "-output_ts_offset", at,
               tmp_path / f"{name}.ts")  # fmt: skip
    glued = tmp_path / "glued.ts"
    glued.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    found = shots(glued)
    assert [round(end - start, 2) for start, end in found] == [3.0, 3.0]
    for start, end in found:
        assert len(list(video.read(glued, (start, end)))) == 75


def test_a_camera_that_was_off_and_a_low_rate_are_told_apart(tmp_path):
    def written(name: str, times: list[float]) -> Path:
        with video.Writer(tmp_path / name, 25) as writer:
            for number, time in enumerate(times):
                writer.write_at(np.full((64, 64, 3), 100 + number % 2, np.uint8), time)
        return tmp_path / name

    off = [n / 25 for n in range(50)] + [30 + n / 25 for n in range(50)]
    assert [(round(a, 2), round(b, 2)) for a, b in shots(written("off.mp4", off))] == [
        (0.0, 2.0),
        (30.0, 32.0),
    ]
    assert len(shots(written("slow.mp4", [float(n) for n in range(8)]))) == 1


@pytest.mark.parametrize("held", [2500, 40])
def test_a_picture_that_is_held_at_the_end_is_no_damage(tmp_path, held):
    path = tmp_path / "held.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "0"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        packets = []
        for number in range(60):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8))
            picture.pts, picture.time_base = number * 33, Fraction(1, 1000)
            packets += stream.encode(picture)
        packets += stream.encode()
        packets[-1].duration = held
        for packet in packets:
            container.mux(packet)
    assert len(list(video.read(path))) == 60
    assert shots(path)[-1][1] == pytest.approx(60 * 0.033, abs=0.01)


def test_a_file_that_ends_early_is_still_damaged(plain, tmp_path):
    whole = tmp_path / "whole.mkv"
    ffmpeg("-i", plain, "-c", "copy", whole)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    with pytest.raises(video.Invalid, match="damaged"):
        list(video.read(cut))


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "hlg"), ("smpte2084", "pq")])
def test_high_dynamic_range_looks_like_its_original(plain, tmp_path, transfer, name):
    path = tmp_path / "hdr.mov"
    linear = "zscale=tin=bt709:min=bt709:pin=bt709:rin=tv:p=bt709:m=gbr:t=linear,format=gbrpf32le"
    back = f"zscale=pin=bt709:min=gbr:p=bt2020:t={transfer}:m=bt2020nc:r=tv,format=yuv420p10le"
    tags = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:log-level=none"
    try:
        ffmpeg(
            *("-i", plain, "-vf", f"{linear},{back}", "-c:v", "libx265", "-tag:v", "hvc1"),
            *("-x265-params", tags, "-color_primaries", "bt2020", "-color_trc", transfer),
            *("-colorspace", "bt2020nc", path),
        )
    except subprocess.CalledProcessError:
        pytest.skip("this FFmpeg makes no such file")
    # the linear original is encoded by BT.709's own curve, ours shown on a BT.1886 screen
    assert video.probe(path).hdr == name and video.probe(plain).hdr == ""
    assert np.abs(means(path) / means(plain) - 1).max() < 0.12


@pytest.mark.parametrize("is_flagged", [True, False])
def test_interlaced_pictures_are_made_whole(tmp_path, is_flagged):
    lines, fields = 576, 40
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (lines, 1400)).astype(np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    moments = [np.dstack([texture[:, 8 * n : 8 * n + 720]] * 3) for n in range(2 * fields)]
    path = tmp_path / "tv.mkv"
    with av.open(str(path), "w") as container:
        options = {"crf": "10", **({"x264opts": "tff=1"} if is_flagged else {})}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 720, lines, "yuv420p"
        for number in range(fields):
            woven = moments[2 * number].copy()
            woven[1::2] = moments[2 * number + 1][1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(woven)))
        container.mux(stream.encode())
    shown = [frame.rgb for frame in video.read(path)]
    assert len(shown) == fields
    error = [  # of either moment of a frame
        min(np.abs(rgb.astype(int) - moments[2 * number + field]).mean() for field in (0, 1))
        for number, rgb in list(enumerate(shown))[5:-5]
    ]
    woven_error = np.abs(moments[11].astype(int) - moments[10]).mean() / 2
    assert np.mean(error) < 0.4 * woven_error


def test_the_default_stream_is_read_everywhere(plain, tmp_path):
    path = tmp_path / "two.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:320x240:r=25:d=3", "-i", plain, "-map", 0, "-map", 1),
        *("-c:v", "libx264", "-disposition:v:0", 0, "-disposition:v:1", "default", path),
    )
    assert next(video.frames(path)).std() > 20
    assert inspect(path).seconds == pytest.approx(3.0, abs=0.1)
