"""Shards with their card beside them: Hugging Face's libraries read both, and the card's own code
runs.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from datagen.core.files import canonical
from datagen.shards.index import FIELDS, read_index
from datagen.shards.writer import Member, Sample, pack
from datagen.stats import card as cards
from datagen.stats.card import write_card
from datagen.stats.dataset import read_dataset
from tests import faults
from tests.datagen.stats import made_up
from tests.datagen.stats.markdown import Page, body

HUB = {"train": "train", "val": "validation"}


def samples(folder: Path) -> list[dict[str, Any]]:
    """The json members, as they lie in the tars."""
    return [json.loads(fields["json"]) for fields in faults.samples(folder).values()]


def rounded(value: Any) -> Any:
    """`datasets` writes JSON anew, and the last digit of a number may differ."""
    return json.loads(json.dumps(value), parse_float=lambda digits: round(float(digits), 9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample) -> Path:
    """The small sample's shards with report and card beside them."""
    folder = tmp_path_factory.mktemp("card") / "shards"
    shutil.copytree(sample, folder)
    (folder / "report.html").write_text("<p>not part of the data")
    assert write_card(read_dataset(folder, folder / "ledger.jsonl"), folder / "README.md")
    return folder


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> Path:
    """130 clips of which only the last ten have a lip correlation, a subset and a truth, with their
    card.
    """
    folder = tmp_path_factory.mktemp("varied") / "shards"
    folder.mkdir()
    pack((_varied(number) for number in range(130)), folder, {"books": _books(130), "rejects": []})
    assert write_card(read_dataset(folder, folder / "ledger.jsonl"), folder / "README.md")
    return folder


def _varied(number: int) -> Sample:
    sentence = made_up.described(number, {})
    sentence["subsets"] = ["gaze"] if number >= 120 else []
    sentence["metrics"]["agree"]["swap"]["mouth_r"] = 0.5 if number >= 120 else None
    sentence |= {"truth": {"fps": 25, "blink": [0.0, 1.0]}} if number >= 120 else {}
    arrays, file = (
        {name: np.zeros((3, *shape), np.float32) for name, shape in cards.ARRAYS.items()},
        io.BytesIO(),
    )
    np.savez_compressed(file, **arrays)
    data = dict.fromkeys(made_up.VIDEOS, b"film") | {
        "faces.npz": file.getvalue(),
        "json": canonical(sentence).encode(),
    }
    members = tuple(Member.of_bytes(field, data[field]) for field in FIELDS)
    return Sample(
        sentence["key"], sentence["split"], 1.0, sentence["frames"], sentence["group"], members
    )


def _books(kept: int) -> dict[str, int]:
    return {"planned": kept, "kept": kept, "filtered": 0, "invalid": 0, "failed": 0}


@pytest.mark.parametrize("is_streaming", [True, False])
def test_datasets_loads_the_folder_by_its_card(folder, tmp_path, is_streaming):
    loaded = _load(folder, tmp_path, is_streaming)
    result, rows = (
        samples(folder),
        {row["__key__"]: row for split in loaded.values() for row in split},
    )
    assert set(loaded) == {HUB[one["split"]] for one in result}
    assert len(rows) == len(result)
    for one, (key, fields) in zip(result, faults.samples(folder).items(), strict=True):
        assert rounded(rows[key]["json"]) == rounded(one)
        assert {name: rows[key][name]["bytes"] for name in fields if name.endswith("mp4")} == {
            name: data for name, data in fields.items() if name.endswith("mp4")
        }
        assert {
            name: len(values) for name, values in rows[key]["faces.npz"].items()
        } == dict.fromkeys(cards.ARRAYS, one["frames"])


@pytest.mark.parametrize("is_streaming", [True, False])
def test_datasets_loads_clips_whose_json_differs(varied, tmp_path, is_streaming):
    loaded = _load(varied, tmp_path, is_streaming)
    found = {row["json"]["key"]: row["json"] for split in loaded.values() for row in split}
    assert rounded(found) == rounded({result["key"]: result for result in samples(varied)})


