"""From shards to batches: every stream shows the same moment, every option does what it says."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from datagen.core.errors import UserError
from datagen.media import video
from datagen.shards import writer as pack
from datagen.vision.geometry import LEFT_EYE, RIGHT_EYE
from datagen.vision.regions import kept_boxes
from model.inputs import driving as drive
from tests import faults
from tests.conftest import REPOSITORY
from tests.training import numbered
from tests.training.numbered import GREYS, SIDE
from training.data import decode
from training.data.augment import SmoothWarp
from training.data.batch import Batch, joined
from training.data.dataset import DARK, ClipDataset, _Reader
from training.data.module import ClipDataModule, Resolution
from training.data.record import ClipReader
from training.data.window import WindowSampler

RESOLUTION = Resolution(SIDE, SIDE // 2, SIDE // 8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return numbered.shards(tmp_path_factory.mktemp("numbered"), [40, 33, 26])


def data(shards: Path, **options) -> ClipDataModule:
    given = {
        "frames": 6,
        "stride": 2,
        "preparation": numbered.Preparation(),
        "resolution": RESOLUTION,
        "extras": ["mask", "landmarks"],
    }
    return ClipDataModule(str(shards), **(given | options))


def dataset(shards: Path, **options) -> ClipDataset:
    return data(shards, **options).dataset("train")


def batches(shards: Path, count: int = 12, **options) -> list[Batch]:
    clips = dataset(shards, **options)
    return [clips[position] for position in range(count)]


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_all_streams_show_the_same_moments(shards, stride):
    starts = set()
    for batch in batches(shards, stride=stride, twin_probability=0.7):
        frames = batch.frames[0].tolist()
        starts.add(frames[0])
        assert np.diff(frames).tolist() == [stride] * 5
        assert [numbered.number(batch.target[0, :, f]) for f in range(6)] == frames
        assert [numbered.number(batch.driving[0, :, f]) for f in range(6)] == frames
        assert [numbered.number(batch.mask[0, f]) for f in range(6)] == frames
        assert batch.landmarks[0, :, 0, 0].tolist() == frames
        assert numbered.number(batch.reference[0]) == batch.reference_frames.item()
    assert {start % 2 for start in starts} == {0, 1}


def test_the_twin_that_is_named_drives(shards):
    seen = set()
    for batch in batches(shards, 20, twin_probability=0.7):
        (twin,) = batch.twins
        grey = GREYS[{"target": "mp4"}.get(twin, f"{twin}.mp4")]
        inside = (
            batch.driving[0, :, :, 70:80, 84:88].float().mean()
        )  # of the face's box, beside the number
        assert abs(inside - grey) < 3
        seen.add(twin)
    assert seen == {"target", "swapped", "styled"}


def test_shapes_ranges_and_background(shards):
    batch = batches(shards, 1)[0]
    assert batch.target.shape == (1, 3, 6, SIDE, SIDE)
    assert batch.driving.shape == (1, 1, 6, SIDE // 2, SIDE // 2)
    assert batch.background.shape == (1, 1, SIDE // 8, SIDE // 8)
    assert batch.clip_pixels.shape == (1, 3, 1, 1)
    levels = {batch.target.dtype, batch.reference.dtype, batch.driving.dtype, batch.mask.dtype}
    assert levels == {torch.uint8}
    assert {batch.background.dtype, batch.clip_pixels.dtype, batch.landmarks.dtype} == {
        torch.float32
    }
    assert batch.target.max() > 200
    shown = batch.reference[0].float()
    assert batch.background[0, 0, -1, -1] == 1  # the mask is black outside its number
    without = batch.clip_pixels[0, :, 0, 0]
    assert (without < shown.mean((1, 2)) - 5).all()  # the white squares are the person
    assert (without > 0.7 * GREYS["mp4"]).all()


def test_frames_are_those_that_datagen_reads_and_the_model_shrinks(sample, tmp_path):
    films = [fields["mp4"] for fields in faults.samples(sample).values()]
    for film in films:
        (tmp_path / "a.mp4").write_bytes(film)
        for wanted in ([0, 1, 2], [3, 9, 14, 20, 26], [25], [26, 0, 13]):
            truth = video.at_indices(tmp_path / "a.mp4", wanted)
            found = decode.decode_frames(film, wanted)
            shown = [found[i] for i in wanted]
            assert np.array_equal(decode.rgb(shown, 512), truth)
            small = decode.rgb(shown, 64).astype(float)
            pixels = torch.from_numpy(truth).permute(0, 3, 1, 2).float()
            theirs = drive.cropped(pixels, drive.Square(0, 0, 512), 64).permute(0, 2, 3, 1).numpy()
            assert np.abs(small - theirs).mean() < 0.6


def test_every_frame_is_found_by_itself_and_beside_the_last(sample, tmp_path):
    """The decoder gives its pictures late and out of the file's order."""
    film = next(fields["mp4"] for fields in faults.samples(sample).values())
    (tmp_path / "a.mp4").write_bytes(film)
    every = np.stack(list(video.frames(tmp_path / "a.mp4")))
    last = len(every) - 1
    for index in range(len(every)):
        for wanted in ([index], [index, last]):
            found = decode.decode_frames(film, wanted)
            assert sorted(found) == sorted(set(wanted))
            assert np.array_equal(decode.rgb([found[i] for i in wanted], 512), every[wanted])


