"""Muon: orthogonal steps for matrices, AdamW's for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from datagen.core.errors import UserError
from training.optim.muon import Muon, orthogonal
from training.optim.optimizer import _parted, groups, optimizer, train_only


def test_singular_values_come_to_about_one():
    """Wide, tall and square ones, two of which have their shorter side in common, come back each in
    its place.
    """
    generator = torch.Generator().manual_seed(0)
    matrices = [
        torch.randn(*shape, generator=generator)
        for shape in [(16, 40), (40, 24), (24, 24), (40, 16)]
    ]
    for matrix, turned in zip(matrices, orthogonal(matrices), strict=True):
        assert turned.shape == matrix.shape
        left, values, right = torch.linalg.svd(turned.float(), full_matrices=False)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        assert values.min() > 0.5 and values.max() < 1.3
        assert (
            torch.nn.functional.cosine_similarity(
                (left @ right).flatten(), (u @ v).flatten(), dim=0
            )
            > 0.99
        )


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))


def loss(net):
    return net(torch.rand(5, 3, 3, 3, generator=torch.Generator().manual_seed(1))).square().sum()


def grouped(net, **options):
    matrices, vectors = (
        [p for p in net.parameters() if (p.ndim > 1) == flag] for flag in (True, False)
    )
    groups = [{"params": matrices, "orthogonal": True}, {"params": vectors, "weight_decay": 0.0}]
    return Muon(groups, lr=0.01, weight_decay=0.1, **options)


def stepped(net, own, steps):
    for _ in range(steps):
        own.zero_grad()
        loss(net).backward()
        own.step()


def test_the_loss_falls_and_steps_have_the_promised_size():
    net = model()
    before, own = copy.deepcopy(net), grouped(net)
    stepped(net, own, 1)
    weight, old = net[0].weight.detach(), before[0].weight.detach()
    step = weight - old * (1 - 0.01 * 0.1)
    assert 0.1 * 0.01 < step.square().mean().sqrt() < 0.3 * 0.01
    stepped(net, own, 20)
    assert loss(net) < 0.5 * loss(before)


def test_a_closure_that_forgets_old_gradients_forgets_all():
    net, other = model(), model()
    stepped(net, grouped(net), 3)
    own = grouped(other)

    def closure():
        own.zero_grad()
        value = loss(other)
        value.backward()
        return value

    for _ in range(3):
        assert own.step(closure) > 0
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_vectors_learn_as_by_adamw():
    net, other = model(), model()
    stepped(net, grouped(net), 1)
    vectors = [p for p in other.parameters() if p.ndim == 1]
    stepped(other, torch.optim.AdamW(vectors, lr=0.01, weight_decay=0.0), 1)
    assert torch.equal(net[0].bias, other[0].bias)


def test_state_goes_on_exactly():
    whole, begun = model(), model()
    stepped(whole, grouped(whole), 6)
    own = grouped(begun)
    stepped(begun, own, 3)
    again = copy.deepcopy(begun)
    later = grouped(again)
    later.load_state_dict(copy.deepcopy(own.state_dict()))
    stepped(again, later, 3)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True)
    )


def network():
    parts = {
        "conv_in": nn.Conv2d(3, 8, 3),
        "middle": nn.Linear(8, 8),
        "conv_out": nn.Conv2d(8, 3, 3),
    }
    return nn.ModuleDict(parts)


def shares(net):
    """Names of the parameters of each group for Muon, with what is told of the group."""
    names = {id(p): name for name, p in net.named_parameters()}
    parted = _parted(net, groups(net))
    return [
        ({names[id(p)] for p in g["params"]}, g["orthogonal"], g.get("weight_decay"))
        for g in parted
    ]


def test_where_all_parameters_learn_each_is_in_one_group_and_the_inner_matrices_apart():
    assert shares(network()) == [
        ({"middle.weight"}, True, None),
        ({"conv_in.weight", "conv_out.weight"}, False, None),
        ({"conv_in.bias", "middle.bias", "conv_out.bias"}, False, 0.0),
    ]


@pytest.mark.parametrize("path, matrices", [("middle", [True]), ("conv_*", [False])])
def test_where_only_inner_matrices_learn_or_none_no_group_is_empty(path, matrices):
    net = network()
    train_only(net, [path])
    *weights, biases = shares(net)
    assert [is_orthogonal for _, is_orthogonal, _ in weights] == matrices and biases[1:] == (
        False,
        0.0,
    )


def test_where_nothing_learns_it_is_one_sentence():
    net = network()
    train_only(net, [])
    assert shares(net) == []
    cfg = {
        "lr": 0.1,
        "betas": [0.9, 0.99],
        "eps": 1e-8,
        "weight_decay": 0,
        "decay_all": False,
        "muon": True,
    }
    with pytest.raises(UserError, match="optim: optimizer got an empty parameter list"):
        optimizer(net, OmegaConf.create(cfg))