def test_without_the_card_datasets_fails_there(varied, tmp_path):
    """Why the card names the fields."""
    from datasets.exceptions import DatasetGenerationError

    bare = tmp_path / "bare"
    shutil.copytree(varied, bare, ignore=shutil.ignore_patterns("README.md"))
    with pytest.raises(DatasetGenerationError):
        _load(bare, tmp_path, False)


def _load(folder: Path, cache: Path, is_streaming: bool) -> Any:
    from datasets import Video, load_dataset

    loaded = load_dataset(str(folder), streaming=is_streaming, cache_dir=str(cache / "cache"))
    for name in made_up.VIDEOS:
        loaded = loaded.cast_column(name, Video(decode=False))
    return loaded


def test_code_of_the_card_runs(folder, tmp_path):
    codes = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert len(codes) == 3
    environment = os.environ | {
        "HF_HOME": str(tmp_path),
        "PYTHONWARNINGS": "ignore",
        "TQDM_DISABLE": "1",
    }
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        for code in codes
    ]
    assert [(ended.returncode, ended.stderr) for ended in printed] == [(0, "")] * 3
    result = samples(folder)
    first = [
        one
        for one in result
        if one["split"] == ("train" if list(folder.glob("train-*")) else "val")
    ]
    assert [line.split()[0] for line in printed[0].stdout.splitlines()[::2]] == [
        one["key"] for one in first
    ]
    assert "(512, 512, 3)" in printed[0].stdout
    assert [line.split()[0] for line in printed[1].stdout.splitlines()] == [
        one["key"] for one in first
    ]
    assert printed[2].stdout.split() == [one["key"] for one in result if "gaze" in one["subsets"]]


def test_hugging_face_reads_the_head(folder):
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    data = DatasetCard.load(folder / "README.md").data
    index, result = read_index(folder), samples(folder)
    names = [HUB[split] for split in ("train", "val") if list(folder.glob(f"{split}-*.tar"))]
    files = MetadataConfigs.from_dataset_card_data(data)["default"]["data_files"]
    info = DatasetInfosDict.from_dataset_card_data(data)["default"]
    assert [entry["split"] for entry in files] == list(info.splits) == names
    assert sorted(file.name for entry in files for file in folder.glob(entry["path"])) == sorted(
        entry["file"] for entry in index["shards"]
    )
    assert sum(split.num_examples for split in info.splits.values()) == len(result)
    assert sum(split.num_bytes for split in info.splits.values()) == info.dataset_size
    assert info.dataset_size == sum(
        len(data) for fields in faults.samples(folder).values() for data in fields.values()
    )
    assert info.download_size == sum(file.stat().st_size for file in folder.glob("*.tar"))
    assert set(info.features) == {*FIELDS, "__key__", "__url__"}
    assert (data.license, data.license_name) == ("other", "public-domain-nasa-us-navy")
    assert (data.task_categories, data.size_categories) == (["image-to-video"], ["n<1K"])


def test_fields_are_those_of_the_shards(folder):
    shown = {
        row[0]: row[1]
        for row in Page(body((folder / "README.md").read_text())).tables["member type"]
    }
    fields = next(iter(faults.samples(folder).values()))
    with np.load(io.BytesIO(fields["faces.npz"])) as arrays:
        frames = json.loads(fields["json"])["frames"]
        shapes = {
            name: ["T", *arrays[name].shape[1:]] for name in arrays if len(arrays[name]) == frames
        }
        assert {arrays[name].dtype for name in arrays} == {np.dtype(np.float32)}
    for name, shape in shapes.items():
        assert shown.pop(f"faces.npz: {name}").startswith(f"float32 [{', '.join(map(str, shape))}]")
    assert set(shown) | {"faces.npz"} == set(FIELDS)


def test_made_up_people_need_no_consent(folder):
    shown = Page(body((folder / "README.md").read_text()))
    assert "2 of 2 clips show synthetic people" in shown.text
    assert [comment.split()[0] for comment in shown.comments] == ["megactor-kit"]
    assert "clips show real people" not in shown.text
    assert "Warning. The licence" not in shown.text
    assert shown.tables["clips licence"][0][1:] == [
        "public domain (NASA, US Navy)",
        "-",
        "NASA, portrait of Eileen Collins; US Navy, portrait of Grace Hopper",
        "scikit-image data.astronaut, matplotlib grace_hopper.jpg",
        "synthetic",
    ]
