"""What the trainer's tests share: shards and a model so small that a fit takes a second or two, and
what a run left.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn.functional import interpolate

from datagen.shards import writer as pack
from tests import faults
from tests.training import numbered
from training.objective.denoise import DenoisingLoss
from training.objective.noise import NoiseSampler
from training.trainer.checkpoint import checkpoints

SMALL = (
    *("model=tiny", "trainer=cpu", "model.unet.block_out_channels=[32,32]"),
    "model.unet.attention_levels=[true,false]",
    *(
        "model.unet.num_attention_heads=1",
        "data.frames=2",
        "data.workers=0",
        "optim.lr=1e-3",
        "optim.warmup=5",
    ),
    *("log_every=1", "validate_every=0", "checkpoint_every=1000", "progress=false"),
)
EMA = "optim.ema=0.9"
STATE = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "position",
    "global_step",
    "callbacks",
    "model",
    "loops",
)


class Poisoned(DenoisingLoss):
    """At the sample with position `bad` the loss is not finite, or with `hidden` its gradient
    alone.
    """

    def __init__(self, sampler: NoiseSampler, bad: int, hidden: bool = False, **options: Any):
        super().__init__(sampler, **options)
        self.bad, self.hidden = bad, hidden

    def __call__(self, prediction, batch, noise):
        losses, values = super().__call__(prediction, batch, noise)
        if self.bad not in batch.positions.tolist():
            return losses, values
        if self.hidden:
            return losses + (0 * prediction.sum()).abs().sqrt(), values
        return losses * float("nan"), values


class FaceLoss(DenoisingLoss):
    """Errors in the target's face count `face_weight` times as much: a loss that needs the mask."""

    needs = ("mask",)

    def __init__(self, sampler: NoiseSampler, face_weight: float = 1.0, **options: Any):
        super().__init__(sampler, **options)
        self.face_weight = face_weight

    def __call__(self, prediction, batch, noise):
        errors = self.squared_errors(prediction, noise)  # b c f h w
        face = interpolate((batch.mask == 255).float(), errors.shape[3:], mode="area")[:, None]
        weighed = errors * (1 + (self.face_weight - 1) * face)
        losses = weighed.flatten(1).mean(1) * self.timestep_weights(noise)
        return losses, {"face": (errors * face).mean(), "mse": errors.mean()}


class Fate(DenoisingLoss):
    """At the sample with the position that the environment's FATE begins with, before it is learnt,
    something befalls: `kill` or `term` the process, or `remove` or `damage` the file that is named
    last.
    """

    def __call__(self, prediction, batch, noise):
        position, what, path = os.environ.get("FATE", "-1  ").split(" ")
        if int(position) in batch.positions.tolist():
            self.befall(what, Path(path))
        return super().__call__(prediction, batch, noise)

    def befall(self, what: str, path: Path) -> None:
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif what == "remove":
            path.unlink()
        else:
            damage(path)


def damage(shard: Path) -> None:
    """Zeros where the target of the clip train-0 was."""
    with shard.open("r+b") as file:
        file.seek(shard.read_bytes().index(b"train-0.mp4\0") + 512)
        file.write(bytes(1000))


FATE = "objective._target_=tests.training.fits.Fate"
POISON = "objective._target_=tests.training.fits.Poisoned"
FACE_LOSS = ("objective._target_=tests.training.fits.FaceLoss", "+objective.face_weight=3")


def shards(folder: Path, held_identity: str | None = None) -> Path:
    """Clips of 8 frames, five to learn and three held back, each of another person or these three
    of one.
    """
    told = {} if held_identity is None else {"identity": held_identity}
    samples = [numbered.sample(folder, f"train-{number}", 8, "train") for number in range(5)]
    samples += [numbered.sample(folder, f"val-{number}", 8, "val", **told) for number in range(3)]
    pack.pack(samples, folder, {}, shard_samples=4)
    return folder


def words(data: Path, output: Path, *more: str) -> list[str]:
    return [*SMALL, f"data.input={data}", "--output", str(output), *more]


def fit(data: Path, output: Path, *more: str, code: int = 0) -> faults.Run:
    """python -m training.fit in this process."""
    ended = faults.call("training.fit", *words(data, output, *more))
    assert ended.code == code, ended.err
    return ended


