"""Nothing lost and nothing doubled, for any ranks and workers, from any position; what cannot be
read is replaced.
"""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch

from datagen.core.errors import UserError
from datagen.shards.writer import pack
from tests.training import numbered
from training.data.batch import Batch
from training.data.index import read_shard_index
from training.data.module import ClipDataModule, Resolution, loader
from training.data.sampler import PositionBatchSampler, SampleOrder

CLIPS, BATCH = 7, 2
RESOLUTION = Resolution(32, 32, 4)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return numbered.shards(tmp_path_factory.mktemp("numbered"), [5] * CLIPS)


def data(shards: Path, **options) -> ClipDataModule:
    given = {
        "frames": 2,
        "stride": 1,
        "preparation": numbered.Preparation(),
        "resolution": RESOLUTION,
        "batch": BATCH,
    }
    return ClipDataModule(str(shards), **(given | options))


def stream(
    shards: Path, steps: int, world: int = 1, workers: int = 0, start: int = 0, **options
) -> list[Batch]:
    """Batches of all ranks in the order of their positions."""
    clips = data(shards, **options).dataset("train")
    ranks = [
        loader(clips, PositionBatchSampler(start, BATCH, rank, world), workers)
        for rank in range(world)
    ]
    taken = zip(*(list(islice(iter(rank), steps)) for rank in ranks), strict=True)
    return [batch for step in taken for batch in step]


