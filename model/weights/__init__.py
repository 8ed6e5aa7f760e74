"""Every weight that comes from elsewhere: where from, how big, under which licence, who needs it.

`require(name)` is the way to one; `python -m model.weights` lists, fetches and verifies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datagen.engine.errors import UserError

FOLDER = Path("data/weights")
UNKNOWN = "unknown"
BY_HAND = "by hand"
PAGES = {
    "huggingface": "https://huggingface.co/",
    "github": "https://github.com/",
    "modelscope": "https://modelscope.cn/models/",
}


@dataclass(frozen=True)
class Weight:
    """Files of a place on the network, or (without files) what a Python package carries."""

    name: str
    what: str
    source: (
        str  # at its host: OWNER/NAME at huggingface and modelscope, OWNER/NAME/releases/download/TAG at github, a URL
    )
    licence: str
    needed_by: str
    files: tuple[str, ...] = ()  # by their path there
    bytes: int = 0  # about; 0 is unknown
    sha256: Mapping[str, str] = field(default_factory=dict)  # by file, where the host's page states it
    host: str = (
        "huggingface"  # huggingface, github, modelscope; by hand: its owner gives it out, no program may fetch it
    )

    @property
    def page(self) -> str:
        """Where a person finds it."""
        if not self.files:
            return f"the Python package {self.source}"
        return self.source if self.host == BY_HAND else PAGES[self.host] + self.source

    @property
    def size(self) -> str:
        if not self.files:
            return "-"
        return f"about {self.bytes / 1e9:.2g} GB" if self.bytes else UNKNOWN

    def path(self, folder: Path = FOLDER) -> Path:
        """What to give to `model.convert`: the file, or the folder if there are several."""
        return folder / self.name / (self.files[0] if len(self.files) == 1 else "")

    def missing(self, folder: Path = FOLDER) -> list[str]:
        return [name for name in self.files if not (folder / self.name / name).is_file()]


SDXL_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(
        f"{part}/{file}"
        for part in ("tokenizer", "tokenizer_2")
        for file in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")
    ),
    *(
        f"{part}/{file}"
        for part, stem in (
            ("text_encoder", "model"),
            ("text_encoder_2", "model"),
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
        )
        for file in ("config.json", f"{stem}.fp16.safetensors")
    ),
)

WEIGHTS = (
    Weight(
        "megactor",
        "the published MegActor: both UNets, motion modules, DrivenEncoder; 2.1 billion parameters, so over 4 GB",
        "HVSiniX/RawVideoDriven",
        f"{UNKNOWN} (code: Apache-2.0, though some of its files reserve all rights)",
        "model.convert --megactor",
        ("weights/checkpoint-steps9000.ckpt",),
    ),
    Weight(
        "sd15",
        "Stable Diffusion 1.5's UNet",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "CreativeML Open RAIL-M",
        "model.convert --sd15",
        ("unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
        3_440_000_000,
        {
            "unet/diffusion_pytorch_model.safetensors": (
                "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1"
            )
        },
    ),
    Weight(
        "vae",
        "the autoencoder that MegActor uses (sd-vae-ft-mse)",
        "stabilityai/sd-vae-ft-mse",
        "MIT",
        "model.convert --vae",
        ("config.json", "diffusion_pytorch_model.safetensors"),
        335_000_000,
    ),
    Weight(
        "clip",
        "CLIP ViT-L/14, whose vision tower sees the background",
        "openai/clip-vit-large-patch14",
        f"{UNKNOWN} (code: MIT)",
        "model.convert --image-encoder",
        ("config.json", "preprocessor_config.json", "model.safetensors"),
        1_710_000_000,
        {"model.safetensors": "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"},
    ),
    Weight(
        "animatediff",
        "AnimateDiff's v3 motion modules",
        "guoyww/animatediff",
        "Apache-2.0",
        "model.convert --motion",
        ("v3_sd15_mm.ckpt",),
        1_670_000_000,
        {"v3_sd15_mm.ckpt": "2412711886f61091846f53204aabc38aa6e09356d62a9808abe4daa802168343"},
    ),
    Weight(
        "magicanimate",
        "MagicAnimate's appearance encoder, a start for the ReferenceNet",
        "zcxu-eric/MagicAnimate",
        "BSD-3-Clause",
        "model.convert --appearance",
        ("appearance_encoder/config.json", "appearance_encoder/diffusion_pytorch_model.safetensors"),
        3_430_000_000,
        {
            "appearance_encoder/diffusion_pytorch_model.safetensors": (
                "cb2e8f281d73eff5f9b7f0c94118496607cf5f29fc5b56535a19a8b68e79b619"
            )
        },
    ),
    Weight(
        "sdxl-turbo",
        "SDXL-Turbo, which redraws a picture in one to four steps",
        "stabilityai/sdxl-turbo",
        "sai-nc-community (non-commercial)",
        "style=sdxl, style=sdxl_paper",
        SDXL_FILES,
        6_940_000_000,
    ),
    Weight(
        "sdxl",
        "Stable Diffusion XL 1.0",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "CreativeML Open RAIL++-M",
        "style=sdxl style.weights=sdxl",
        SDXL_FILES,
        6_940_000_000,
    ),
    Weight("mediapipe", "faces, landmarks, person mask", "mediapipe", "Apache-2.0", "datagen"),
    Weight(
        "scenedetect", "no weights: the shot detector, named for its version", "scenedetect", "BSD-3-Clause", "datagen"
    ),
    Weight("scikit-image", "NASA's portrait in the sample", "scikit-image", "public domain (NASA)", "datagen"),
)


def licence_of(name: str) -> str:
    """Of a stage's weights, by the name that the stage gives them."""
    return next((weight.licence for weight in WEIGHTS if weight.name == name), UNKNOWN)


def find(name: str) -> Weight:
    for weight in WEIGHTS:
        if weight.name == name:
            return weight
    raise UserError(f"there is no weight {name!r}: {', '.join(weight.name for weight in WEIGHTS)} are known.")


def require(name: str, folder: Path = FOLDER) -> Path:
    """Where a weight lies: its file, or its folder; one sentence on how to get it where it does not."""
    weight = find(name)
    if weight.missing(folder):
        raise UserError(how_to_get(weight, folder))
    return weight.path(folder)


def how_to_get(weight: Weight, folder: Path) -> str:
    """What is missing and how to get it."""
    files, where = ", ".join(weight.missing(folder)), folder / weight.name
    told = f"{weight.name} ({weight.what}; size: {weight.size}; licence: {weight.licence}) is not in {where}"
    put = f"put {files} of {weight.page} there"
    if weight.host == BY_HAND:
        return f"{told}: {put}."
    return f"{told}: {put}, or run `python -m model.weights fetch {weight.name}` where there is a network."
