"""L2CS-Net through its real loading code: its architecture, both checkpoints, heads, signs,
colours, refusals.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.core.errors import UserError
from datagen.engine.clip import Artifact, Clip
from datagen.gaze.l2cs import DEVIATION, MEAN, L2csGaze, cut
from datagen.gaze.network import HEADS, LAYOUTS, L2cs, load
from datagen.media import video
from datagen.sources.rendering.motion import motion
from datagen.vision import geometry
from datagen.vision.faces import Faces, track
from datagen.vision.landmarks import FaceMesh
from tests.faults import call, head

RIGHTWARDS, LEFTWARDS, RED, BLUE = range(4)  # channels of the hand-set network
WIDTH = 1.0  # bins: s.d. of what its heads say


def hand_set(bins: int = 90) -> L2cs:
    """A ResNet-50 that passes four channels of its first layer on to its heads.

    The channels: brightness that rises to the right and to the left, red over blue and blue over
    red. The horizontal head says how far the first outweighs the second, the vertical one how far
    red outweighs blue.
    """
    torch.manual_seed(0)
    network = L2cs(bins).eval().requires_grad_(False)
    network.conv1.weight.zero_()
    edge = torch.linspace(-1, 1, 7).expand(3, 7, 7) / 20
    network.conv1.weight[RIGHTWARDS], network.conv1.weight[LEFTWARDS] = edge, -edge
    for channel, sign in ((RED, 1), (BLUE, -1)):
        network.conv1.weight[channel, 0, 3, 3], network.conv1.weight[channel, 2, 3, 3] = sign, -sign
    for number in range(1, 5):
        for index, block in enumerate(getattr(network, f"layer{number}")):
            block.bn3.weight.fill_(float(index == 0))
            for part in (block.conv1, block.conv2, block.conv3, *(block.downsample or [])[:1]):
                part.weight.zero_()
            for channel in range(
                4
            ):  # means of 3x3: a way around them would look at every second pixel alone
                block.conv1.weight[channel, channel] = block.conv3.weight[channel, channel] = 1
                block.conv2.weight[channel, channel] = 1 / 9
    says(network.fc_yaw_gaze, {RIGHTWARDS: 600.0, LEFTWARDS: -600.0})
    says(network.fc_pitch_gaze, {RED: 15.0, BLUE: -15.0})
    return network


def says(layer: torch.nn.Linear, degrees: dict[int, float], at: float = 0.0) -> None:
    """`at` and so many degrees for every 1 of a channel: a bell over the bins, whose middle
    moves.
    """
    width, offset = LAYOUTS[layer.out_features]
    bins = torch.arange(layer.out_features) - (at + offset) / width
    layer.bias.copy_(-(bins**2) / (2 * WIDTH**2))
    layer.weight.zero_()
    for channel, slope in degrees.items():
        layer.weight[:, channel] = bins * slope / width / WIDTH**2


def official(network: L2cs, prefix: str = "") -> dict[str, Tensor]:
    """A state dict with what the published files have besides."""
    state = {
        **network.state_dict(),
        "fc_finetune.weight": torch.rand(3, 2051),
        "fc_finetune.bias": torch.rand(3),
    }
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def gaze360(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("l2cs") / "L2CSNet_gaze360.pkl"
    torch.save(official(hand_set()), path)
    return path


# --- the network and its files


def test_the_network_is_the_published_resnet_50():
    """Against transformers' ResNet-50, whose code is not ours, on random weights; and by its
    keys.
    """
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    theirs = ResNetModel(ResNetConfig()).eval()
    for name, tensor in theirs.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            tensor.normal_()
    ours = L2cs().eval()
    ours.load_state_dict(
        {k: v for k, v in renamed(theirs.state_dict()).items()} | heads(ours), strict=True
    )
    features = {}
    ours.layer4.register_forward_hook(lambda _, __, y: features.update(ours=y.mean((2, 3))))
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        ours(x)
        expected = theirs(x).pooler_output[..., 0, 0]
    assert features["ours"].std() > 0.1
    assert torch.allclose(features["ours"], expected, rtol=1e-4, atol=1e-4 * expected.abs().max())
    names = {*ours.state_dict()}
    assert {
        "layer1.0.downsample.1.running_var",
        "layer4.2.bn3.weight",
        "fc_yaw_gaze.weight",
    } <= names
    assert len(names) == 318 + 4  # torchvision's resnet50 without its fc, and two heads


def heads(network: L2cs) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith("fc_")}


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names of a ResNet as torchvision's."""
    found = {}
    for name, tensor in state.items():
        words = name.split(".")
        kind = words[-2] == "normalization"
        if words[0] == "embedder":
            found[f"{'bn1' if kind else 'conv1'}.{words[-1]}"] = tensor
        elif words[5] == "shortcut":
            found[f"layer{int(words[2]) + 1}.{words[4]}.downsample.{int(kind)}.{words[-1]}"] = (
                tensor
            )
        else:
            part = f"{'bn' if kind else 'conv'}{int(words[6]) + 1}"
            found[f"layer{int(words[2]) + 1}.{words[4]}.{part}.{words[-1]}"] = tensor
    return found


