"""What the benchmarks of the model and of its training share: their words, and the card's
memory.
"""

from __future__ import annotations

import argparse

import torch


def given(description: str) -> argparse.Namespace:
    """`device` and `rounds` of the command line; the first line of the description is told. One
    thread from here on.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    torch.set_num_threads(1)
    return parser.parse_args()


def peak_gib() -> float:
    """GPU memory that was taken at most since the last `torch.cuda.reset_peak_memory_stats`."""
    return torch.cuda.max_memory_allocated() / 2**30
