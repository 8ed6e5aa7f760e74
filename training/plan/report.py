"""What a training would do and need, and all its mistakes, before it begins."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError, safe_open

from datagen.core.errors import UserError
from datagen.weights.names import modern
from datagen.weights.registry import WEIGHTS
from model.build import PARTS, skeleton
from model.pipeline import MegActorPipeline
from model.resolve import refuse_window
from training.cache.reader import opened
from training.data.dataset import Resolution
from training.data.module import ClipDataModule
from training.objective.config import configured_loss
from training.optim.optimizer import refuse, train_only
from training.plan.memory import MemoryEstimate, estimate
from training.trainer.checkpoint import read
from training.trainer.options import option_mistakes
from training.trainer.run_folder import RunFolder


@dataclass
class TrainingPlan:
    """The report, and what keeps the training from beginning."""

    text: str = ""
    mistakes: list[str] = field(default_factory=list)

    def add(self, title: str, make: Callable[[], str]) -> None:
        """Add a section, or the mistake that prevents it."""
        try:
            self.text += f"{title}\n{_indented(make())}\n"
        except UserError as error:
            self.mistakes += [] if str(error) in self.mistakes else [str(error)]


def show_plan(cfg: DictConfig) -> int:
    """Print it; UserError with all that keeps the training from beginning."""
    plan = planned(cfg)
    print(plan.text)
    if plan.mistakes:
        raise UserError("; ".join(mistake.rstrip(".") for mistake in plan.mistakes) + ".")
    return 0


def planned(cfg: DictConfig) -> TrainingPlan:
    """For conf/fit.yaml, composed and resolved. Allocates no tensors, reads only headers, writes
    nothing.
    """
    cfg = DictConfig(OmegaConf.merge(cfg, {"plan": False}))  # as the run itself will see it
    plan = TrainingPlan(mistakes=list(option_mistakes(cfg)))
    plan.add("settings", lambda: OmegaConf.to_yaml(cfg).rstrip())
    plan.add("run", lambda: _run(cfg))
    try:
        pipeline = skeleton(cfg.model)
    except UserError as error:
        plan.mistakes.append(str(error))
        return plan
    plan.add("data", lambda: _data(cfg, pipeline))
    plan.add("weights", lambda: _weights(cfg, pipeline))
    plan.add("parameters", lambda: _parameters(cfg, pipeline))
    plan.add("memory, estimated", lambda: _memory(cfg))
    return plan


def _run(cfg: DictConfig) -> str:
    last = RunFolder(Path(str(cfg.output))).resumed(cfg)
    begins = f"goes on from {last}" if last else "begins anew"
    return f"{cfg.name}: {begins}, {cfg.max_steps} steps, to {cfg.output}"


def _data(cfg: DictConfig, pipeline: MegActorPipeline) -> str:
    """Samples, people, hours of video, steps to an epoch."""
    resolution = Resolution(pipeline.side, pipeline.driving_side, pipeline.side // pipeline.factor)
    chosen: Any = OmegaConf.to_container(cfg.data)
    cache: Any = (
        None if cfg.cache is None else opened(Path(str(cfg.cache)), Path(str(cfg.data.input)))
    )
    data = ClipDataModule(
        **chosen,
        resolution=resolution,
        preparation=pipeline.feature_extractor,
        seed=cfg.seed,
        cache=cache,
    )
    data.setup()
    refuse_window(data.windows.frames, pipeline.longest_window, "data.frames")
    if cfg.validate_every:
        data.dataset("val")
    assert data.clips is not None
    shards, processes = data.clips.shards, _processes(cfg)
    counts = sorted(Counter(shards.identities.tolist()).values())
    steps = len(shards) / (cfg.data.batch * cfg.accumulate * processes)
    lines = [
        f"samples         {len(shards)} of {cfg.data.input}, "
        f"{shards.frames.sum() / shards.clip_parameters.fps / 3600:.3g} h of video",
        f"identities      {len(counts)}, with {counts[0]} to {counts[-1]} samples each, "
        f"median {statistics.median(counts):g}",
        f"steps an epoch  {steps:.4g} on {processes} "
        f"process{'es' if processes > 1 else ''}, each {cfg.accumulate} "
        f"micro-steps of {cfg.data.batch} samples",
        f"epochs          {cfg.max_steps / steps:.4g}",
    ]
    return "\n".join(lines)


def _processes(cfg: DictConfig) -> int:
    """-1 means all GPUs of this machine; without any, one is assumed."""
    devices = cfg.trainer.devices
    here = devices if type(devices) is int and devices > 0 else max(torch.cuda.device_count(), 1)
    return int(cfg.trainer.num_nodes) * here


def _weights(cfg: DictConfig, pipeline: MegActorPipeline) -> str:
    """Where the weights come from, compared by names and shapes, and licences."""
    if cfg.init_from is None:
        return "none are loaded: the model begins with random ones"
    source = Path(str(cfg.init_from))
    if source.suffix == ".ckpt":
        return _checkpoint(source, pipeline)
    if not (source / "model_index.json").is_file():
        raise UserError(
            f"there is no model in {source} (init_from): make one there with python -m "
            "model.convert, "
            "train the stage before, or name another."
        )
    parts = {part: _held(source / part) for part in PARTS}
    for part, shapes in parts.items():
        _refuse_other(f"{source}/{part}", shapes, _shapes_of(getattr(pipeline, part)))
    rows = [(part, f"{len(shapes)} tensors", f"{source / part}") for part, shapes in parts.items()]
    return f"{_table(rows)}\nlicences of what such folders are made from:\n{_licences()}"


def _checkpoint(source: Path, pipeline: MegActorPipeline) -> str:
    checkpoint = read(source)
    found = {
        name.removeprefix("animator."): tuple(t.shape)
        for name, t in checkpoint["state_dict"].items()
    }
    _refuse_other(str(source), found, _shapes_of(pipeline.animator))
    frozen = checkpoint["model"]["folder"] or "a seed"
    return f"{len(found)} tensors of {source}; autoencoder and CLIP of {frozen}\n{_licences()}"


def _held(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes from the headers of a part's safetensors, by their present names."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(path for path in folder.glob("*.safetensors") if ".fp16" not in path.name):
        try:
            with safe_open(path, "pt") as file:
                found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path} cannot be read ({error}): make the model again with model.convert."
            ) from None
    return {modern(name): shape for name, shape in found.items()} if folder.name == "vae" else found


def _shapes_of(part: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in part.state_dict().items()}


def _refuse_other(
    where: str, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> None:
    kinds = {
        "missing": expected.keys() - found.keys(),
        "unknown": {
            name for name in found.keys() - expected.keys() if not name.endswith("position_ids")
        },
        "of another shape": {
            name for name in found.keys() & expected.keys() if found[name] != expected[name]
        },
    }
    differences = [
        f"{len(names)} {kind}, such as {min(names)}" for kind, names in kinds.items() if names
    ]
    if differences:
        raise UserError(
            f"{where} is not of the model that is trained ({'; '.join(differences)}): "
            "set model=... alike."
        )


def _licences() -> str:
    return _table([(w.name, w.licence, w.page) for w in WEIGHTS if w.files])


def _parameters(cfg: DictConfig, pipeline: MegActorPipeline) -> str:
    """Millions by module path; motion modules by themselves."""
    configured_loss(cfg, pipeline.scheduler)
    train_only(pipeline.animator, cfg.optim.trainable)
    refuse(pipeline.animator, cfg.optim)
    total: Counter[str] = Counter()
    trained: Counter[str] = Counter()
    for path, parameter in _by_path(pipeline):
        for key in (path, "all"):
            total[key] += parameter.numel()
            trained[key] += parameter.numel() * parameter.requires_grad
    rows = [
        (path, f"{count / 1e6:.2f} M", f"{trained[path] / 1e6:.2f} M")
        for path, count in total.items()
    ]
    return _table(
        [("path", "parameters", "trainable"), *sorted(rows, key=lambda row: row[0] == "all")]
    )


def _by_path(pipeline: MegActorPipeline) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for name, parameter in pipeline.animator.named_parameters():
        part, module = name.split(".")[:2]
        yield (
            f"{part}.{module}{'.*.motion_modules' if '.motion_modules.' in name else ''}",
            parameter,
        )
    for part in ("vae", "image_encoder"):
        yield from ((part, parameter) for parameter in getattr(pipeline, part).parameters())


def _memory(cfg: DictConfig) -> str:
    """With and without gradient checkpointing, GiB."""
    found: dict[bool, MemoryEstimate] = {kind: estimate(cfg, kind) for kind in (False, True)}
    names = {
        "weights": "weights of the animator",
        "frozen": "autoencoder and CLIP",
        "state": "state of the optimizer",
        "ema": "average of the weights",
        "reduced": "buckets of ddp",
        "gradients": "gradients",
        "micro_step": "micro-step at its most, gradients included",
        "peak": "peak",
    }
    rows = [
        (differences, *(f"{getattr(found[kind], name) / 2**30:.2f}" for kind in found))
        for name, differences in names.items()
    ]
    chosen = "with" if cfg.gradient_checkpointing else "without"
    table = _table(
        [("GiB on a GPU that holds all", "without", "with gradient checkpointing"), *rows]
    )
    return (
        f"{table}\nThis run is the one {chosen} checkpointing. Space that the GPU's "
        "libraries work in and gaps between "
        "blocks come on top,\na tenth or so; fsdp and deepspeed divide gradients and "
        "state by the number of GPUs."
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