@pytest.mark.parametrize(("bins", "prefix"), [(90, ""), (28, "module.")])
def test_a_checkpoint_says_which_one_it_is(bins, prefix, tmp_path):
    network = hand_set(bins)
    says(network.fc_yaw_gaze, {}, at=20.0)
    says(network.fc_pitch_gaze, {}, at=-8.0)
    torch.save(official(network, prefix), tmp_path / "a.pkl")
    loaded = load(tmp_path / "a.pkl")
    assert loaded.bins == bins
    angles = np.rad2deg(loaded(torch.zeros(1, 3, 64, 64)).numpy())
    assert angles == pytest.approx(np.array([[20.0, -8.0]]), abs=0.02)


def test_safetensors_and_a_pickle_are_the_same(gaze360, tmp_path):
    from safetensors.torch import save_file

    save_file(official(hand_set()), tmp_path / "a.safetensors")
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(load(tmp_path / "a.safetensors")(x), load(gaze360)(x))


def test_the_horizontal_head_is_the_one_that_is_named_yaw():
    """As the layers are named, not as the official pipeline unpacks them: what it calls pitch is
    our yaw.
    """
    network = hand_set()
    says(network.fc_yaw_gaze, {}, at=20.0)
    says(network.fc_pitch_gaze, {}, at=10.0)
    x, y, z = geometry.direction(network(torch.zeros(1, 3, 64, 64)).numpy())[0]
    official_pitch, official_yaw = np.deg2rad([20.0, 10.0])  # (pitch, yaw) = network's (yaw, pitch)
    drawn = (
        -np.sin(official_pitch) * np.cos(official_yaw),
        -np.sin(official_yaw),
    )  # its arrow: right, down
    assert (x, y) == pytest.approx(drawn, abs=1e-3)
    assert x < 1.5 * y < 0 and z < 0  # more to the left than up, and out of the picture


# --- faces


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return list(head(4).frames(motion("look", 0.2, 25, seed=3)))[:2]


def filmed(folder: Path, frames: list[np.ndarray]) -> Clip:
    folder.mkdir()
    with video.Writer(folder / "clip.mp4", 25) as writer:
        for rgb in frames:
            writer.write(rgb)
    track(FaceMesh(), frames).save(folder / "faces.npz")
    return Clip(
        "a",
        {},
        artifacts={"clips": Artifact(folder / "clip.mp4"), "faces": Artifact(folder / "faces.npz")},
    )


def angles(stage: L2csGaze, clip: Clip) -> np.ndarray:
    """(yaw, pitch) degrees from the camera [T, 2]."""
    return np.rad2deg(
        geometry.direction_angles(stage.camera(clip.path("clips"), Faces.load(clip.path("faces"))))
    )


@pytest.fixture(scope="module")
def stage(gaze360) -> L2csGaze:
    return L2csGaze(model=str(gaze360), rule="megactor")


@pytest.fixture(scope="module")
def clip(pictures, tmp_path_factory) -> Clip:
    """The film with light from the left: brightness falls to the right, so the hand-set network
    looks right.
    """
    light = np.linspace(1.0, 0.4, 512)[None, :, None]
    lit = [(rgb * light).astype(np.uint8) for rgb in pictures]
    return filmed(tmp_path_factory.mktemp("film") / "a", lit)


