"""Residual branches are left out in training, in every family of encoders, and nowhere else."""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer

SIZE = 32


def vit(rate: float) -> nn.Module:
    sizes = {"img_size": SIZE, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, global_pool="avg", drop_path_rate=rate, **sizes
    )  # fmt: skip


def convvit(rate: float) -> nn.Module:
    return ConvViT(SIZE, 8, [8, 8, 16], [1, 1, 2], 2, num_classes=3, global_pool="avg", drop_path_rate=rate)


def mixmim(rate: float) -> nn.Module:
    return MixMIMTransformer(
        img_size=SIZE, patch_size=16, embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 1, 1], num_classes=3,
        drop_path_rate=rate,
    )  # fmt: skip


def of_timm(name: str) -> Callable[[float], nn.Module]:
    return lambda rate: timm.create_model(name, num_classes=3, drop_path_rate=rate)


# The rate rises evenly from 0 in the first block to its full value in the last; two branches a block where there are.
RATES = {
    "vit": (vit, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]),  # a rate of 0 needs no layer
    "convvit": (convvit, [0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3]),
    "mixmim": (mixmim, [0.0, 0.075, 0.15, 0.225, 0.3]),
    "resnet18": (of_timm("resnet18"), [0.3 * block / 7 for block in range(1, 8)]),
    "resnet50": (of_timm("resnet50"), [0.3 * block / 15 for block in range(1, 16)]),
    "resnetv2_50": (of_timm("resnetv2_50"), [0.3 * block / 15 for block in range(1, 16)]),
}


@pytest.mark.parametrize("family", RATES)
def test_the_rate_rises_evenly_from_block_to_block(family):
    make, expected = RATES[family]
    found = [part.drop_prob for part in make(0.3).modules() if isinstance(part, DropPath)]
    assert found == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("family", RATES)
def test_branches_are_left_out_in_training_and_only_there(family):
    make, _ = RATES[family]
    torch.manual_seed(0)
    network, images = make(0.9), torch.randn(8, 3, SIZE, SIZE)
    for value in network.parameters():  # fresh networks may end their branches with zeros
        value.add_(0.05 * torch.randn_like(value))
    trained = [network.train()(images) for _ in range(2)]
    assert not torch.allclose(trained[0], trained[1])
    tested = [network.eval()(images) for _ in range(2)]
    assert torch.equal(tested[0], tested[1])
    without = make(0.0)
    without.load_state_dict(network.state_dict())
    assert torch.equal(without.eval()(images), tested[0])
    steady = [without.train()(images) for _ in range(2)]
    torch.testing.assert_close(steady[0], steady[1])
