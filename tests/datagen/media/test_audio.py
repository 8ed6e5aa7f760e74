"""A written video has the other file's sound, at the moments at which it sounds there, whatever
codec and container.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from datagen.media import video
from datagen.media.audio import SoundWriter
from tests.faults import leftovers

BEEPS = (0.5, 1.0, 3.0)  # s


def talkie(
    path: Path, codec="aac", rate=48000, seconds=2.0, layout="stereo", pictures_at=0.0, sound_at=0.0
) -> Path:
    """Fifty pictures at 25 frames/s, and a tone of 0.1 s at each of the BEEPS."""
    time = np.arange(int(seconds * rate)) / rate
    tone = (
        sum((time >= beep) & (time < beep + 0.1) for beep in BEEPS)
        * 0.5
        * np.sin(2 * np.pi * 1000 * time)
    )
    samples = np.repeat(tone[None].astype(np.float32), len(av.AudioLayout(layout).channels), axis=0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        for n in range(50):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), n, np.uint8), format="rgb24")
            picture.pts, picture.time_base = round(n + pictures_at * 25), Fraction(1, 25)
            container.mux(stream.encode(picture))
        for begin in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                begin + round(sound_at * rate),
                Fraction(1, rate),
            )
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
        container.mux(stream.encode())
    return path


def heard(path: Path) -> tuple[float, list[float]]:
    """(s at which the sound ends, s at which tones begin) by the clock of the file's pictures."""
    origin = video.probe(path).start
    moments, end = [], 0.0
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        mono = av.AudioResampler("flt", "mono", stream.rate)
        for frame in container.decode(stream):
            samples = np.concatenate([part.to_ndarray()[0] for part in mono.resample(frame)])
            begin = frame.time - origin
            moments += (begin + np.flatnonzero(np.abs(samples) > 0.1) / stream.rate).tolist()
            end = begin + len(samples) / stream.rate
    return end, moments[:1] + [
        later for earlier, later in pairwise(moments) if later - earlier > 0.2
    ]


def copied(source: Path, path: Path) -> Path:
    with SoundWriter(path, 25, source) as writer:
        for frame in video.read(source):
            writer.write(frame.rgb)
    assert writer.count == 50
    return path


@pytest.mark.parametrize(
    "name, options",
    [
        ("plain.mp4", {}),
        ("plain.mkv", {}),
        ("plain.ts", {}),
        ("opus.webm.mkv", {"codec": "libopus"}),
        ("mp3.avi", {"codec": "libmp3lame"}),
        ("raw.mov", {"codec": "pcm_s16le", "rate": 11025, "layout": "mono"}),
        ("fine.mkv", {"codec": "flac", "rate": 96000}),
        ("around.mp4", {"layout": "5.1"}),
        ("around.mkv", {"codec": "pcm_s16le", "layout": "5.1"}),
        ("late.mp4", {"sound_at": 0.3}),
        ("late.mkv", {"codec": "libopus", "sound_at": 0.3}),
        ("early.mkv", {"pictures_at": 0.4}),
        ("early-raw.mkv", {"codec": "pcm_s16le", "pictures_at": 0.4}),
    ],
)
def test_tones_are_heard_at_the_same_pictures(name, options, tmp_path):
    source = talkie(tmp_path / name, **options)
    before, tones = heard(source)
    after, kept = heard(copied(source, tmp_path / "out.mp4"))
    assert len(tones) == 2 and kept == pytest.approx(tones, abs=0.003)
    assert after == pytest.approx(min(before, 2.0), abs=0.03)


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_the_sound_ends_with_the_pictures(codec, tmp_path):
    source = talkie(tmp_path / "long.mkv", codec, seconds=9.0)
    assert heard(source)[0] == pytest.approx(9.0, abs=0.03) and len(heard(source)[1]) == 3
    end, tones = heard(copied(source, tmp_path / "out.mp4"))
    assert end == pytest.approx(2.0, abs=0.03) and len(tones) == 2
    assert video.probe(tmp_path / "out.mp4").seconds == 2.0


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_a_short_sound_stays_short_and_bytes_are_the_same(codec, tmp_path):
    source = talkie(tmp_path / "short.mkv", codec, seconds=0.8)
    first, second = (copied(source, tmp_path / name) for name in ("a.mp4", "b.mp4"))
    assert heard(first)[0] == pytest.approx(0.8, abs=0.04)
    assert first.read_bytes() == second.read_bytes()


def test_a_silent_file_stays_silent(tmp_path):
    with video.Writer(tmp_path / "silent.mp4", 25) as writer:
        for n in range(50):
            writer.write(np.full((64, 64, 3), n, np.uint8))
    assert not video.probe(copied(tmp_path / "silent.mp4", tmp_path / "out.mp4")).has_audio


def test_a_gap_in_the_sound_stays_a_gap(tmp_path):
    """The second tone's packets lie half a second later than they follow each other."""
    source, path = talkie(tmp_path / "whole.mkv", "pcm_s16le"), tmp_path / "gap.mkv"
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        streams = {stream: container.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.pts is None:
                continue
            if packet.stream.type == "audio" and packet.pts * packet.time_base > 0.8:
                packet.pts = packet.dts = packet.pts + round(Fraction(1, 2) / packet.time_base)
            packet.stream = streams[packet.stream]
            container.mux(packet)
    assert heard(path)[1] == pytest.approx([0.5, 1.5], abs=0.003)
    assert heard(copied(path, tmp_path / "out.mp4"))[1] == pytest.approx([0.5, 1.5], abs=0.003)


def test_an_error_closes_both_files(tmp_path):
    source = talkie(tmp_path / "plain.mp4")
    with pytest.raises(ZeroDivisionError), SoundWriter(tmp_path / "out.mp4", 25, source) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
        raise ZeroDivisionError
    (tmp_path / "out.mp4").unlink()
    assert not leftovers(tmp_path)