def test_a_mirrored_face_looks_the_other_way(stage, clip, tmp_path):
    mirrored = filmed(
        tmp_path / "b",
        [np.ascontiguousarray(rgb[:, ::-1]) for rgb in video.frames(clip.path("clips"))],
    )
    faces = Faces.load(clip.path("faces"))
    boxes = np.array([512, 0, 512, 0]) + faces.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]
    replace(faces, boxes=boxes).save(
        mirrored.path("faces")
    )  # FaceMesh would find it a few px elsewhere
    found, other = angles(stage, clip), angles(stage, mirrored)
    assert (found[:, 0] < -5).all()
    assert other == pytest.approx(found * [-1, 1], abs=6.0)


def test_the_head_is_removed_and_the_camera_kept(stage, clip, tmp_path):
    made = stage(clip, tmp_path)
    with np.load(made.path) as file:
        gaze, turn = file["gaze"], file["head"]
        assert sorted(file) == ["boxes", "confidence", "eyes", "gaze", "head", "landmarks"]
    seen, faces = angles(stage, clip), Faces.load(clip.path("faces"))
    rotation = geometry.head_rotation(faces.landmarks.astype(np.float64))
    known = ~np.isnan(gaze).any(-1)
    back = np.einsum("tij,tj->ti", rotation, geometry.direction(gaze.astype(np.float64)))
    assert known.any() and np.isfinite(turn).all()
    assert np.rad2deg(geometry.direction_angles(back))[known] == pytest.approx(
        seen[known], abs=1.0
    )  # smoothed
    assert made.metrics["camera_yaw"][1] == pytest.approx(np.median(seen[known, 0]), abs=0.1)
    assert made.metrics["camera_pitch"][1] == pytest.approx(np.median(seen[known, 1]), abs=0.1)
    assert {
        "amplitude_deg",
        "coverage",
        "yaw",
        "pitch",
        "map",
        "megactor_variance",
        "megactor_keeps",
    } <= {*made.metrics}


def test_colours_are_rgb(stage, tmp_path, clip):
    """A red face looks up, a blue one down; with the colours the other way round it would be the
    reverse.
    """
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[..., 0] = 255
    seen = cut(rgb, np.array([8.0, 8, 56, 56]))
    assert seen.shape == (3, 448, 448)
    assert seen[:, 200, 200] == pytest.approx(
        [(level - m) / d for level, m, d in zip((1, 0, 0), MEAN, DEVIATION, strict=True)]
    )
    frames = list(video.frames(clip.path("clips")))[:1]
    for name, channel, sign in (("red", 0, 1), ("blue", 2, -1)):
        tinted = [(rgb * (np.arange(3) == channel)).astype(np.uint8) for rgb in frames]
        found = filmed(tmp_path / name, frames)
        with video.Writer(tmp_path / name / "clip.mp4", 25) as writer:
            for rgb in tinted:
                writer.write(rgb)
        assert sign * angles(stage, found)[0, 1] > 5


