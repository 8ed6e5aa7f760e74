"""Transformers and motion modules at some levels only: both networks agree on where the reference
is looked at.
"""

from __future__ import annotations

import pytest
import torch

from model.motion import MotionModule
from model.unet import DenoisingUNet, ReferenceNet

SMALL = {
    "block_out_channels": (32, 32, 32),
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "num_attention_heads": 1,
}


def networks(levels):
    options = {**SMALL, "norm_num_groups": 8, "attention_levels": levels}
    return DenoisingUNet(**options), ReferenceNet(**options)


@pytest.mark.parametrize("levels", [None, (True, True, True), (False, True, True), (False, False, True), (True, False, False)])  # fmt: skip  # noqa: E501
def test_every_parameter_learns_and_every_feature_is_looked_at(levels):
    torch.manual_seed(0)
    unet, reference_net = networks(levels)
    for module in (m for m in unet.modules() if isinstance(m, MotionModule)):
        torch.nn.init.normal_(module.proj_out.weight)
    context, timestep = torch.randn(1, 3, 8), torch.tensor([500])
    features = reference_net(torch.randn(1, 4, 8, 8), timestep, context)
    assert len(features) == len(unet.reference_blocks)
    for feature in features:
        feature.retain_grad()
    unet(torch.randn(1, 13, 2, 8, 8), timestep, context, features).square().sum().backward()
    assert all(feature.grad is not None and feature.grad.any() for feature in features)
    for network in (unet, reference_net):
        assert [
            name for name, parameter in network.named_parameters() if parameter.grad is None
        ] == []


def test_levels_without_are_plain():
    unet, _ = networks((False, True, True))
    assert unet.down_blocks[0].attentions is None and unet.down_blocks[0].motion_modules is None
    assert unet.up_blocks[-1].attentions is None and unet.up_blocks[-1].motion_modules is None
    assert len(unet.down_blocks[2].motion_modules) == len(unet.down_blocks[2].attentions) == 1


@pytest.mark.parametrize("levels", [(True, False), (False, False, False)])
def test_levels_that_do_not_fit(levels):
    with pytest.raises(
        ValueError, match="attention_levels are .*, a truth value for each of 3 levels"
    ):
        networks(levels)
