"""How good is a trained model, or anybody's video?

python -m training.evaluate --checkpoint CKPT mode=cross
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datagen.cli import command
from datagen.options import option

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class EvaluateOptions:
    checkpoint: str | None = option(
        None, "what to evaluate: a model's folder, or a .ckpt file of the trainer"
    )
    mode: str = option(
        "cross",
        "cross: pairs of different people of the sample source's val split; self: clips of "
        "any val split",
    )
    input: str = option("data/shards", "folder of shards")
    videos: tuple[str, str] | None = option(
        None, "in place of a checkpoint: an output and what it is compared to, files or folders"
    )
    against: str = option("truth", "what the second video is: truth or driving")
    reference: str | None = option(
        None,
        "picture of the portrait of --videos: likeness to it, and with against=driving the "
        "estimated leakage",
    )
    compare: tuple[str, str] | None = option(
        None, "two folders that this command wrote: paired differences, second less first"
    )
    output: str = option("data/evaluation/last", "folder for JSON files and videos")
    cases: int = option(6, "of a checkpoint: pairs of people, or clips")
    frames: int = option(50, "frames of each case, or the most of a video that are compared")
    stride: int = option(1, "frames of the source to a frame of the case")
    steps: int = option(25, "denoising steps")
    guidance: float = option(
        4.5, "how strongly the portrait is followed; 1: no second pass without it"
    )
    window: int = option(16, "frames that the model sees at once")
    overlap: int = option(8, "frames that windows share")
    seed: int = option(42, "of the noise, and of the references")
    features: str | None = option(
        None,
        "TorchScript file: adds the Frechet distance, FID of pictures or FVD of clips, as its "
        "network takes",
    )
    readout: str = option(
        "data/readout",
        "folder where pictures for the readout are kept (training/evaluation/readout.py)",
    )
    device: str = option("auto", "auto: cuda where there is one, else cpu")
    overwrite: bool = option(False, "replace an evaluation in the output folder")


@command("evaluate", EvaluateOptions)
def main(cfg: DictConfig) -> int:
    from training.evaluation.run import evaluate

    return evaluate(cfg)


if __name__ == "__main__":
    main()