def test_a_box_outside_the_picture_has_no_gaze_and_a_margin_widens_it(stage):
    rgb = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    assert cut(rgb, np.array([70.0, 8, 90, 56])) is None
    wide = cut(rgb, np.array([16.0, 16, 48, 48]), margin=0.5)
    assert np.array_equal(wide, cut(rgb, np.array([0.0, 0, 64, 64])))
    found = np.concatenate(list(stage._angles(iter([None, wide]))))
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_neither_batch_nor_what_a_worker_saw_before_changes_a_bit(stage, clip, gaze360, tmp_path):
    made = []
    for name, other in (
        ("a", stage),
        ("b", L2csGaze(model=str(gaze360), rule="megactor", batch=3)),
    ):
        (tmp_path / name).mkdir()
        made.append(pickle.loads(pickle.dumps(other))(clip, tmp_path / name).path.read_bytes())
    (tmp_path / "c").mkdir()
    assert [stage(clip, tmp_path / "c").path.read_bytes(), made[0]] == [made[1]] * 2
    assert (
        stage.parameters()
        == L2csGaze(model="elsewhere", rule="megactor", batch=3, gpus=1).parameters()
    )
    torch.manual_seed(0)
    network, x = L2cs().eval(), torch.randn(3, 3, 224, 224)
    with torch.inference_mode():
        one_by_one = torch.cat([network(picture[None]) for picture in x])
        assert network(x).numpy() == pytest.approx(one_by_one.numpy(), abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_a_gpu_says_the_same(stage, clip, gaze360):
    found = angles(L2csGaze(model=str(gaze360), gpus=1, batch=3), clip)
    assert found == pytest.approx(angles(stage, clip), abs=0.1)


# --- refusals


def mistake(tmp_path: Path, *words: object) -> str:
    """What the command says, which ends with code 2 before it has made anything."""
    (tmp_path / "raw").mkdir(exist_ok=True)
    (tmp_path / "raw" / "a.mp4").touch()
    words = (
        "--input",
        tmp_path / "raw",
        "--store",
        tmp_path / "store",
        "--runner",
        "local",
        *words,
    )
    ended = call("datagen.gaze", "gaze=l2cs", *words)
    assert ended.code == 2 and not (tmp_path / "store").exists()
    return ended.sentence


def test_without_weights_the_way_to_them_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = mistake(tmp_path)
    assert (
        "is not in data/weights/l2cs: put L2CSNet_gaze360.pkl of https://drive.google.com/" in told
    )
    assert "licence: unknown (code: MIT" in told
    assert "/none.pkl does not exist" in mistake(tmp_path, f"gaze.model={tmp_path}/none.pkl")


def test_another_file_than_was_fetched_is_refused(tmp_path, monkeypatch, gaze360):
    from datagen.weights.check import record
    from datagen.weights.registry import find

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "weights" / "l2cs"
    folder.mkdir(parents=True)
    (folder / "L2CSNet_gaze360.pkl").symlink_to(gaze360)
    record(find("l2cs"), "L2CSNet_gaze360.pkl", "f" * 64, tmp_path / "data" / "weights")
    assert "ffffffffffff... is expected" in mistake(tmp_path)
    (folder / "fetched.json").unlink()
    L2csGaze().check()
    assert L2csGaze().weights() == L2csGaze(model=str(gaze360)).weights()


MISFITS = {
    "18 layers": (
        lambda s: {k: v for k, v in s.items() if "layer3.4" not in k},
        "layer3.4.conv1.weight is missing",
    ),
    "a name too much": (lambda s: s | {"fc.weight": torch.zeros(1)}, "fc.weight is left over"),
    "a shape": (
        lambda s: s | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
        "conv1.weight is [64, 1, 7, 7] for [64, 3",
    ),
    "other bins": (
        lambda s: s | {f"{h}.bias": torch.zeros(66) for h in HEADS},
        "heads of 66 bins, 90 (Gaze360) or 28",
    ),
    "no heads": (
        lambda s: {k: v for k, v in s.items() if "fc_" not in k},
        "no heads fc_yaw_gaze and fc_pitch_gaze",
    ),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_named(kind, tmp_path):
    change, sentence = MISFITS[kind]
    torch.save(change(official(L2cs())), tmp_path / "a.pkl")
    with pytest.raises(UserError) as error:
        L2csGaze(model=str(tmp_path / "a.pkl")).check()
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_checkpoint_and_one_that_would_run_code_are_refused(tmp_path, gaze360):
    cut_short = tmp_path / "cut.pkl"
    cut_short.write_bytes(gaze360.read_bytes()[:10_000])
    assert "cut.pkl is damaged or cut short" in mistake(tmp_path, f"gaze.model={cut_short}")
    torch.save({"a": Path("/")}, tmp_path / "evil.pkl")
    assert "could run any code, so it is not loaded" in mistake(
        tmp_path, f"gaze.model={tmp_path}/evil.pkl"
    )
    assert (
        mistake(tmp_path, "gaze.rule=any")
        == "error: gaze.rule is 'any': null or megactor is expected."
    )
