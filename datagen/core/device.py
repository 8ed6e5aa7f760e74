"""Where a stage's PyTorch model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.core.errors import UserError
from datagen.core.options import refuse_number

if TYPE_CHECKING:
    import torch


def refuse_gpus(option: str, gpus: object) -> None:
    """UserError where the option is no share of a GPU; a worker computes on one at most."""
    refuse_number(option, gpus, 0, 1)


def refuse_no_gpu(option: str, gpus: float) -> None:
    """UserError where a GPU is asked for and PyTorch sees none here."""
    import torch

    if gpus > 0 and not torch.cuda.is_available():
        raise UserError(
            f"{option} is {gpus:g} and PyTorch sees no GPU here: say {option}=0, or take "
            "another machine."
        )


def device(gpus: float) -> torch.device:
    """A GPU if a share of one is asked for, else the CPU with one thread: then numbers do not
    depend on how many processors a machine has.
    """
    import torch

    if gpus > 0:
        refuse_no_gpu("gpus", gpus)
        return torch.device("cuda")
    torch.set_num_threads(1)
    return torch.device("cpu")


def at_once(gpus: float, batch: int) -> int:
    """Pictures that a network is given together: `batch` on a GPU; one on a CPU, which is as fast
    there and gives the same bits whatever the batch.
    """
    return batch if gpus > 0 else 1