def rows(batches: list[Batch]) -> list[tuple]:
    """Position, key, frames, reference, twin and mean of every sample."""
    return [
        (p, key, tuple(frames), reference, twin, mean)
        for b in batches
        for p, key, frames, reference, twin, mean in zip(
            b.positions.tolist(),
            b.keys,
            b.frames.tolist(),
            b.reference_frames.tolist(),
            b.twins,
            b.driving.double().mean((1, 2, 3, 4)).tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_has_every_sample_once(shards, world, workers):
    epochs = 3
    steps = -(-epochs * CLIPS // (BATCH * world))
    found = rows(stream(shards, steps, world, workers))
    assert [row[0] for row in found] == list(range(steps * BATCH * world))
    for epoch in range(epochs):
        part = [row[1] for row in found[epoch * CLIPS : (epoch + 1) * CLIPS]]
        assert Counter(part) == Counter(f"clip-{i:03d}" for i in range(CLIPS))
    assert found == rows(stream(shards, steps * world))[: len(found)]


@pytest.mark.parametrize("start", [1, 8, 17])
@pytest.mark.parametrize(("world", "workers"), [(1, 2), (3, 0)])
def test_any_world_goes_on_from_any_position(shards, start, world, workers):
    whole = rows(stream(shards, 16))
    rest = rows(stream(shards, 2, world, workers, start))
    assert rest == whole[start : start + len(rest)]


def test_the_position_is_saved_and_restored_by_the_datamodule(shards):
    first = data(shards)
    taken = list(islice(iter(first.train_dataloader()), 5))
    first.start(3 * BATCH)  # trained on three, whatever was fetched
    second = data(shards)
    second.load_state_dict(first.state_dict())
    assert rows(list(islice(iter(second.train_dataloader()), 2))) == rows(taken[3:])


def test_epochs_and_seeds_differ(shards):
    orders = {
        tuple(SampleOrder(40, seed).sample(p + 40 * epoch) for p in range(40))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4
    assert {row[2:5] for row in rows(stream(shards, 3, seed=1))} != {
        row[2:5] for row in rows(stream(shards, 3))
    }


def test_the_global_state_of_random_numbers_is_neither_used_nor_moved(shards):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one = rows(stream(shards, 3, workers=2))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert rows(stream(shards, 3, workers=2)) == one


def test_resampling_draws_with_replacement_and_people_evenly(tmp_path):
    people = ["a", "a", "a", "b"]
    samples = [
        numbered.sample(tmp_path, f"clip-{i}", 3, "train", identity=who)
        for i, who in enumerate(people)
    ]
    pack(samples, tmp_path, {})
    drawn = Counter(
        data(tmp_path, resample=True).dataset("train").order.sample(p) for p in range(400)
    )
    assert all(abs(drawn[i] - 100) < 30 for i in range(4))
    even = Counter(
        data(tmp_path, resample=True, balance="identity").dataset("train").order.sample(p)
        for p in range(400)
    )
    assert abs(even[3] - 200) < 40


def test_a_subset_takes_its_samples_alone(tmp_path):
    samples = [
        numbered.sample(tmp_path, f"clip-{i}", 3, "train", subsets=["gaze"] if i % 2 else [])
        for i in range(5)
    ]
    pack(samples, tmp_path, {"select": {"subsets": {"gaze": []}}})
    found = data(tmp_path, subset="gaze").dataset("train", "gaze").shards
    assert [found.key(i) for i in range(len(found))] == ["clip-1", "clip-3"]
    with pytest.raises(
        UserError, match="no samples of subset 'talk' in 'train': the subsets are gaze"
    ):
        read_shard_index(tmp_path, "train", subset="talk")


@pytest.fixture
def mine(shards, tmp_path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(shards, tmp_path / "mine")


def test_an_unreadable_sample_is_replaced_by_the_next_of_its_epoch_and_named(mine):
    clips = data(mine).dataset("train")
    bad = clips.order.sample(2)
    where = clips.shards.offsets[bad, 3]  # the target
    path = mine / clips.shards.files[clips.shards.shard[bad]]
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\0" * int(clips.shards.sizes[bad, 3]))
    batch, whole = clips[2], [clips[p] for p in range(CLIPS) if p != 2]
    assert batch.replaced[0][0] == clips.shards.key(bad)
    assert batch.replaced[0][1].startswith("mp4 cannot be decoded")
    assert batch.keys == (clips.shards.key(clips.order.sample(3)),)
    assert batch.positions.tolist() == [2]
    assert not any(other.replaced for other in whole)


def test_the_substitute_of_an_epochs_last_place_is_its_first():
    order = SampleOrder(CLIPS, 0)
    assert order.sample(2 * CLIPS - 1, 1) == order.sample(CLIPS)


@pytest.mark.parametrize("fault", ["missing", "bytes"])
def test_a_shard_that_changes_while_training_ends_it(mine, fault):
    clips = data(mine).dataset("train")
    path = mine / clips.shards.files[1]
    path.unlink() if fault == "missing" else path.write_bytes(path.read_bytes()[512:])
    with pytest.raises(UserError, match=f"{path.name} .*{fault}.*put it back as it was"):
        [clips[p] for p in range(CLIPS)]


def test_other_content_of_the_same_size_is_noticed(mine):
    clips = data(mine).dataset("train")
    path = mine / clips.shards.files[0]
    content = path.read_bytes()
    path.write_bytes(content[512:] + content[:512])
    told = [reason for p in range(CLIPS) for _, reason in clips[p].replaced]
    assert told
    assert all("does not hold" in reason for reason in told)


def test_nothing_readable_is_an_error_and_no_endless_search(mine):
    clips = data(mine).dataset("train")
    for file in clips.shards.files:
        content = (mine / file).read_bytes()
        (mine / file).write_bytes(content[512:] + content[:512])
    with pytest.raises(UserError, match=f"{CLIPS} samples after each other cannot be read"):
        clips[0]


def test_faults_of_the_shards_are_told_at_the_start_and_together(mine):
    files = sorted(mine.glob("*.tar"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-512])
    content = bytearray(files[2].read_bytes())
    content[:8] = b"clip-999"
    files[2].write_bytes(content)
    with pytest.raises(UserError) as told:
        read_shard_index(mine, "train")
    assert f"{files[0].name} is missing" in str(told.value)
    assert f"{files[1].name} has" in str(told.value)
    assert files[2].name in str(told.value)


def test_an_empty_split_and_no_shards_are_clear_errors(shards, tmp_path):
    with pytest.raises(UserError, match="has no samples in 'val': train 7, val 0"):
        read_shard_index(shards, "val")
    with pytest.raises(UserError, match=r"holds no index\.json"):
        read_shard_index(tmp_path, "train")
