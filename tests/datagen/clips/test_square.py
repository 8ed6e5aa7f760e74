"""Shots to the frame, tracks on made-up boxes, clips of real videos where they are at hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datagen.clips.square import Clips
from datagen.core.errors import Invalid, Reject
from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.shots.adaptive import Shots, pieces, shots
from datagen.vision.crop import Crop, crop_of
from datagen.vision.track import Track, main_track, tracks
from tests.conftest import MEDIA

cv2.setNumThreads(1)

needs_media = pytest.mark.skipif(
    not MEDIA.is_dir(), reason="the folder shared/media with real videos is not here"
)
PORTRAIT = MEDIA / "portraits" / "p01_astronaut_512.png"


def clip_of(path: Path, span=None) -> Clip:
    return Clip(key="a", source={}, span=span, artifacts={"source": Artifact(path)})


def scenery(seed: int, shift: int) -> np.ndarray:
    """A soft random picture [96, 160, 3] that moves to the side."""
    noise = np.random.default_rng(seed).integers(0, 256, (96, 260, 3), dtype=np.uint8)
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 8), None, 0, 255, cv2.NORM_MINMAX)
    return soft[:, shift : shift + 160]


def film(path: Path, lengths: list[int], times: list[Fraction] | None = None) -> list[float]:
    """Writes shots of these lengths (frames); returns the times of all frames (default 25 fps)."""
    times = times or [Fraction(n, 25) for n in range(sum(lengths))]
    pictures = [
        scenery(seed, n % 100) for seed, length in enumerate(lengths) for n in range(length)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [float(time) for time in times]


@pytest.mark.parametrize(
    "lengths", [[40], [30, 45], [1, 40, 25], [2, 30, 12, 20, 1], [25, 25, 25, 2]]
)
def test_hard_cuts_are_found_to_the_frame(lengths, tmp_path):
    times = film(tmp_path / "a.mp4", lengths)
    starts = [times[n] for n in np.cumsum([0, *lengths[:-1]])]
    expected = list(zip(starts, [*starts[1:], times[-1] + 0.04], strict=True))
    assert np.allclose(shots(tmp_path / "a.mp4"), expected, atol=1e-4)


def test_cuts_of_a_variable_frame_rate_lie_at_timestamps(tmp_path):
    times = np.cumsum([0] + [Fraction(1 + n % 4, 50) for n in range(59)]).tolist()
    film(tmp_path / "a.mp4", [22, 38], times)
    found = shots(tmp_path / "a.mp4")
    assert [start for start, _ in found] == pytest.approx([0.0, float(times[22])], abs=1e-4)


def test_a_span_is_searched_alone(tmp_path):
    times = film(tmp_path / "a.mp4", [30, 30, 30])
    found = shots(tmp_path / "a.mp4", (times[20], times[50]))
    assert np.allclose(found, [(times[20], times[30]), (times[30], times[50])], atol=1e-4)


def test_pieces_are_even_and_join():
    assert pieces((1.0, 11.0), 10.0) == [(1.0, 11.0)]
    assert pieces((0.0, 10.5), 4.0) == [(0.0, 3.5), (3.5, 7.0), (7.0, 10.5)]


def test_shots_lists_what_is_long_enough(tmp_path):
    film(tmp_path / "a.mp4", [60, 10, 40])
    artifact = Shots(min_seconds=1.0, max_seconds=1.5)(clip_of(tmp_path / "a.mp4"), tmp_path)
    spans = artifact.metrics["spans"]
    assert np.allclose(spans, [(0, 1.2), (1.2, 2.4), (2.8, 3.6), (3.6, 4.4)], atol=1e-4)
    assert artifact.metrics["short"] == 1 and artifact.metrics["size"] == [160, 96]
    with pytest.raises(Reject, match="too_short"):
        Shots(min_seconds=5.0)(clip_of(tmp_path / "a.mp4"), tmp_path)


def boxes_at(*centres: tuple[float, float], side: float = 40) -> np.ndarray:
    return np.float32(
        [(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres]
    ).reshape(-1, 4)


def test_a_track_survives_a_short_miss_and_ends_at_a_long_one():
    times = [0.1 * n for n in range(30)]
    faces = [
        boxes_at((100 + 5 * n, 80)) if n not in {4, 5} and n < 12 or n > 20 else boxes_at()
        for n in range(30)
    ]
    first, second = tracks(times, faces)
    assert len(first.times) == 12 and len(second.times) == 9
    assert np.allclose(
        first.centres[:, 0], 100 + 5 * np.arange(12), atol=1e-3
    )  # the misses are filled in


def test_faces_that_pass_each_other_keep_their_tracks():
    times = [0.1 * n for n in range(20)]
    faces = [boxes_at((100 + 3 * n, 80), (400 - 4 * n, 90), side=50) for n in range(20)]
    found = tracks(times, [boxes[:: 1 if n % 2 else -1] for n, boxes in enumerate(faces)])
    assert len(found) == 2
    assert all(np.ptp(np.diff(track.centres[:, 0])) < 1e-3 for track in found)


def test_the_main_face_is_large_and_long():
    times = [0.1 * n for n in range(20)]
    faces = [
        np.concatenate([boxes_at((60, 60), side=30), boxes_at((200, 60), side=50)])
        for _ in range(20)
    ]
    faces[3] = np.concatenate([faces[3], boxes_at((400, 200), side=150)])
    assert main_track(tracks(times, faces)).sides == pytest.approx(50)
    twins = [boxes_at((60, 60), (200, 60)) for _ in range(20)]
    assert main_track(tracks(times, twins)).centres[0, 0] == 60


def track_at(centres, side=100.0) -> Track:
    return Track(np.arange(len(centres)) * 0.08, boxes_at(*centres, side=side))


def test_a_crop_rests_stays_inside_and_takes_all_when_nearly_all():
    crop = crop_of(track_at([(100 + n % 5, 110) for n in range(50)]), (1280, 720), margin=2.3)
    assert crop.side == 230 and np.ptp(crop.centres, axis=0).max() == 0
    assert (crop.centres[0] >= 115).all()
    assert crop_of(track_at([(256, 250)] * 20, side=205), (512, 512), 2.3).side == 512


def test_a_crop_follows_a_traveller_without_cutting_the_face():
    track = track_at([(150 + 12 * n, 300 + 4 * (n % 2)) for n in range(80)])
    crop = crop_of(track, (1280, 720), margin=2.3)
    assert crop.side == 230 and (np.abs(crop.centres - track.centres) < 65).all()
    steps = np.diff(crop.centres[10:-10], axis=0)
    assert np.abs(steps[:, 0] - 12).max() < 1 and np.abs(steps[:, 1]).max() < 0.1


def test_a_face_larger_than_the_frame_is_not_cut():
    crop = crop_of(track_at([(320, 150)] * 20, side=400), (640, 300), margin=2.3)
    assert crop.side == 400 and crop.centres[0, 1] == 150


def test_a_whole_crop_is_the_picture_itself():
    picture = scenery(0, 0)[:, :96]
    still = Crop(96, np.zeros(1), np.full((1, 2), 48.0), (96, 96))
    assert (still.cut(video.Frame(0.0, picture), 96) == picture).all()
    larger = Crop(128, np.zeros(1), np.full((1, 2), 48.0), (96, 96)).cut(
        video.Frame(0.0, picture), 128
    )
    assert (larger[16:112, 16:112] == picture).all() and (larger[:16, 16:112] == picture[:1]).all()
    moved = Crop(64, np.zeros(1), np.array([[40.0, 50.0]]), (96, 96))
    assert (moved.cut(video.Frame(0.0, picture), 64) == picture[18:82, 8:72]).all()


@needs_media
def test_a_face_is_cut_out_between_other_shots(tmp_path):
    portrait = cv2.imread(str(PORTRAIT))[..., ::-1]
    with video.Writer(tmp_path / "a.mp4", 25) as writer:
        for n in range(90):
            shown = portrait if 20 <= n < 70 else cv2.resize(scenery(n // 70, n % 50), (512, 512))
            writer.write(np.roll(shown, n % 3, axis=0))
    artifact = Clips()(clip_of(tmp_path / "a.mp4"), tmp_path)
    assert artifact.metrics["span"] == [0.8, 2.8]
    assert artifact.metrics["frames"] == 50 and artifact.metrics["shots"] == 3
    written = list(video.frames(artifact.path))
    assert len(written) == 50 and written[0].shape == (512, 512, 3)
    again = Clips()(clip_of(tmp_path / "a.mp4", (0.8, 2.8)), tmp_path)
    assert [frame.tobytes() for frame in video.frames(again.path)] == [
        frame.tobytes() for frame in written
    ]


@needs_media
@pytest.mark.parametrize(
    "name, span, expected",
    [
        (
            "c01_bookshelf_talk_1682x1538",
            (1.0, 3.0),
            {"frames": 50, "crop_px": 1538, "faces": 1, "other_faces": 0.0},
        ),
        (
            "c07_vertical_lake_480x908",
            None,
            {"frames": 247, "shots": 1, "moves": 0.0, "coverage": 1.0},
        ),
        (
            "c13_four_face_strip_2056x516",
            (0.0, 1.6),
            {"frames": 40, "crop_px": 516, "other_faces": 1.0},
        ),
        ("c15_squats_5fps_720x1280", (0.0, 5.0), {"source_fps": 5.0, "other_faces": 0.0}),
        ("c17_hand_before_face_1280x720", (0.0, 2.0), {"frames": 40, "span": [0.4, 2.0]}),
    ],
)
def test_real_videos(name, span, expected, tmp_path):
    artifact = Clips()(clip_of(MEDIA / "clips" / f"{name}.mp4", span), tmp_path)
    assert {key: artifact.metrics[key] for key in expected} == expected
    if name.startswith("c15"):
        assert (
            artifact.metrics["unique_fps"] < 6
            and artifact.metrics["face_px"] < 90
            and artifact.metrics["moves"] > 0.5
        )
    if name.startswith("c13"):
        assert artifact.metrics["faces"] >= 4


@needs_media
@pytest.mark.parametrize(
    "name, end", [("c01_bookshelf_talk_1682x1538", 6.0), ("c13_four_face_strip_2056x516", 5.96)]
)
def test_a_talk_is_one_shot(name, end):
    assert shots(MEDIA / "clips" / f"{name}.mp4") == [(0.0, pytest.approx(end))]


@needs_media
@pytest.mark.parametrize(
    "name, error, reason",
    [
        ("black", Reject, "no_face"),
        ("noface_landscape", Reject, "no_face"),
        ("one_frame", Reject, "too_short"),
        ("zero_byte", Invalid, "unreadable"),
        ("text_renamed", Invalid, "unreadable"),
        ("audio_only", Invalid, "no_video"),
        ("truncated_faststart", Invalid, "damaged"),
        ("corrupted_middle", Invalid, "damaged"),
    ],
)
def test_useless_videos_say_why(name, error, reason, tmp_path):
    with pytest.raises(error) as raised:
        Clips()(clip_of(MEDIA / "bad" / f"{name}.mp4"), tmp_path)
    assert type(raised.value) is error and raised.value.reason == reason


@needs_media
@pytest.mark.parametrize(
    "name, frames",
    [
        ("rotated_90_metadata", 50),
        ("odd_511x383_vp9", 40),
        ("ten_bit_h264", 50),
        ("audio_longer_than_video", 75),
    ],
)
def test_awkward_videos_are_kept_whole(name, frames, tmp_path):
    artifact = Clips()(clip_of(MEDIA / "bad" / f"{name}.mp4"), tmp_path)
    assert artifact.metrics["frames"] == frames and artifact.metrics["coverage"] == 1.0
