"""L2CS-Net: ResNet-50 with a head for each angle, and its two published checkpoints.  Needs PyTorch
alone.

The names are those of torchvision's ResNet and of L2CS's heads. Which head is which angle is stated
by the layers' names: `fc_yaw_gaze` answers to a mirrored picture with the angle's negative and is
the horizontal one. The official pipeline, training and test unpack the network's (yaw, pitch) as
(pitch, yaw), so what they call pitch is horizontal.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from datagen.core.errors import UserError

LAYERS = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels within a block, blocks
WIDER = 4  # channels behind a block over those within
FEATURES = 2048
# bins of a head -> degrees of a bin, degrees of the first bin's negative: Gaze360's checkpoint and
# MPIIGaze's
LAYOUTS = {90: (4.0, 180.0), 28: (3.0, 42.0)}
UNUSED = ("fc_finetune.", "num_batches_tracked")  # in the files, and in no result
HEADS = ("fc_yaw_gaze", "fc_pitch_gaze")


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1, and around it."""

    def __init__(self, channels: int, within: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, within, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(within)
        self.conv2 = nn.Conv2d(within, within, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(within)
        self.conv3 = nn.Conv2d(within, WIDER * within, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(WIDER * within)
        self.downsample = None
        if stride > 1 or channels != WIDER * within:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, WIDER * within, 1, stride, bias=False),
                nn.BatchNorm2d(WIDER * within),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class L2cs(nn.Module):
    """[b, 3, 448, 448] RGB, ImageNet's mean 0 and s.d. 1 -> (yaw, pitch) radians float64 [b, 2]
    from the camera.

    yaw > 0 is towards the left of the picture, pitch > 0 up.
    """

    def __init__(self, bins: int = 90):
        super().__init__()
        self.bins = bins
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, (within, blocks) in enumerate(LAYERS, 1):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(Bottleneck(channels, within, 2 if block == 0 and number > 1 else 1))
                channels = WIDER * within
            self.add_module(f"layer{number}", layer)
        self.fc_yaw_gaze = nn.Linear(FEATURES, bins)
        self.fc_pitch_gaze = nn.Linear(FEATURES, bins)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu_())
        for number in range(1, len(LAYERS) + 1):
            x = getattr(self, f"layer{number}")(x)
        features = x.mean(
            (2, 3)
        ).double()  # the heads in double precision: no bit of theirs depends on the batch
        return torch.stack(
            [self._angle(features, head) for head in (self.fc_yaw_gaze, self.fc_pitch_gaze)], dim=-1
        )

    def _angle(self, features: Tensor, head: nn.Linear) -> Tensor:
        """Expected angle over the bins, radians [b]."""
        width, offset = LAYOUTS[self.bins]
        share = (features @ head.weight.double().T + head.bias.double()).softmax(-1)
        degrees = (share * torch.arange(self.bins, dtype=share.dtype, device=share.device)).sum(
            -1
        ) * width - offset
        return torch.deg2rad(degrees)


def load(path: Path) -> L2cs:
    """The network of a checkpoint (torch or safetensors), on the CPU; UserError names what does not
    fit.
    """
    state = checked(path)
    with torch.device("meta"):
        network = L2cs(len(state["fc_yaw_gaze.bias"]))
    network.load_state_dict(
        state, strict=False, assign=True
    )  # counters of batches are left out; `checked` is strict
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return network.float().eval().requires_grad_(False)


def checked(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by the network's names, each of its shape."""
    from datagen.weights.tensors import read

    found = {name.removeprefix("module."): tensor for name, tensor in read(path).items()}
    found = {
        name: t
        for name, t in found.items()
        if not name.startswith(UNUSED[0]) and not name.endswith(UNUSED[1])
    }
    bins = {len(found[f"{head}.bias"]) for head in HEADS if found.get(f"{head}.bias") is not None}
    if len(bins) != 1 or not bins <= {*LAYOUTS}:
        heads = (
            f"heads of {' and '.join(map(str, sorted(bins)))} bins"
            if bins
            else f"no heads {' and '.join(HEADS)}"
        )
        raise UserError(
            f"{path} is no checkpoint of L2CS-Net: it has {heads}, 90 (Gaze360) or 28 "
            "(MPIIGaze) are expected."
        )
    with torch.device("meta"):
        own = L2cs(bins.pop()).state_dict()
    own = {name: tensor for name, tensor in own.items() if not name.endswith(UNUSED[1])}
    wrong = [f"{name} is missing" for name in own if name not in found]
    wrong += [f"{name} is left over" for name in found if name not in own]
    wrong += [
        f"{name} is {list(found[name].shape)} for {list(own[name].shape)}"
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{path} does not fit L2CS-Net's ResNet-50: {', '.join(wrong[:3])}{more}.")
    return found