def fit_code(arguments: list[str], environment: dict[str, str], log: Path, result: Any) -> None:
    """In a process and group of its own: its words on stderr go to `log`, the exit code to a
    queue.
    """
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # for the loader, as everywhere on Linux
    torch.set_num_threads(1)
    os.environ |= environment
    with log.open("w") as sink:
        os.dup2(sink.fileno(), 2)
    ended = faults.call("training.fit", *arguments)
    log.write_text(log.read_text() + ended.err)
    result.put(ended.code)


def background(
    arguments: list[str], log: Path, environment: dict[str, str] | None = None
) -> tuple[Any, Any]:
    """(process, queue of its exit code)."""
    context = server()
    result = context.Queue()
    process = context.Process(target=fit_code, args=(arguments, environment or {}, log, result))
    process.start()
    return process, result


def ranks(
    count: int,
    arguments: list[str],
    log: Path,
    environments: dict[int, dict[str, str]] | None = None,
    expected: Sequence[int] | None = None,
) -> list[int]:
    """Exit codes of the `expected` of `count` processes that train together as under torchrun, by
    default of all; rank n's words go to log-n.
    """
    port, together = free_port(), [*arguments, f"trainer.devices={count}", "trainer.strategy=ddp"]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
    }
    started = []
    for rank in range(count):
        environment = shared | {"LOCAL_RANK": str(rank)} | (environments or {}).get(rank, {})
        started.append(background(together, log.with_name(f"{log.name}-{rank}"), environment))
    codes = [started[rank][1].get(timeout=90) for rank in expected or range(count)]
    for process, _ in started:
        process.join(30)
    return codes


@cache
def server() -> Any:
    """Forks processes that have the imports behind them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.trainer.run", "tests.training.fits"])
    return context


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def state(output: Path) -> dict[str, Any]:
    """What the newest checkpoint of a run holds."""
    return torch.load(checkpoints(output)[0], weights_only=True)


def logged(output: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of a run's TensorBoard log, those of all its files."""
    found: dict[str, list[tuple[int, float]]] = {}
    for events in _events(output):
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend(
                (event.step, event.value) for event in events.Scalars(tag)
            )
    return {tag: sorted(values) for tag, values in found.items()}


def images(output: Path) -> set[str]:
    return {tag for events in _events(output) for tag in events.Tags()["images"]}


def _events(output: Path) -> Iterator[EventAccumulator]:
    for file in sorted((output / "log").glob("events.*")):
        yield EventAccumulator(str(file)).Reload()


def differences(
    found: Any, expected: Any, differ: Callable[[Tensor, Tensor], bool], where: str = ""
) -> Iterator[str]:
    """Places in two nested states whose tensors `differ`, or whose other values are not equal."""
    if torch.is_tensor(found) and torch.is_tensor(expected):
        if found.shape != expected.shape or differ(found, expected):
            yield where
    elif isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        for key in found:
            yield from differences(found[key], expected[key], differ, f"{where}/{key}")
    elif (
        isinstance(found, list | tuple)
        and isinstance(expected, list | tuple)
        and len(found) == len(expected)
    ):
        yield from _in_order(zip(found, expected, strict=True), differ, where)
    elif found != expected:
        yield f"{where}: {found!r}, not {expected!r}"


def _in_order(
    pairs: Iterable[tuple[Any, Any]], differ: Callable[[Tensor, Tensor], bool], where: str
) -> Iterator[str]:
    for number, (one, other) in enumerate(pairs):
        yield from differences(one, other, differ, f"{where}/{number}")


def bits_differ(found: Tensor, expected: Tensor) -> bool:
    return not torch.equal(found, expected)


def far(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() > 1e-4)


def assert_same(output: Path, expected: Path, logs: bool = True) -> None:
    """Weights, optimizer, mean, learning rate, position, loops; losses of every step."""
    found, wanted = state(output), state(expected)
    for part in STATE:
        assert not list(differences(found[part], wanted[part], bits_differ)), part
    assert found["state_dict"] and found["optimizer_states"][0]["state"]
    if logs:
        for tag in ("loss/train", "lr", "gradients/norm", "epoch"):
            assert logged(output)[tag] == logged(expected)[tag], tag
