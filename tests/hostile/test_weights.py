"""Weights, checkpoints and model folders from anybody: no code in them runs, no size that they
claim is believed.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datagen.core.errors import UserError
from datagen.weights import tensors as files
from datagen.weights.look import look
from model import folder
from tests.fakes.checkpoints import trained
from tests.hostile import EXAMPLES, MIB, confined, fuzzing, replaced, spoilt
from training.trainer import checkpoint


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model"
    trained().save_pretrained(path)
    return path


@pytest.fixture
def model(whole, tmp_path) -> Path:
    """A model's folder that may be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def saved(path: Path, **content) -> Path:
    """A checkpoint of ours, with other things in it."""
    torch.save({"model": {}, "state_dict": {"a": torch.ones(3)}, "position": 0, **content}, path)
    return path


def refusals(path: Path, mebibytes: int = 100) -> list[str]:
    """What all readers of weights say of a file."""
    readers = [
        lambda: sum(t.numel() for t in files.read(path).values()),
        lambda: checkpoint.read(path).keys(),
        lambda: checkpoint.pipeline(path),
        lambda: look(path),
    ]
    return [confined(reader, UserError, mebibytes=mebibytes).refusal for reader in readers]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("location", ["model", "state_dict", "callbacks"])
def test_pickles_run_nothing(location, zipped, tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    content = {"model": {}, "state_dict": {}, "position": 0, location: Evil(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert all(refusals(path))
    assert checkpoint.newest(tmp_path) == (None, {})
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the trap works"


def test_bare_pickles_run_nothing(tmp_path):
    mark = tmp_path / "ran"
    for protocol in (0, 2, 4, 5):
        (tmp_path / "evil.bin").write_bytes(pickle.dumps({"a": Evil(mark)}, protocol))
        assert all(refusals(tmp_path / "evil.bin"))
    assert not mark.exists()


TARGETS = {
    "a program": {"_target_": "os.system", "_args_": ["touch MARK"]},
    "within a part": {
        "_target_": "model.pipeline.MegActorPipeline",
        "unet": {"_target_": "os.system", "command": "x"},
    },
    "in a list": {
        "_target_": "model.pipeline.MegActorPipeline",
        "unet": [{"_target_": "builtins.exec"}],
    },
    "of ours": {"_target_": "datagen.weights.tensors.read", "path": "/etc/passwd"},
    "halfway": {"_target_": "model.unet.DenoisingUNet", "_partial_": True},
    "looked up": {"_target_": "model.unet.DenoisingUNet", "x": "${oc.env:HOME}"},
    "of a type": {"_target_": ["os", "system"]},
    "a number": 3,
    "absurd": {"_target_": "model.unet.DenoisingUNet", "layers_per_block": 10**9},
    "nested": json.loads('{"a":' * 100 + "1" + "}" * 100),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_checkpoint_makes_models_and_nothing_else(kind, tmp_path):
    mark = tmp_path / "ran"
    config = json.loads(json.dumps(TARGETS[kind]).replace("MARK", str(mark)))
    path = saved(
        tmp_path / "a.ckpt", model={"config": config, "folder": None, "seed": 0, "grey": True}
    )
    assert "makes no model" in confined(lambda: checkpoint.pipeline(path), UserError).refusal
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        3,
        None,
        [],
        {},
        {"config": {}, "folder": 3},
        {"config": {}, "x": 1},
        {"config": {}, "seed": 0, "margin": "x"},
    ],
)
def test_a_checkpoint_that_does_not_say_its_model(content, tmp_path):
    path = saved(tmp_path / "a.ckpt", model=content)
    assert "makes no model" in confined(lambda: checkpoint.pipeline(path), UserError).refusal


def packed(path: Path, name: str, more: int) -> Path:
    """A checkpoint, compressed, with so many more bytes of zeros in a member."""
    plain = io.BytesIO()
    torch.save({"model": {}, "state_dict": {"a": torch.ones(3)}, "position": 0}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for info in source.infolist():
            with target.open(info.filename, "w") as member:
                member.write(source.read(info))
                for _ in range(more // MIB if info.filename.endswith(name) else 0):
                    member.write(bytes(MIB))
    return path


@pytest.mark.parametrize("name", ["data.pkl", "data/0", "version"])
def test_packed_checkpoints_are_refused(name, tmp_path):
    path = packed(tmp_path / "step-00000001.ckpt", name, 400 * MIB)
    assert path.stat().st_size < 4 * MIB
    assert all(refusals(path))
    assert confined(lambda: checkpoint.newest(tmp_path)).value[0] is None


def test_a_checkpoint_that_says_much_beside_its_tensors(tmp_path):
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"(" * 20 * MIB)
    assert all(refusals(path))


@pytest.mark.parametrize("length", [2**63, 2**62, 10**8, 2**31, 3, 0])
def test_safetensors_that_claim_a_long_header(length, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{" + bytes(100))
    assert all(refusals(path))


@pytest.mark.parametrize(
    "content",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [2**64 - 4, 2**64]}},
        {"a": {"dtype": "os.system", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 3},
        {"__metadata__": 3},
    ],
)
def test_safetensors_that_claim_more_than_lies_in_them(content, tmp_path):
    header = json.dumps(content).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert all(refusals(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x",
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"x",
        b"\x80\x02" + b"(" * 10**5 + b".",
        b"\x80\x02" + b"]" + b"2\x85" * 10**5 + b".",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_pickles_that_claim_gigabytes(data, tmp_path):
    (tmp_path / "a.bin").write_bytes(data)
    assert all(refusals(tmp_path / "a.bin"))


def change(path: Path, **content) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))


def loaded(path: Path) -> str:
    """The refusal of a folder."""
    return confined(lambda: type(folder.load(path)).__name__, UserError).refusal


def test_the_folder_is_whole(model):
    assert confined(lambda: type(folder.load(model)).__name__).value == "MegActorPipeline"


INDEXES = {
    "a file as the pipeline": {"_class_name": ["evil", "Evil"]},
    "another pipeline": {"_class_name": "StableDiffusionPipeline"},
    "a file as a part": {"unet": ["evil", "DenoisingUNet"]},
    "a module of the same class": {"vae": ["evil", "AutoencoderKL"]},
    "a program": {"scheduler": ["os", "system"]},
    "a module": {"scheduler": ["antigravity", "fly"]},
    "a module as the extractor": {"feature_extractor": ["evil", "CLIPImageProcessor"]},
    "another class": {"feature_extractor": ["transformers", "pipeline"]},
    "a further part": {"safety_checker": ["evil", "Evil"]},
    "no pair": {"unet": ["model.unet"]},
    "a word": {"unet": "evil"},
    "a number": {"scheduler": 3},
}


@pytest.mark.parametrize("kind", INDEXES)
def test_a_folder_names_parts_of_a_model_alone(kind, model, tmp_path, monkeypatch):
    """No file of it is imported, wherever it lies, nor any module by name."""
    mark = tmp_path / "ran"
    code = (
        f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\nDenoisingUNet = AutoencoderKL "
        "= Evil\n"
    )
    for location in (model, *(path for path in model.iterdir() if path.is_dir()), tmp_path):
        (location / "evil.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    change(model / "model_index.json", **INDEXES[kind])
    assert "cannot be loaded" in loaded(model)
    assert not mark.exists()


def test_code_that_a_part_names_is_left_alone(model, tmp_path):
    mark = tmp_path / "ran"
    (model / "image_encoder" / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    change(
        model / "image_encoder" / "config.json",
        auto_map={"AutoModel": "evil.Evil"},
        custom_code="evil",
    )
    loaded(model)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("unet/config.json", {"layers_per_block": 10**9}),
        ("unet/config.json", {"motion_max_seq_length": 10**11}),
        ("unet/config.json", {"block_out_channels": [64] * 10**5}),
        ("unet/config.json", {"block_out_channels": "x" * 100}),
        ("unet/config.json", {"attention_levels": 5}),
        ("unet/config.json", {"attention_levels": [True] * 10**5}),
        ("reference_net/config.json", {"layers_per_block": [10**9]}),
        ("image_encoder/config.json", {"num_hidden_layers": 10**9}),
        ("image_encoder/config.json", {"image_size": 10**9}),
        ("vae/config.json", {"layers_per_block": 10**9}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}),
        ("unet/config.json", {"x": json.loads('{"a":' * 300 + "1" + "}" * 300)}),
    ],
)
def test_numbers_that_no_model_has(file, content, model):
    change(model / file, **content)
    assert loaded(model)


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"a":' * 10**5, "3", "", "\x00", "9" * 10**5, "NaN"]
)
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json"])
def test_configurations_that_are_none(file, text, model):
    (model / file).write_text(text)
    assert loaded(model)


def test_a_configuration_of_a_gigabyte(model):
    os.truncate(model / "unet" / "config.json", 2**30)
    assert loaded(model)


def test_weights_that_are_linked_from_elsewhere_are_named_within(model):
    """An index of shards leads to files beside it alone."""
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(model / "unet" / "x.safetensors")
    content = {"weight_map": {"a": "../../x.safetensors"}}
    (model / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(content)
    )
    assert "weight_map" in loaded(model)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_spoilt_weights(examples, tmp_path):
    path = saved(tmp_path / "a.ckpt")
    zipped = path.read_bytes()
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    old = path.read_bytes()
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    safe = struct.pack("<Q", len(header)) + header + bytes(4)

    @fuzzing(examples)
    @given(st.one_of(spoilt(zipped), spoilt(old), spoilt(safe)))
    def read(data):
        path.write_bytes(data)
        for reader in (files.read, checkpoint.read, look):
            try:
                reader(path)
            except UserError as error:
                assert len(str(error)) < 1000

    confined(read, mebibytes=600, seconds=900)


@pytest.mark.parametrize("examples", [pytest.param(5), pytest.param(150, marks=pytest.mark.slow)])
def test_spoilt_folders(examples, model):
    locations = (
        "model_index.json",
        "unet/config.json",
        "image_encoder/config.json",
        "scheduler/scheduler_config.json",
    )
    good = {location: (model / location).read_bytes() for location in locations}

    @fuzzing(examples)
    @given(
        st.sampled_from(locations).flatmap(
            lambda p: st.tuples(st.just(p), replaced(json.loads(good[p])))
        )
    )
    def read(spoilt_file):
        location, content = spoilt_file
        (model / location).write_text(json.dumps(content))
        try:
            folder.load(model)
        except UserError as error:
            assert len(str(error)) < 1000
        (model / location).write_bytes(good[location])

    confined(read, mebibytes=1500, seconds=900)
