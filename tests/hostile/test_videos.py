"""Videos whose headers lie, or that are something else: refused in a word, without memory for what
they claim.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import numpy as np
import pytest
from hypothesis import given

from datagen.core.errors import Invalid, UserError
from datagen.core.limits import MAX_SIDE
from datagen.download.answers import Incomplete
from datagen.download.check import inspect
from datagen.media import mp4_tables as claims
from datagen.media import video
from datagen.media.mp4_tables import refuse_claims
from datagen.shots.adaptive import Shots
from datagen.stats import films
from model.inputs import driving_video
from tests.hostile import EXAMPLES, MIB, box, confined, film, fuzzing, lying, spoilt
from tests.hostile.watchers import clip_of, refusals, watched
from training.data import decode

SAMPLES = (
    80_000_000  # of which FFmpeg made an index of 1.9 GB in two seconds, out of a file of two kB
)


def reasons(path) -> set[str]:
    """What all readers of videos say of a file: its reason, the same with each."""
    found = set(refusals(path).values())
    assert "" not in found, "it was read"
    return found


def header(width: int, height: int, rate: str = "25:1") -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C420\n".encode()


def picture(width: int = 64, height: int = 64) -> bytes:
    return b"FRAME\n" + bytes(width * height * 3 // 2)


@pytest.mark.parametrize(
    "data",
    [
        lying(b"stsz", 1, SAMPLES),
        lying(b"stsz", 0, SAMPLES),
        lying(b"stsz", 1, 10**9),
        lying(b"stsz", 1, 2**32 - 1),
        film() + box(b"moof", box(b"traf", box(b"trun", struct.pack(">2I", 0, SAMPLES)))),
        lying(b"elst", 2**31) + box(b"free", bytes(64)),
    ],
    ids=["of one byte", "of a table", "10^9", "2^32", "in a fragment", "edits"],
)
def test_more_samples_than_lie_in_the_file(data, tmp_path):
    (tmp_path / "a.mp4").write_bytes(data)
    assert reasons(tmp_path / "a.mp4") == {"too_large"}
    with pytest.raises(Incomplete, match="too_large"):
        inspect(tmp_path / "a.mp4")
    with pytest.raises(decode.Unreadable, match="claims"):
        decode.decode_frames(data, [0])
    with (
        open(tmp_path / "a.mp4", "rb") as file,
        pytest.raises(Invalid),
        films.reader(file.fileno(), 0, len(data)),
    ):
        pass


def test_tables_are_found_wherever_they_are_nested():
    table = box(b"stsz", struct.pack(">3I", 0, 1, SAMPLES))
    for data in (
        box(b"ftyp", bytes(8)) + struct.pack(">I", 2**31) + b"moov" + table,  # longer than the file
        box(b"ftyp", bytes(8)) + struct.pack(">I4sQ", 1, b"moov", 16 + len(table)) + table,
        box(b"ftyp", bytes(8)) + struct.pack(">I", 0) + b"moov" + box(b"udta", box(b"wide", table)),
        box(b"free", bytes(MIB - 20)) + box(b"moov", table),  # over the end of what is read at once
    ):
        with pytest.raises(Invalid, match="claims"):
            refuse_claims(io.BytesIO(data), "a")


def test_long_films_with_plain_sound_and_words_like_tables_pass():
    words = box(b"udta", b"a trunk, a trakker, an elst, twelve stsz words")
    count = 48000 * 10_000  # of a sound of two bytes each: in the file there is as much
    sound = b"".join(
        [
            box(b"hdlr", bytes(8), b"soun"),
            box(b"stts", struct.pack(">4I", 0, 1, count, 1)),
            box(b"stsz", struct.pack(">3I", 0, 2, count)),
            box(b"stsc", struct.pack(">5I", 0, 1, 1, 48000, 1)),
            box(b"stco", struct.pack(">2I", 0, 10_000), bytes(40_000)),
        ]
    )
    pictures = box(b"stsz", struct.pack(">3I", 0, 0, 10 * 3600 * 60), bytes(80))
    head = box(b"moov", box(b"trak", pictures), box(b"trak", sound), words)

    class Long(io.BytesIO):
        """As if the sound's bytes lay behind."""

        def seek(self, place: int, whence: int = 0) -> int:
            return super().seek(place, whence) if whence == 0 else 2 * count

    refuse_claims(Long(head), "a")
    refuse_claims(io.BytesIO(film()), "a")


