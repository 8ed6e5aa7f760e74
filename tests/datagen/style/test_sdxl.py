"""style=sdxl through diffusers' real loading and sampling, with a tiny random SDXL in the published
layout.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from datagen.engine.clip import Artifact, Clip
from datagen.media import video
from datagen.sources.rendering.people import person, portrait
from datagen.style import diffusion
from datagen.style import sdxl as style
from datagen.style.attention import AnchoredAttention
from datagen.style.canvas import Canvas
from datagen.style.control import CONTROLS
from datagen.style.cost import calls_a_frame, speed
from datagen.style.diffusion import Painter, RedrawPlan, Sheet
from datagen.style.pace import Pace
from datagen.style.sdxl import SHARES, TRIED_FRAMES, SdxlStyle
from datagen.vision import geometry as g
from datagen.vision.faces import Faces
from datagen.weights.registry import licence_of
from tests.conftest import REPOSITORY
from tests.fakes.tiny_sdxl import clear_autoencoder, tiny_controlnet, tiny_sdxl

TURBO = RedrawPlan("a red man", Pace(4, 2))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny")


@pytest.fixture(scope="module")
def controlnet(tmp_path_factory) -> Path:
    return tiny_controlnet(tmp_path_factory.mktemp("sdxl") / "control")


def noise(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frames RGB uint8 [count, height, width, 3]"""
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def drawn(painter: Painter, frames: np.ndarray, plan: RedrawPlan = TURBO) -> np.ndarray:
    """int [N, H, W, 3]"""
    return np.stack(list(painter(map(Sheet, frames), plan))).astype(int)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for the rounding of matrix products of other heights: now and then a level."""
    return bool(np.abs(a - b).max() <= 1 and (a != b).mean() < 2e-3)


def clip_of(folder: Path, frames: np.ndarray | list[np.ndarray], key: str = "clip") -> Clip:
    with video.Writer(folder / "clip.mp4", 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    Faces.of([None] * len(frames)).save(folder / "faces.npz")
    made = {"clips": Artifact(folder / "clip.mp4"), "faces": Artifact(folder / "faces.npz")}
    return Clip(key, {}, artifacts=made)


def stage(folder: Path, **options) -> SdxlStyle:
    return SdxlStyle(str(folder), **{"prompts": ("a red man",), **options})


@pytest.mark.parametrize(
    "guidance, cross_frame", [(0.0, False), (5.0, False), (0.0, True), (5.0, True)]
)
def test_a_frame_does_not_depend_on_its_batch(tiny, guidance, cross_frame):
    frames = noise(5)
    plan = RedrawPlan("a red man", Pace(4, 2), Sheet(frames[0]) if cross_frame else None)
    painters = [
        Painter(tiny, guidance=guidance, cross_frame=cross_frame, batch=batch)
        for batch in (1, 2, 5)
    ]
    one, *others = (drawn(painter, frames, plan) for painter in painters)
    assert one.shape == frames.shape and np.abs(one - frames).mean() > 20
    assert all(close(one, other) for other in others)
    last = drawn(painters[2], np.stack([frames[0], *noise(9)[6:8], frames[3], frames[4]]), plan)
    assert close(last[3:], one[3:]), "the other frames of the batch say nothing"


def test_the_batch_is_no_part_of_a_clip_on_the_cpu(tiny, tmp_path):
    clip = clip_of(tmp_path, noise(5, 64, 64))
    made = []
    for batch in (1, 4):
        folder = tmp_path / str(batch)
        folder.mkdir()
        made.append(stage(tiny, batch=batch)(clip, folder).path.read_bytes())
    assert made[0] == made[1]
    assert stage(tiny, batch=4).parameters() == stage(tiny).parameters()


@pytest.mark.parametrize("options", [{}, {"guidance": 5.0, "cross_frame": True}])
def test_half_precision_draws_the_same_pictures(tiny, monkeypatch, options):
    """What a GPU computes in, with the VAE raised to single precision around its use."""
    frames = noise(3)
    plan = RedrawPlan("a red man", Pace(4, 2), Sheet(frames[0]) if options else None)
    single = drawn(Painter(tiny, batch=2, **options), frames, plan)
    monkeypatch.setattr(diffusion, "dtype", lambda gpus: "float16")
    painter = Painter(tiny, batch=2, **options)
    assert np.abs(drawn(painter, frames, plan) - single).mean() < 2.5
    assert painter.pipe.unet.dtype == torch.float16 and painter.pipe.vae.config.force_upcast


def test_every_frame_has_the_same_noise(tiny):
    """A still clip stays still, whatever batches it falls into; with noise of each frame's own it
    would boil.
    """
    still = np.repeat(noise(1), 5, axis=0)
    frames = drawn(Painter(tiny, batch=5), still)
    assert (frames == frames[0]).all()
    assert close(drawn(Painter(tiny, batch=2), still), frames)
    other = drawn(Painter(tiny, batch=5, seed=1), still)
    assert np.abs(other - frames).mean() > 5, "the noise is the seed's"


def test_red_stays_red(tmp_path):
    """Through a VAE that keeps colours, with next to no noise; and what enters it has red first, in
    -1..1.
    """
    painter = Painter(tiny_sdxl(tmp_path / "clear", clear_autoencoder()))
    halves = np.zeros((32, 48, 3), np.uint8)
    halves[:, :24], halves[:, 24:] = (250, 20, 40), (10, 30, 240)
    entered = []
    painter.pipe.vae.encoder.register_forward_pre_hook(
        lambda module, inputs: entered.append(inputs[0])
    )
    left, right = drawn(painter, halves[None], RedrawPlan("x", Pace(500, 1)))[0, 16, [6, -6]]
    assert left[0] > left[2] + 50 and right[2] > right[0] + 50
    assert np.allclose(entered[0][0, :, 16, 6], np.array([250, 20, 40]) / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("guidance", [0.0, 5.0])
def test_frames_look_at_the_anchor_and_at_no_other(tiny, guidance):
    frames = noise(4)
    plain, crossed = (
        Painter(tiny, guidance=guidance, cross_frame=is_on, batch=3) for is_on in (False, True)
    )
    alone, first = (
        drawn(plain, frames),
        drawn(crossed, frames, RedrawPlan("a red man", Pace(4, 2), Sheet(frames[0]))),
    )
    assert close(first[0], alone[0]), "the anchor is drawn as without"
    assert np.abs(first[1:] - alone[1:]).mean() > 0.5
    other = drawn(crossed, frames, RedrawPlan("a red man", Pace(4, 2), Sheet(frames[1])))
    assert np.abs(other[2:] - first[2:]).mean() > 0.5 and close(other[1], alone[1])


def test_anchored_tokens_are_those_of_the_own_group():
    tokens = torch.arange(2 * 3 * 2.0).reshape(
        6, 2, 1
    )  # two passes of guidance x three frames, two tokens each
    found = AnchoredAttention(2).anchored(tokens)[..., 0].tolist()
    assert found[1] == [0, 1, 2, 3] and found[4] == [6, 7, 8, 9] and found[3] == [6, 7, 6, 7]


@pytest.mark.parametrize(
    "guidance, steps, strength, calls", [(0.0, 4, 0.5, 2), (5.0, 30, 0.5, 30), (1.0, 3, 1.0, 3)]
)
def test_the_calls_that_are_told_are_those_that_are_made(tiny, guidance, steps, strength, calls):
    painter, pace = Painter(tiny, guidance=guidance, batch=2), Pace.of(steps, strength)
    made = []
    painter.pipe.unet.register_forward_pre_hook(lambda module, inputs: made.append(len(inputs[0])))
    drawn(painter, noise(3), RedrawPlan("x", pace))
    assert sum(made) == 3 * calls == 3 * calls_a_frame(tiny, pace, guidance)


def test_the_speed_is_measured_and_positive(tiny):
    assert (speed(tiny, 0, 1, (64, 64)) or 0) > 0


def test_diffusers_takes_as_many_steps_as_a_pace_says():
    paces = [
        Pace.of(steps, (calls + 0.1) / (steps + 0.1))
        for steps in range(1, 61)
        for calls in range(1, steps + 1)
    ]
    paces += [pace.weaker(share) for pace in paces for share in SHARES]
    assert all(min(int(pace.steps * pace.strength), pace.steps) == pace.calls for pace in paces)
    weaker = [Pace(4, 2).weaker(share) for share in SHARES]
    assert [pace.share for pace in weaker] == sorted((pace.share for pace in weaker), reverse=True)
    assert len({*weaker}) == len(SHARES) and {pace.calls for pace in weaker} == {2}


def test_the_papers_settings():
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        paper, ours = (
            instantiate(compose(f"style/{name}").style, _convert_="all")
            for name in ("sdxl_paper", "sdxl")
        )
    assert (paper.pace, paper.guidance, paper.seed, paper.negative) == (Pace(30, 15), 5.0, 0, None)
    assert len(paper.prompts) == 1 and paper.drift is None and not paper.cross_frame
    assert (ours.pace, ours.guidance) == (Pace(4, 2), 0.0) and len(ours.prompts) > 4
    assert Path(paper.model).name == "sdxl-turbo" and "non-commercial" in licence_of("sdxl-turbo")


@pytest.mark.parametrize(
    "height, width, side, size", [(512, 512, None, (512, 512)), (36, 50, None, (40, 56))]
)
def test_a_canvas_gives_back_what_it_took(height, width, side, size):
    canvas, rgb = Canvas(height, width, side), noise(1, height, width)[0]
    assert canvas.size == canvas.put(rgb).shape[:2] == size
    assert np.array_equal(canvas.take(canvas.put(rgb)), rgb)


def test_a_canvas_keeps_the_aspect():
    canvas = Canvas(90, 160, 1024)
    assert canvas.scaled == (576, 1024) and canvas.take(canvas.put(noise(1, 90, 160)[0])).shape == (
        90,
        160,
        3,
    )


def test_frames_of_an_odd_size_come_back_in_it(tiny):
    assert drawn(Painter(tiny), noise(2, 36, 50)).shape == (2, 36, 50, 3)
    assert drawn(Painter(tiny, side=48), noise(1, 24, 24)).shape == (1, 24, 24, 3)


def test_a_controlnet_is_followed(tiny, controlnet):
    sheets = [Sheet(rgb, CONTROLS["canny"](rgb, np.full((478, 3), np.nan))) for rgb in noise(3)]
    strong, weak, split = (
        Painter(tiny, controlnet=controlnet, control_scale=scale, batch=batch)
        for scale, batch in [(1, 3), (0, 3), (1, 2)]
    )
    made, bare, again = (
        np.stack(list(painter(sheets, TURBO))).astype(int) for painter in (strong, weak, split)
    )
    assert np.abs(made - bare).mean() > 1 and close(made, again)
    assert close(bare, drawn(Painter(tiny, batch=3), np.stack([sheet.rgb for sheet in sheets])))


def test_control_pictures_lie_on_the_frame():
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = np.random.default_rng(1).uniform(60, 440, (478, 2))
    points[469:473], points[474:478] = points[468], points[473]  # irises
    picture = CONTROLS["landmarks"](np.zeros((500, 500, 3), np.uint8), points)
    x, y = points[g.INNER_LIPS, :2].round().astype(int).T
    assert (
        picture.shape == (500, 500, 3) and (picture[y, x] > 100).all() and picture[:50].max() == 0
    )
    assert CONTROLS["landmarks"](picture, np.full((478, 3), np.nan)).max() == 0
    square = cv2.rectangle(np.zeros((64, 64, 3), np.uint8), (20, 30), (40, 50), (255, 255, 255), -1)
    rows, columns, _ = np.nonzero(CONTROLS["canny"](square, points))
    assert abs(rows.min() - 30) <= 1 and abs(columns.max() - 40) <= 1


def test_less_strength_where_the_face_strays(tiny, tmp_path, monkeypatch):
    """What `drift` says decides; it is asked of as many frames as are told."""
    clip = clip_of(tmp_path, [portrait(person(0))[::8, ::8]] * 9)
    points = np.full((478, 3), 64, np.float32)
    Faces.of([None, *[points] * 8]).save(tmp_path / "faces.npz")
    strays: Iterator[float] = iter([0.05, 0.03, 0.02])
    counts = []

    def measured(mesh, pictures, own):
        counts.append(len(list(pictures)))
        return next(strays)

    monkeypatch.setattr(style, "drift", measured)
    metrics = stage(tiny, drift=0.027, cross_frame=False)(clip, tmp_path).metrics
    assert metrics == {
        "prompt": "a red man",
        "strength": round(2 / 6, 3),
        "steps": 6,
        "drift": 0.02,
    }
    assert counts == [TRIED_FRAMES] * 3
    assert stage(tiny, drift=None, cross_frame=False)(clip, tmp_path).metrics["strength"] == 0.5


def test_prompts_are_chosen_by_key_and_seed_and_all_are_used(tiny):
    prompts = ("ink", "oil", "chalk")
    clips = [Clip(f"clip-{i}", {}) for i in range(60)]
    chosen = [stage(tiny, prompts=prompts).of_clip(clip)["prompt"] for clip in clips]
    assert {*chosen} == {*prompts}
    assert chosen != [
        stage(tiny, prompts=prompts, seed=1).of_clip(clip)["prompt"] for clip in clips
    ]
    fewer = [stage(tiny, prompts=prompts[1:]).of_clip(clip)["prompt"] for clip in clips]
    assert all(a == b for a, b in zip(chosen, fewer, strict=True) if a != "ink"), (
        "another list moves no other clip"
    )
    assert "prompts" not in stage(tiny).parameters()


def test_the_weights_in_use_are_named_by_their_contents(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "tiny")
    (copy / "README.md").write_text("new")
    assert stage(copy, drift=None).weights() == stage(tiny, drift=None).weights()
    (copy / "scheduler" / "scheduler_config.json").write_text("{}")
    assert stage(copy, drift=None).weights() != stage(tiny, drift=None).weights()


def test_half_precision_files_are_read_where_there_are_no_others(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "tiny")
    for file in [
        *copy.rglob("model.safetensors"),
        *copy.rglob("diffusion_pytorch_model.safetensors"),
    ]:
        file.rename(file.with_suffix(".fp16.safetensors"))
    stage(copy).check()
    assert close(drawn(Painter(copy), noise(1)), drawn(Painter(tiny), noise(1)))
    assert any(".fp16." in path.name for path in style.checkpoint.files(copy))


def test_a_controlnet_in_a_folder_of_the_models_name_hides_nothing(tiny, controlnet, tmp_path):
    namesake = tmp_path / tiny.name
    namesake.symlink_to(controlnet)
    alone = stage(tiny, drift=None).weights()
    both = stage(tiny, drift=None, controlnet=str(namesake)).weights()
    assert both.items() > alone.items() and both.keys() - alone.keys() == {"controlnet tiny"}
