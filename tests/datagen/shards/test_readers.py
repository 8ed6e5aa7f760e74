"""What training programs see of the shards: WebDataset, Hugging Face datasets and Ray read the same
samples.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from datagen.media import video
from datagen.shards.index import FIELDS
from tests import faults

ARRAYS = {
    "boxes": (4,),
    "landmarks": (478, 2),
    "confidence": (),
    "gaze": (2,),
    "head": (3,),
    "eyes": (),
}
VIDEOS = [field for field in FIELDS if field.endswith("mp4")]
STAGES = {"source", "clips", "faces", "mask", "gaze", "swap", "style", "agree"}


@pytest.fixture(scope="module")
def shards(sample) -> Path:
    return sample


@pytest.fixture(scope="module")
def samples(shards) -> dict[str, dict[str, bytes]]:
    """As the bytes lie in the tars."""
    return faults.samples(shards)


@pytest.fixture(scope="module")
def files(shards) -> list[str]:
    return [str(file) for file in sorted(shards.glob("*.tar"))]


def test_all_samples_have_all_fields(samples):
    assert len(samples) == 2
    assert {tuple(sorted(fields)) for fields in samples.values()} == {FIELDS}


def test_videos_and_arrays_are_of_one_length(samples, tmp_path):
    for fields in samples.values():
        count = json.loads(fields["json"])["frames"]
        for field in VIDEOS:
            (tmp_path / "a.mp4").write_bytes(fields[field])
            shown = [rgb.shape for rgb in video.frames(tmp_path / "a.mp4")]
            assert shown == [(512, 512, 3)] * count, field
        with np.load(io.BytesIO(fields["faces.npz"]), allow_pickle=False) as arrays:
            assert {name: arrays[name].shape for name in arrays} == {
                n: (count, *s) for n, s in ARRAYS.items()
            }
            assert {arrays[name].dtype for name in arrays} == {np.dtype(np.float32)}


def test_json_tells_where_a_sample_comes_from_and_what_was_measured(samples):
    for key, fields in samples.items():
        told = json.loads(fields["json"])
        assert told["key"] == key
        assert told["split"] in ("train", "val")
        assert told["identity"] == key.split("-")[2]
        assert told["group"] == f"identity:{told['identity']}"
        assert told["source"]["name"] == "sample" and len(told["source"]["sha256"]) == 64
        assert told["span"][0] == 0 and told["span"][1] == pytest.approx(
            told["frames"] / told["fps"], abs=0.04
        )
        assert (
            told["rights"]["license"] == "public domain (NASA, US Navy)"
            and told["rights"]["synthetic"] is True
        )
        assert set(told["stages"]) == STAGES
        assert set(told["metrics"]) == STAGES - {"source"}
        assert set(told["synthetic"]) == {"swapped.mp4", "styled.mp4"}
        assert told["synthetic"]["swapped.mp4"]["donor"] != told["identity"]


def test_truth_is_of_the_frames(samples):
    for fields in samples.values():
        told = json.loads(fields["json"])
        curves = {name: values for name, values in told["truth"].items() if name != "fps"}
        assert {"gaze_yaw", "gaze_pitch", "blink", "mouth", "head_yaw"} <= set(curves)
        assert {len(values) for values in curves.values()} == {told["frames"]}
        with np.load(io.BytesIO(fields["faces.npz"]), allow_pickle=False) as arrays:
            eyes, head = arrays["eyes"], np.rad2deg(arrays["head"])
        assert np.corrcoef(eyes, curves["blink"])[0, 1] < -0.7
        assert np.corrcoef(head[:, 0], curves["head_yaw"])[0, 1] > 0.9


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_webdataset_reads_them(files, samples):
    import webdataset

    plain = {
        sample["__key__"]: sample for sample in webdataset.WebDataset(files, shardshuffle=False)
    }
    assert {
        key: {field: sample[field] for field in FIELDS} for key, sample in plain.items()
    } == samples
    decoded = {
        sample["__key__"]: sample
        for sample in webdataset.WebDataset(files, shardshuffle=False).decode()
    }
    for key, fields in samples.items():
        assert decoded[key]["json"] == json.loads(fields["json"])
        assert decoded[key]["faces.npz"]["landmarks"].shape == (
            decoded[key]["json"]["frames"],
            478,
            2,
        )


def test_hugging_face_datasets_reads_them(files, samples, tmp_path):
    from datasets import Video, load_dataset

    stream = load_dataset(
        "webdataset", data_files=files, split="train", streaming=True, cache_dir=str(tmp_path)
    )
    for field in VIDEOS:
        stream = stream.cast_column(field, Video(decode=False))
    rows = {row["__key__"]: row for row in stream}
    assert list(rows) == list(samples)
    for key, fields in samples.items():
        assert {field: rows[key][field]["bytes"] for field in VIDEOS} == {
            field: fields[field] for field in VIDEOS
        }
        told = json.loads(fields["json"])
        assert (rows[key]["json"]["frames"], rows[key]["json"]["group"]) == (
            told["frames"],
            told["group"],
        )
        assert np.shape(rows[key]["faces.npz"]["landmarks"]) == (told["frames"], 478, 2)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
def test_ray_data_reads_them(files, samples):
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 * 2**20,
    )
    try:
        rows = ray.data.read_webdataset(files, decoder=None).take_all()
    finally:
        ray.shutdown()
    assert {row["__key__"]: {field: row[field] for field in FIELDS} for row in rows} == samples