def test_a_film_without_tracks_is_unreadable(sample):
    film = next(fields["mp4"] for fields in faults.samples(sample).values())
    with pytest.raises(decode.Unreadable, match="cannot be decoded"):
        decode.decode_frames(film.replace(b"trak", b"free"), [0])


def test_damage_inside_a_film_is_noticed_wherever_it_shows(sample):
    """64 wrong bytes anywhere in the pictures' data, before the wanted frames or in them."""
    film = next(fields["mp4"] for fields in faults.samples(sample).values())
    begin, draw, noticed = film.index(b"mdat") + 4, np.random.default_rng(0), 0
    wanted = [20, 22, 24]
    truth = decode.rgb([decode.decode_frames(film, wanted)[i] for i in wanted], 512).astype(int)
    for at in draw.integers(begin, len(film) - 64, 24):
        damaged = film[:at] + draw.bytes(64) + film[at + 64 :]
        try:
            found = decode.decode_frames(damaged, wanted)
        except decode.Unreadable:
            noticed += 1
        else:
            assert np.abs(decode.rgb([found[i] for i in wanted], 512) - truth).mean() < 1
    assert noticed >= 12


def test_a_clip_too_short_for_the_stride_is_shown_with_a_smaller_one(shards):
    strides = {int(b.frames[0, 1] - b.frames[0, 0]) for b in batches(shards, 9, frames=7, stride=6)}
    assert strides == {6, 5, 4}  # of 40, 33 and 26 frames


def test_clips_shorter_than_a_window_are_refused_at_the_start(shards):
    with pytest.raises(
        UserError, match="2 of 3 clips have fewer than 34 frames, a window's.*clip-001 with 33"
    ):
        dataset(shards, frames=34)


def test_references_may_lie_anywhere_or_outside(shards):
    generator = torch.Generator().manual_seed(1)

    def inside(windows: WindowSampler) -> int:
        drawn = [windows.draw(40, [], generator) for _ in range(60)]
        return sum(
            window.frames[0] <= window.references[0] <= window.frames[-1] for window in drawn
        )

    assert 20 < inside(WindowSampler(12, 2)) < 50
    assert inside(WindowSampler(12, 2, "outside")) == 0
    assert inside(WindowSampler(40, 1, "outside")) == 60  # the window leaves nothing over
    assert batches(shards, 1, frames=26, stride=1, reference="outside")[
        0
    ].reference_frames.shape == (1,)


def test_dark_frames_are_no_references(tmp_path):
    dark = [i for i in range(26) if i % 2]
    pack.pack([numbered.sample(tmp_path, "clip", 26, "train", dark)], tmp_path, {})
    found = batches(tmp_path, 12)
    assert not {b.reference_frames.item() for b in found} & set(dark)
    assert any(b.target[0].float().mean(dim=(0, 2, 3)).min() <= DARK for b in found)