@pytest.mark.parametrize(
    ("width", "height"), [(100_000, 100_000), (16000, 16000), (MAX_SIDE + 2, 16), (16, 60000)]
)
def test_pictures_that_fill_the_memory(width, height, tmp_path):
    (tmp_path / "a.y4m").write_bytes(header(width, height) + b"FRAME\n" + bytes(100_000))
    assert reasons(tmp_path / "a.y4m") <= {"too_large", "unreadable"}


def test_a_size_that_is_claimed_by_the_container_alone(tmp_path):
    place = film().index(b"avc1", film().index(b"stsd")) + 28
    data = bytearray(film())
    struct.pack_into(">2H", data, place, 65000, 65000)
    (tmp_path / "a.mp4").write_bytes(data)
    ending = confined(
        lambda: sum(frame.rgb.size for frame in video.read(tmp_path / "a.mp4")), Invalid
    )
    assert ending.refusal or ending.value == 10 * 64 * 64 * 3


def test_pixels_that_are_longer_than_a_picture(tmp_path):
    data = b"YUV4MPEG2 W64 H64 F25:1 Ip A100000:1 C420\n" + picture()
    (tmp_path / "a.y4m").write_bytes(data)
    assert reasons(tmp_path / "a.y4m") == {"too_large"}


def test_8k_passes(tmp_path):
    path = tmp_path / "8k.y4m"
    with path.open("wb") as file:
        file.write(header(7680, 4320) + b"FRAME\n")
        file.truncate(file.tell() + 7680 * 4320 * 3 // 2)
    ending = confined(
        lambda: [frame.rgb.shape for frame in video.read(path, None, 640)], mebibytes=500
    )
    assert ending.value == [(360, 640, 3)]
    assert confined(lambda: video.probe(path), mebibytes=500).value.width == 7680


def slow(path, seconds: float, count: int = 2, codec: str = "libx264") -> None:
    """So many frames, so many seconds apart."""
    with av.open(str(path), "w") as container:
        encoder = container.add_stream(codec, rate=25)
        encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
        encoder.codec_context.time_base = Fraction(1, 1000 if codec == "libx264" else 25)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8), "rgb24")
            frame.pts, frame.time_base = round(number * seconds * 1000), Fraction(1, 1000)
            container.mux(encoder.encode(frame))
        container.mux(encoder.encode())


RATES = ("1:1000000000", "1:200000", "1000000000:1")


