"""Every third-party weight: its source, size and licence, and what needs it.

`require(name)` gives its path; `python -m datagen.weights` lists, fetches and verifies weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datagen.core.errors import UserError

FOLDER = Path("data/weights")
UNKNOWN = "unknown"
BY_HAND = "by hand"
FREE = (
    "Apache-2.0",
    "MIT",
    "BSD-",
    "CC0",
    "CC-BY-4.0",
    "public domain",
    "CreativeML Open RAIL",
)  # allow commercial use
INSIGHTFACE = "non-commercial research only (code: MIT)"
PAGES = {
    "huggingface": "https://huggingface.co/",
    "github": "https://github.com/",
    "modelscope": "https://modelscope.cn/models/",
}


@dataclass(frozen=True)
class Weight:
    """Files on a host, or (without files) weights that ship with a Python package."""

    name: str
    what: str
    # at its host: OWNER/NAME at huggingface and modelscope, OWNER/NAME/releases/download/TAG at
    # github, a URL
    source: str
    licence: str
    needed_by: str
    files: tuple[str, ...] = ()  # paths at the host
    bytes: int = 0  # approximate; 0 if unknown
    sha256: Mapping[str, str] = field(default_factory=dict)  # by file, if the host states it
    # huggingface, github, modelscope; by hand: only its owner gives it out, never downloaded
    # automatically
    host: str = "huggingface"
    revision: str = ""  # commit, branch or tag at huggingface and modelscope; "" is the newest

    @property
    def page(self) -> str:
        """The web page of the weight."""
        if not self.files:
            return f"the Python package {self.source}"
        if self.host == BY_HAND:
            return self.source
        return PAGES[self.host] + self.source.replace("/releases/download/", "/releases/tag/")

    @property
    def size(self) -> str:
        if not self.files:
            return "-"
        return f"about {self.bytes / 1e9:.2g} GB" if self.bytes else UNKNOWN

    def path(self, folder: Path = FOLDER) -> Path:
        """The path for `model.convert`: the file, or the folder if there are several."""
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
        "the published MegActor: both UNets, motion modules, DrivenEncoder; 2.1 billion "
        "parameters, so over 4 GB",
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
        (
            "appearance_encoder/config.json",
            "appearance_encoder/diffusion_pytorch_model.safetensors",
        ),
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
        "style=sdxl style.model=sdxl-turbo, style=sdxl_paper style.model=sdxl-turbo",
        SDXL_FILES,
        6_940_000_000,
    ),
    Weight(
        "sdxl",
        "Stable Diffusion XL 1.0",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "CreativeML Open RAIL++-M",
        "style=sdxl style.model=sdxl, style=sdxl_paper style.model=sdxl",
        SDXL_FILES,
        6_940_000_000,
    ),
    Weight(
        "l2cs",
        "L2CS-Net's gaze, ResNet-50 trained on Gaze360",
        "https://drive.google.com/drive/folders/17p6ORr-JQJcw-eYtG2WGNiuS_qVKwdWd",
        f"{UNKNOWN} (code: MIT; Gaze360 itself is for research only, as far as is known)",
        "gaze=l2cs",
        ("L2CSNet_gaze360.pkl",),
        96_000_000,
        host=BY_HAND,
    ),
    Weight(
        "farl_lapa",
        "FaRL's face parsing, 11 labels (LaPa); TorchScript",
        "FacePerceiver/facer/releases/download/models-v1",
        f"{UNKNOWN} (code: MIT)",
        "mask=farl mask.labels=lapa",
        ("face_parsing.farl.lapa.main_ema_136500_jit191.pt",),
        host="github",
    ),
    Weight(
        "farl_celebm",
        "FaRL's face parsing, 19 labels (CelebAMask-HQ); TorchScript",
        "FacePerceiver/facer/releases/download/models-v1",
        f"{UNKNOWN} (code: MIT; CelebAMask-HQ is for non-commercial research)",
        "mask=farl mask.labels=celebm",
        ("face_parsing.farl.celebm.main_ema_181500_jit.pt",),
        host="github",
    ),
    Weight(
        "densepose",
        "DensePose R-CNN, ResNet-50 FPN s1x, a pickle of NumPy arrays",
        "https://dl.fbaipublicfiles.com/densepose/densepose_rcnn_R_50_FPN_s1x/165712039/",
        f"{UNKNOWN} (code: Apache-2.0)",
        "mask=densepose",
        ("model_final_162be9.pkl",),
        host=BY_HAND,
    ),
    Weight(
        "segformer",
        "SegFormer-B0 trained on ADE20K, whose 13th label is person",
        "nvidia/segformer-b0-finetuned-ade-512-512",
        "NVIDIA Source Code License for SegFormer (non-commercial)",
        "mask=matting",
        ("config.json", "preprocessor_config.json", "pytorch_model.bin"),
        15_000_000,
    ),
    Weight(
        "buffalo_l",
        "insightface's face detector and recogniser (SCRFD det_10g, ArcFace w600k_r50)",
        "https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip",
        INSIGHTFACE,
        "faces=insightface, swap=inswapper",
        ("det_10g.onnx", "w600k_r50.onnx"),
        191_300_000,
        {
            "det_10g.onnx": "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            "w600k_r50.onnx": "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        },
        host=BY_HAND,
    ),
    Weight(
        "inswapper",
        "insightface's face swapper; swap.model names its file, for its owner withdrew "
        "it and asks to be asked",
        "https://github.com/deepinsight/insightface",
        INSIGHTFACE,
        "swap=inswapper",
        ("inswapper_128.onnx",),
        554_300_000,
        {"inswapper_128.onnx": "e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af"},
        host=BY_HAND,
    ),
    Weight(
        "facefusion",
        "ModelScope's image-face-fusion, whose generator alone has 224 million parameters",
        "iic/cv_unet-image-face-fusion_damo",
        f"{UNKNOWN} (its BFM_model_front.mat: the Basel Face Model's, non-commercial)",
        "swap=facefusion",
        (
            "configuration.json",
            "pytorch_model.pt",
            "faceRecog/CurricularFace_Backbone.pth",
            "3dRecon/face_3d.pth",
            "BFM/BFM_model_front.mat",
            "faceEnhance/GPEN-BFR-1024.pth",
            "alpha.jpg",
            "detector.pb",
            "keypoints.pb",
        ),
        host="modelscope",
    ),
    Weight("mediapipe", "faces, landmarks, person mask", "mediapipe", "Apache-2.0", "datagen"),
    Weight(
        "dlib_resnet",
        "dlib's face descriptor, which says whether two faces are one person's; of its package "
        "this file alone is read, since the 68-point file is not free",
        "face-recognition-models",
        "CC0-1.0",
        "datagen",
        sha256={
            "dlib_face_recognition_resnet_model_v1.dat": (
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
            )
        },
    ),
    Weight(
        "scenedetect",
        "no weights: the shot detector, named for its version",
        "scenedetect",
        "BSD-3-Clause",
        "datagen",
    ),
    Weight(
        "scikit-image",
        "NASA's portrait in the sample",
        "scikit-image",
        "public domain (NASA)",
        "datagen",
    ),
)


def licence_of(name: str) -> str:
    """The licence of a stage's weights, by the name that the stage uses."""
    return next((weight.licence for weight in WEIGHTS if weight.name == name), UNKNOWN)


