"""What drives a portrait, frame by frame: against the official program's numbers, and against
pictures drawn here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datagen.sources.rendering.people import PEOPLE, portrait
from datagen.vision.landmarks import find_face
from datagen.vision.regions import kept_boxes
from model.inputs.driving import (
    Square,
    aligned,
    cropped,
    grey,
    mask_outside,
    middles,
    outline,
    patches,
    square,
    warp,
)
from tests.model.parts import load


@pytest.fixture(scope="module")
def golden():
    return load("i_data_transforms.safetensors")


@pytest.fixture(scope="module")
def face_points():
    return find_face(portrait(PEOPLE[0]))


def test_the_square_crop_is_the_official_one(golden):
    """The first detection of each picture counts; the official driving crop took those of the
    picture before.
    """
    ids, rects = golden["in.image_ids"].numpy(), golden["in.rects"].numpy()
    first = np.stack([rects[ids == picture][0] for picture in range(6)])
    frames = golden["in.frames_u8"].float()
    for boxes, pictures, kind in ((first, frames, ""), (first[:5], frames[1:], "_driving")):
        part = square(boxes, (128, 96))
        top, bottom, left, right = golden[f"out.bbox{kind}"].tolist()
        assert part == Square(left, top, bottom - top) and right - left == part.side
        assert torch.equal(cropped(pictures, part, 64, antialias=False), golden[f"out.crop{kind}"])


def test_the_face_alone_is_the_official_one(golden):
    """Frame 2 has no detection: the official program takes that of frame 1, which it has made
    taller already.
    """
    boxes = golden["in.rects2"].numpy()[[0, 1, 1, 2, 3]].astype(np.float64)
    height = boxes[2, 3] - boxes[2, 1]
    boxes[2] += [0, -0.4 * height, 0, 0.1 * height]
    faces = mask_outside(golden["out.crop"][1:], kept_boxes(boxes, 64))
    assert torch.equal(faces, golden["out.moved_face"])


def test_warp_and_grey_are_the_official_ones(golden):
    faces = golden["out.moved_face"]
    assert torch.equal(warp(faces, 0.87, 1.13), golden["out.warp_a"])
    assert torch.equal(warp(faces, 1.16, 0.84), golden["out.warp_b"])
    assert torch.allclose(grey(faces), golden["out.grey"].expand(-1, 3, -1, -1), atol=1e-4)


def test_warp_squeezes_one_side_and_enlarges_about_the_middle():
    frames = torch.ones(1, 3, 40, 40)
    assert torch.equal(warp(frames, 1.0, 1.0), frames)
    assert warp(frames, 0.5, 1.0)[0, 0].nonzero().aminmax(dim=0).max.tolist() == [39, 29]
    assert warp(frames, 2.0, 1.0)[0, 0].nonzero().aminmax(dim=0).min.tolist() == [10, 0]
    assert warp(frames, 1.0, 0.5)[0, 0].sum() == 400


def test_a_square_holds_every_box_it_can_and_lies_inside():
    draw = np.random.default_rng(0)
    for _ in range(500):
        size = draw.integers(40, 300, 2)
        low = draw.uniform(0, size - 20, (3, 2))
        boxes = np.concatenate([low, np.minimum(low + draw.uniform(5, 60, (3, 2)), size)], axis=1)
        extent, largest = (
            (boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)).max(),
            min(size) // 2 * 2,
        )
        for margin in (None, 1.0, 2.3):
            part = square(boxes, (int(size[0]), int(size[1])), margin)
            assert min(part.left, part.top) >= 0
            assert part.left + part.side <= size[0] and part.top + part.side <= size[1]
            if extent <= largest:
                placed = part.crop_points(boxes, part.side)
                assert placed.min() >= -1 and placed.max() <= part.side + 1
            else:
                assert part.side == largest


def test_a_margin_leaves_that_much_room():
    boxes = np.array([[100.0, 100, 140, 150], [120, 110, 160, 160]])
    assert square(boxes, (1000, 800)) == Square(0, 0, 260)
    assert square(boxes, (1000, 800), margin=2.0) == Square(
        75, 75, 110
    )  # 60 px that both span, and one face of 50
    assert square(boxes[:1], (1000, 800), margin=3.0) == Square(45, 50, 150)
    assert square(boxes[:1], (125, 160), margin=3.0).side == 124


def test_a_face_at_the_border_is_not_cut():
    part = square(np.array([[0.0, 10, 80, 110]]), (400, 300))
    assert part == Square(0, 10, 100)  # the largest around the middle, 80 px, would cut it


def test_places_follow_the_crop():
    picture = torch.zeros(1, 3, 90, 120)
    picture[:, :, 40:50, 60:80] = 1
    part = Square(30, 20, 60)
    left, top, right, bottom = (
        part.crop_points(np.array([60.0, 40, 80, 50]), 120).astype(int).tolist()
    )
    assert (left, top, right, bottom) == (60, 40, 100, 60)
    large = cropped(picture, part, 120)[0, 0]
    assert large[top + 1 : bottom - 1, left + 1 : right - 1].min() > 0.99
    assert large[: top - 1].max() == large[:, right + 1 :].max() == 0


def test_pictures_shrink_without_flicker():
    """Stripes of one px: smoothed they are grey, taken singly they beat."""
    stripes = torch.zeros(1, 3, 96, 96)
    stripes[..., ::2] = 1
    smooth, beating = (
        cropped(stripes, Square(0, 0, 96), 36, antialias=flag)[..., 3:-3] for flag in (True, False)
    )
    assert smooth.std() < 0.15 < 0.25 < beating.std()


def test_the_kept_box_is_square_taller_and_inside():
    boxes = np.array([[30.0, 40, 50, 70], [40, 40, 70, 60], [0, 0, 60, 100]])
    # 20x30: 5 px wider on both sides, then 12 px above and 3 below; 30x20: 5 px higher; at the
    # border cut off
    assert kept_boxes(boxes, 100).tolist() == [[25, 28, 55, 73], [40, 23, 70, 68], [0, 0, 80, 100]]


def test_only_keeps_the_boxes_and_nothing_else():
    frames = torch.ones(2, 3, 20, 30)
    kept = mask_outside(
        frames, np.array([[[1, 2, 5, 6], [10, 10, 12, 20]], [[0, 0, 30, 1], [0, 0, 1, 20]]])
    )
    assert kept[0].sum() == 3 * (16 + 20) and kept[0, :, 2:6, 1:5].min() == 1
    assert kept[1].sum() == 3 * (30 + 19)


def test_grey_weighs_the_colours():
    colours = torch.eye(3).reshape(3, 3, 1, 1)
    assert grey(colours).amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.2989, 0.5870, 0.1140])
    assert torch.equal(grey(colours)[:, 0], grey(colours)[:, 2])


def test_aligned_moves_one_box_onto_another():
    frames = torch.zeros(2, 3, 80, 100)
    frames[:, :, 20:40, 30:70] = 1
    moved = aligned(frames, np.array([30.0, 20, 70, 40]), np.array([10.0, 30, 30, 70]))
    assert moved[:, :, 31:69, 11:29].min() > 0.99
    outside = moved.clone()
    outside[:, :, 29:71, 9:31] = 0
    assert outside.max() == 0
    assert torch.allclose(
        aligned(frames, np.array([3.0, 4, 9, 9]), np.array([3.0, 4, 9, 9])), frames, atol=1e-5
    )


def test_contours_are_eyes_mouth_and_brows(face_points):
    right, left, mouth, brows = middles(face_points)
    assert right[0] < mouth[0] < left[0] and abs(right[1] - left[1]) < 0.3 * (left[0] - right[0])
    assert brows[1] < right[1] < mouth[1] and abs(brows[0] - mouth[0]) < 0.2 * (left[0] - right[0])
    box = outline(face_points)
    inner = np.stack([right, left, mouth, brows])
    assert (inner > box[:2]).all() and (inner < box[2:]).all()
    assert box[1] > face_points[10, 1] + 10  # it begins at the brows, not at the hair


def test_patches_reach_an_eighth_around_all_that_was_seen():
    low, high = (
        np.array([[100.0, 50], [5, 50], [60, 90], [60, 20]]),
        np.array([[110.0, 52], [6, 60], [64, 99], [60, 20]]),
    )
    assert patches(low, high, 128).tolist() == [
        [84, 34, 126, 68],
        [0, 34, 22, 76],
        [44, 74, 80, 115],
        [44, 4, 76, 36],
    ]