def test_the_largest_square_is_the_same_for_all_streams(shards):
    whole, cut = (
        dataset(shards, crop=crop, twin_probability=1.0)[3] for crop in ("clip", "largest")
    )
    left, top, side = 10, 0, 180  # around the middle of numbered.FACE, (100, 90)
    assert torch.equal(cut.frames, whole.frames)
    assert _apart(cut.target[0], _cut(whole.target[0], drive.Square(left, top, side), SIDE)) < 1
    assert torch.allclose(cut.landmarks[..., 0], (whole.landmarks[..., 0] - left) * SIDE / side)
    assert (
        _apart(cut.reference, drive.cropped(whole.reference, drive.Square(left, top, side), SIDE))
        < 1
    )
    mask = drive.cropped(whole.mask.float(), drive.Square(left, top, side), SIDE)
    assert ((cut.mask > 0) != (mask > 127)).float().mean() < 0.01
    driving = _cut(whole.driving[0], drive.Square(left // 2, top // 2, side // 2), SIDE // 2)
    assert _apart(cut.driving[0], driving) < 3


def _cut(clip: torch.Tensor, part: drive.Square, side: int) -> torch.Tensor:
    """[c, f, side, side]"""
    return drive.cropped(clip.transpose(0, 1), part, side).transpose(0, 1)


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean difference in levels."""
    return float((one.float() - other.float()).abs().mean())


def test_driving_is_the_face_alone_on_black(shards):
    batch = batches(shards, 1)[0]
    kept = kept_boxes(np.array([numbered.FACE]) / 2, SIDE // 2)[0]
    assert kept.tolist() == [10, 0, 90, 93]
    outside = torch.ones(SIDE // 2, SIDE // 2, dtype=torch.bool)
    outside[kept[1] : kept[3], kept[0] : kept[2]] = False
    assert batch.driving[..., outside].max() == 0
    assert batch.driving[..., ~outside].min() > 0


def test_frames_without_a_face_take_the_place_of_the_nearest_that_has_one(shards):
    clips = dataset(shards)
    window = clips.windows.draw(26, [], torch.Generator())
    place = next(i for i in range(len(clips.shards)) if clips.shards.frames[i] == 26)
    members = clips.shards.read(place, ["mp4", "mask.mp4"]) | {
        "faces.npz": numbered.faces(26, range(10, 26))
    }
    reader = _Reader(clips.options, ClipReader(26, members), window)
    assert reader.faces.landmarks[:, 0, 0].tolist() == [*range(10), *[9.0] * 16]


CHANGES = {
    "jitter": ({"target", "reference", "driving", "clip_pixels"}, {"jitter": 1.0}),
    "reshape": (
        {"target", "reference", "background", "clip_pixels", "mask", "landmarks"},
        {"reshape": 1.0},
    ),
    "reshape_driving": ({"driving"}, {"reshape_driving": 1.0}),
    "warp": ({"driving"}, {"warp_probability": 1.0}),
    "flip": (
        {"target", "reference", "driving", "background", "clip_pixels", "mask", "landmarks"},
        {"flip": 1.0},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_option_changes_what_it_names_and_nothing_else(shards, name):
    changed, options = CHANGES[name]
    plain = dataset(shards, twin_probability=1.0)[0]
    other = dataset(shards, twin_probability=1.0, **options)[0]
    names = (
        "frames",
        "reference_frames",
        "target",
        "reference",
        "driving",
        "background",
        "mask",
        "landmarks",
    )
    differs = {
        field for field in names if not torch.equal(getattr(plain, field), getattr(other, field))
    }
    assert other.twins == plain.twins
    assert all(getattr(other, field).dtype == getattr(plain, field).dtype for field in names)
    assert differs == changed - {"clip_pixels"}


def test_colour_is_kept_where_grey_is_off(sample):
    options = {"frames": 4, "stride": 1, "twin_probability": 0.0}
    plain, coloured = (dataset(sample, grey=grey, **options)[0].driving for grey in (True, False))
    assert (plain.shape[1], coloured.shape[1]) == (1, 3)
    assert (coloured[:, 0].float() - coloured[:, 2].float()).abs().max() > 25
    rounded = 0.5 + 255 * 1e-4  # OpenCV's weights have a digit less
    grey = drive.grey(coloured[0].transpose(0, 1).float())[:, :1].transpose(0, 1)
    assert (grey - plain[0]).abs().max() <= rounded


def test_jitter_is_one_for_target_and_reference_and_another_for_driving(shards):
    plain = dataset(shards, twin_probability=0.0, frames=26, stride=1)[1]
    other = dataset(shards, twin_probability=0.0, frames=26, stride=1, jitter=1.0)[1]
    frame = int((plain.frames[0] == plain.reference_frames).nonzero()[0])
    assert torch.equal(other.target[0, :, frame], other.reference[0])
    field = (slice(140, 150), slice(168, 176))  # grey, of the face's box

    def grey(pictures: torch.Tensor, scale: int) -> float:
        return float(
            pictures[0, :, 0, field[0].start // scale, field[1].start // scale].float().mean()
        )

    assert abs(grey(other.target, 1) - grey(plain.target, 1)) > 5
    assert abs(grey(other.driving, 2) - grey(other.target, 1)) > 5


def test_mirrored_points_are_in_the_usual_order(sample):
    plain, other = (dataset(sample, frames=4, stride=1, flip=flip)[0] for flip in (0.0, 1.0))
    assert torch.equal(other.target, plain.target.flip(-1))
    assert torch.equal(other.mask, plain.mask.flip(-1))
    for points in (plain.landmarks[0], other.landmarks[0]):
        right, left = points[:, RIGHT_EYE].mean((0, 1)), points[:, LEFT_EYE].mean((0, 1))
        assert right[0] < left[0]  # the person's right eye is on the left of the picture
    assert torch.allclose(
        other.landmarks[0, :, RIGHT_EYE, 0], SIDE - plain.landmarks[0, :, LEFT_EYE, 0], atol=1e-3
    )


def test_reshaped_points_lie_where_the_picture_went():
    shape = SmoothWarp.draw(1.0, torch.Generator().manual_seed(5))
    assert shape is not None
    points = np.array([[60.0, 70.0], [130.0, 90.0], [96.0, 140.0]])
    pictures = torch.zeros(3, 1, SIDE, SIDE)
    for picture, (x, y) in zip(pictures, points.astype(int), strict=True):
        picture[0, y - 3 : y + 3, x - 3 : x + 3] = 1
    moved = shape.points(points, SIDE)
    assert np.abs(moved - points).max() > 5
    for bent, place in zip(shape(pictures), moved, strict=True):
        y, x = ((bent[0] > 0.3).nonzero().float().mean(0) + 0.5).tolist()
        assert np.hypot(x - place[0], y - place[1]) < 1


def test_an_absent_twin_is_never_drawn(tmp_path):
    whole = numbered.sample(tmp_path, "clip", 30, "train")
    members = [
        pack.Member.of_bytes(m.field, b"") if m.field == "swapped.mp4" else m for m in whole.members
    ]
    pack.pack([replace(whole, members=tuple(members))], tmp_path, {})
    assert {b.twins[0] for b in batches(tmp_path, 12, twin_probability=1.0)} == {"styled"}
    assert {b.twins[0] for b in batches(tmp_path, 3, twin_probability=1.0, twins=["swapped"])} == {
        "target"
    }


class Kept:
    """A cache that knows every third frame as a reference."""

    def among(self, references: np.ndarray) -> np.ndarray:
        return references[references % 3 == 0]

    def __call__(self, key: str, frames: np.ndarray, reference: int) -> dict[str, torch.Tensor]:
        return {
            "reference_latents": torch.full((1, 4), reference),
            "tokens": torch.tensor([int(key[-3:])]),
        }


def test_cached_parts_go_into_the_batch(shards):
    cache = Kept()
    found = [dataset(shards, cache=cache)[position] for position in range(6)]
    for batch in found:
        assert (batch.reference_latents == batch.reference_frames).all() and int(
            batch.reference_frames
        ) % 3 == 0
        assert batch.keys == (f"clip-{int(batch.tokens):03d}",)
    assert len({int(batch.reference_frames) for batch in found}) > 1
    with pytest.raises(
        UserError,
        match="cached latents go with whole clips as they are, without jitter, flip, crop",
    ):
        data(shards, cache=cache, jitter=0.1, flip=0.5, crop="largest")


def test_all_mistakes_of_the_options_are_told_together(shards):
    wrong = {
        "frames": 0,
        "twins": ["painted"],
        "crop": "round",
        "extras": ["depth"],
        "jitter": 2,
        "workers": -1,
        "balance": "identity",
    }
    with pytest.raises(UserError) as told:
        data(shards, **wrong)
    assert all(name in str(told.value) for name in wrong)


def test_mask_and_landmarks_are_decoded_only_where_they_are_asked_for(shards):
    plain = dataset(shards, extras=[])[0]
    assert plain.mask is None and plain.landmarks is None
    full = dataset(shards)[0]
    assert torch.equal(plain.background, full.background) and full.mask is not None
    joint = joined([plain, dataset(shards, extras=[])[1]])
    assert joint.mask is None and len(joint) == 2


def test_the_configuration_names_every_option(shards):
    cfg = OmegaConf.load(REPOSITORY / "conf" / "data" / "shards.yaml")
    given = {**OmegaConf.to_container(cfg), "input": str(shards)}
    made = ClipDataModule(
        **given, resolution=RESOLUTION, preparation=numbered.Preparation(), seed=3
    )
    plain = ClipDataModule(str(shards), RESOLUTION, numbered.Preparation(), seed=3)
    assert (made.windows, made.augmentation) == (plain.windows, plain.augmentation)
    options = set(inspect.signature(ClipDataModule).parameters) - {
        "resolution",
        "preparation",
        "seed",
        "split",
        "cache",
    }
    assert options == set(cfg)
    assert made.dataset("train").order.seed == 3


def test_clips_in_memory_give_the_same_batches(shards):
    options = {
        "resolution": Resolution(32, 32, 4),
        "jitter": 0.2,
        "flip": 0.5,
        "twin_probability": 0.7,
    }
    plain, kept = dataset(shards, **options), dataset(shards, **options, memory_mb=64)
    for position in [*range(12), *range(12)]:
        one, other = plain[position], kept[position]
        assert one.keys == other.keys and one.twins == other.twins
        for name in ("target", "driving", "reference", "background", "mask", "landmarks"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert len(kept.memory.clips) == len(kept.shards)
    larger = [
        dataset(shards, **options | {"resolution": Resolution(32, 64, 4)}, memory_mb=each)
        for each in (0, 64)
    ]
    assert all(clips[0].mask.shape[-1] == 32 for clips in larger)
    small = dataset(shards, **options, memory_mb=0.3)
    assert torch.equal(small[0].target, plain[0].target) and len(small.memory.clips) < len(
        small.shards
    )
