"""The options of datagen.shards, which datagen.doctor takes too."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.job_options import JobOptions
from datagen.options import option


@dataclass
class ShardsOptions(JobOptions):
    output: str = option(
        "data/shards", "folder for train-NNNNNN.tar, val-NNNNNN.tar and index.json"
    )
    shard_samples: int = option(1000, "samples in a shard at most")
    shard_mb: int = option(512, "MiB in a shard at most")