def is_free(licence: str) -> bool:
    """Whether the licence is known to allow commercial use of results."""
    return licence.startswith(FREE)


def find(name: str) -> Weight:
    for weight in WEIGHTS:
        if weight.name == name:
            return weight
    raise UserError(
        f"there is no weight {name!r}: {', '.join(weight.name for weight in WEIGHTS)} are known."
    )


def require(name: str, folder: Path = FOLDER) -> Path:
    """The path of a weight; UserError that says how to get it if it is missing."""
    weight = find(name)
    if weight.missing(folder):
        raise UserError(how_to_get(weight, folder))
    return weight.path(folder)


def how_to_get(weight: Weight, folder: Path) -> str:
    """A sentence on what is missing and how to get it."""
    files, where = _several(weight, weight.missing(folder)), folder / weight.name
    missing = (
        f"{weight.name} ({weight.what}; size: {weight.size}; licence: {weight.licence}) is "
        f"not in {where}"
    )
    put = f"put {files} of {weight.page} there"
    if weight.host == BY_HAND:
        return f"{missing}: {put}."
    return (
        f"{missing}: {put}, or run `python -m datagen.weights fetch {weight.name}` where there "
        "is a network."
    )


def _several(weight: Weight, files: list[str], most: int = 4) -> str:
    if len(files) <= most:
        return ", ".join(files)
    return (
        f"{files[0]} and {len(files) - 1} more files (python -m datagen.weights list {weight.name})"
    )