@pytest.fixture(scope="module")
def rated(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Rate -> reader -> its refusal of a film of this rate."""
    folder = tmp_path_factory.mktemp("rated")
    for number, rate in enumerate(RATES):
        (folder / f"{number}.y4m").write_bytes(header(64, 64, rate) + 30 * picture())
    return dict(zip(RATES, watched(sorted(folder.iterdir())), strict=True))


@pytest.mark.parametrize("rate", RATES[:2])
def test_a_film_that_lasts_for_years(rate, rated):
    found = rated[rate]
    assert {found[name] for name in ("times", "read", "shots", "clips")} == {"too_long"}
    assert f"cannot drive: {RATES.index(rate)}.y4m has 1 pictures or more up to" in found["look"]


def test_a_rate_that_no_camera_has(rated):
    found = rated[RATES[2]]
    assert found["stream"] and found["clips"] and found["look"]
    assert not found["read"]


def test_films_of_hours_pass(tmp_path):
    slow(tmp_path / "a.mkv", 3600.0, 12)
    assert video.times(tmp_path / "a.mkv")[-1] == 11 * 3600
    assert len(Shots()(clip_of(tmp_path / "a.mkv"), tmp_path).metrics["spans"]) == pytest.approx(
        12 * 360, abs=400
    )


def test_pauses_do_not_become_frames(tmp_path, monkeypatch):
    """Most pictures a millisecond apart, so that the rate is high, and a pause of a day."""
    times = np.concatenate([np.arange(50) / 999, 86000 + np.arange(50) / 999])
    monkeypatch.setattr(driving_video, "_watch", lambda *_: (times, None))
    monkeypatch.setattr(
        driving_video, "_meshes", lambda *_: [np.random.default_rng(0).random((478, 3))] * 100
    )
    (tmp_path / "a.mp4").write_bytes(film())
    assert (
        "convert it first"
        in confined(
            lambda: driving_video.analyze_driving_video(tmp_path / "a.mp4"), UserError
        ).refusal
    )


LISTS = {
    "concat": "ffconcat version 1.0\nfile {name}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/{name}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    "<AdaptationSet>"
    '<Representation id="1" mimeType="video/mp4">'
    "<BaseURL>{address}/{name}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP "
    "96\n",
    "reference": "RTSPtext\n{address}/{name}\n",
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".mpd"])
def test_a_list_of_other_files_or_addresses_is_no_video(kind, suffix, tmp_path):
    """Nothing beside the file is opened: no request comes, no film is found."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_) -> None: ...

    (tmp_path / "film.mp4").write_bytes(film())
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    try:
        path = tmp_path / f"list{suffix}"
        path.write_text(
            LISTS[kind].format(name="film.mp4", address=f"http://127.0.0.1:{server.server_port}")
        )
        with pytest.raises(Invalid, match="unreadable"):
            video.probe(path)
        with pytest.raises(Incomplete):
            inspect(path)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_names_are_no_protocols_and_no_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.mp4", "concat:a.mp4|b.mp4", "pipe:0", "a%03d.mp4", "-i.mp4", "12:30.mp4"):
        (tmp_path / name).write_bytes(film())
        assert video.probe(name).width == 64


@pytest.mark.parametrize(
    "text", [b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"GIF89a", b""]
)
def test_pictures_and_words_are_no_videos(text, tmp_path):
    (tmp_path / "a.mp4").write_bytes(text)
    assert reasons(tmp_path / "a.mp4") <= {"unreadable", "no_video", "no_frames", "damaged"}


def test_rows_of_boxes_end(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(box(b"ftyp", bytes(8)))
    os.truncate(path, 128 * MIB)  # boxes of no size
    assert confined(lambda: video.probe(path), Invalid).refusal
    path.write_bytes(box(b"ftyp", bytes(8)) + box(b"free", b"\0trak\0" * 100_000))
    assert confined(lambda: video.probe(path), Invalid).refusal
    monkeypatch.setattr(claims, "MAX_BOXES", 50_000)
    assert confined(lambda: video.probe(path), Invalid).refusal.startswith("Invalid: too_large")


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts", "flv"])
def test_spoilt_films(kind, examples, tmp_path):
    """A spoilt film is read, or refused by Invalid; in memory too."""
    path, made = tmp_path / f"a.{kind}", film()
    if kind != "mp4":
        slow(path, 0.04, 10, "mpeg4" if kind == "avi" else "libx264")
        made = path.read_bytes()

    @fuzzing(examples)
    @given(spoilt(made))
    def read(data):
        path.write_bytes(data)
        with contextlib.suppress(Invalid):
            video.probe(path)
        with contextlib.suppress(Invalid):
            video.times(path)
        for span in (None, (0.2, 0.3)):
            with contextlib.suppress(Invalid):
                list(video.read(path, span))
        if kind == "mp4":
            with contextlib.suppress(decode.Unreadable):
                decode.decode_frames(data, [0, 5])

    confined(read, mebibytes=1500, seconds=600)
