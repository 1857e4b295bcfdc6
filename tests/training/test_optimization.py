import math

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.errors import InputError
from activessf.training.optimization import Optimization, layer_ids, lr_factor, parameter_groups, scaled_lr
from activessf.training.running import num_steps, num_warmup_steps


def test_the_papers_learning_rate():
    assert scaled_lr(1e-3, 64) == 2.5e-4  # III.B: 1e-3 x 64 / 256


def test_schedule_by_hand():
    assert [lr_factor(step, 4, 12) for step in (0, 1, 2, 4)] == [0, 0.25, 0.5, 1.0]
    assert lr_factor(8, 4, 12) == pytest.approx(0.5)  # half of the cosine
    assert lr_factor(6, 4, 12) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert lr_factor(12, 4, 12) == 0.0
    assert lr_factor(12, 4, 12, floor=0.1) == pytest.approx(0.1)


@given(st.integers(0, 50), st.integers(51, 500), st.floats(0, 1))
def test_the_rate_rises_then_falls_and_stays_in_bounds(warmup, total, floor):
    factors = [lr_factor(step, warmup, total, floor) for step in range(total + 1)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    assert all(a <= b for a, b in zip(factors[:warmup], factors[1 : warmup + 1], strict=True))
    assert all(a >= b - 1e-12 for a, b in zip(factors[warmup:], factors[warmup + 1 :], strict=False))


def test_layers_of_a_vision_transformer_by_name():
    ids = layer_ids(timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=11, global_pool="avg"))
    assert ids["cls_token"] == ids["pos_embed"] == ids["patch_embed.proj.weight"] == 0
    assert [ids[f"blocks.{block}.attn.qkv.weight"] for block in range(3)] == [1, 2, 3]
    assert ids["fc_norm.weight"] == ids["head.weight"] == 4


def test_the_norm_of_an_encoder_counts_to_what_follows_the_blocks():
    ids = layer_ids(timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=0))
    assert ids["blocks.2.mlp.fc1.weight"] == 3 and ids["norm.weight"] == 4


def test_decayed_rates_and_weight_decay_by_hand():
    encoder = timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=0)
    decoder = torch.nn.Linear(4, 4)
    groups = parameter_groups(encoder, decoder.named_parameters(), lr=1.0, weight_decay=0.05, layer_decay=0.5)
    where = {id(value): group for group in groups for value in group["params"]}
    assert len(where) == len(list(encoder.parameters())) + 2
    assert where[id(encoder.patch_embed.proj.weight)]["lr"] == 0.5**4
    assert where[id(encoder.blocks[2].mlp.fc1.weight)]["lr"] == 0.5
    assert where[id(encoder.norm.weight)]["lr"] == where[id(decoder.weight)]["lr"] == 1.0
    assert where[id(decoder.weight)]["weight_decay"] == 0.05 and where[id(decoder.bias)]["weight_decay"] == 0
    assert where[id(encoder.cls_token)]["weight_decay"] == 0.05  # the published pretraining decays it
    groups = parameter_groups(encoder, (), 1.0, 0.05, 0.5, undecayed=encoder.no_weight_decay())
    where = {id(value): group for group in groups for value in group["params"]}
    assert where[id(encoder.cls_token)]["weight_decay"] == 0


def test_frozen_parameters_are_in_no_group():
    encoder = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
    encoder.pos_embed.requires_grad = False
    groups = parameter_groups(encoder, (), 1.0, 0.05, 1.0)
    assert all(value is not encoder.pos_embed for group in groups for value in group["params"])


def test_the_optimiser_starts_at_zero_and_reaches_the_peak():
    encoder = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
    made = Optimization(torch.optim.AdamW, 1e-3, 64, 0.05, 0.75, 0.0, warmup_steps=2, total_steps=10).configure(encoder)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(3):
        rates.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.0, 1.25e-4, 2.5e-4])


def test_length_of_a_training():
    assert num_steps(7299, 64, epochs=400, steps=None) == 400 * 114  # the paper's 7,299 regions
    assert num_steps(10, 64, epochs=3, steps=None) == 3  # less than a batch: one step an epoch
    assert num_steps(7299, 64, epochs=400, steps=7) == 7
    assert num_steps(2816, 64, epochs=0.05, steps=None) == 2  # 2.2 steps
    assert num_warmup_steps(7299, 64, epochs=5, steps=None, total=45600) == 570
    assert num_warmup_steps(7299, 64, epochs=5, steps=None, total=100) == 100
    with pytest.raises(InputError, match="neither epochs nor steps"):
        num_steps(10, 64, None, None)
    with pytest.raises(InputError, match="0 training steps"):
        num_steps(10, 64, None, 0)


def test_a_layer_decay_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="layer_decay=0"):
        parameter_groups(torch.nn.Linear(1, 1), (), 1.0, 0.0, 0.0)


# Layers by hand, of every family of encoders. The rate falls from the last number to the first.


def vit(pool: str) -> torch.nn.Module:
    network: torch.nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3,
        global_pool=pool,
    )  # fmt: skip
    return network


RESNET18 = {
    "conv1": 0, "bn1": 0, "layer1.0": 1, "layer1.1": 2, "layer2.0": 3, "layer2.1": 4, "layer3.0": 5, "layer3.1": 6,
    "layer4.0": 7, "layer4.1": 8, "fc": 9,
}  # fmt: skip
# 3 + 4 + 6 + 3 blocks of ResNet-50: the layer of each, by its stage and number there.
BLOCKS = {
    (stage, block): first + block
    for stage, first, number in ((0, 1, 3), (1, 4, 4), (2, 8, 6), (3, 14, 3))
    for block in range(number)
}
RESNET50 = {"conv1": 0, "bn1": 0, "fc": 17, **{f"layer{s + 1}.{block}": layer for (s, block), layer in BLOCKS.items()}}
RESNETV2_50 = {
    **{"stem": 0, "norm": 17, "head": 17},
    **{f"stages.{stage}.blocks.{block}": layer for (stage, block), layer in BLOCKS.items()},
}
VIT = {"cls_token": 0, "pos_embed": 0, "patch_embed": 0, "blocks.0": 1, "blocks.1": 2, "head": 3}
CONVVIT = {
    "pos_embed": 0, "patch_embed1": 0, "patch_embed2": 0, "patch_embed3": 0, "patch_embed4": 0, "blocks1.0": 0,
    "blocks2.0": 0, "blocks2.1": 0, "blocks3.0": 1, "blocks3.1": 2, "fc_norm": 3, "head": 3,
}  # fmt: skip
MIXMIM = {
    "patch_embed": 0, "absolute_pos_embed": 0, "layers.0.blocks.0": 1, "layers.0.downsample": 2, "layers.1.blocks.0": 2,
    "layers.1.downsample": 3, "layers.2.blocks.0": 3, "layers.2.blocks.1": 4, "layers.2.downsample": 5,
    "layers.3.blocks.0": 5, "norm": 5, "head": 5,
}  # fmt: skip
MIXMIM_TOP = 6  # one above all: the published rule decays the head too


def mixmim() -> torch.nn.Module:
    return MixMIMTransformer(
        img_size=32, patch_size=16, embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 1, 1], num_classes=3
    )


FAMILIES = {
    "vit-avg": (lambda: vit("avg"), {**VIT, "fc_norm": 3}, 3),
    "vit-token": (lambda: vit("token"), {**VIT, "norm": 3}, 3),
    "convvit": (lambda: ConvViT(32, 8, [8, 8, 16], [1, 2, 2], 2, num_classes=3, global_pool="avg"), CONVVIT, 3),
    "mixmim": (mixmim, MIXMIM, MIXMIM_TOP),
    "resnet18": (lambda: timm.create_model("resnet18", num_classes=3), RESNET18, 9),
    "resnet50": (lambda: timm.create_model("resnet50", num_classes=3), RESNET50, 17),
    "resnetv2_50": (lambda: timm.create_model("resnetv2_50", num_classes=3), RESNETV2_50, 17),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_rates_of_every_family_are_those_of_a_table_made_by_hand(family):
    make, table, top = FAMILIES[family]
    network = make()
    ids, seen = layer_ids(network), set()
    groups = parameter_groups(network, (), lr=1.0, weight_decay=0.05, layer_decay=0.5)
    rates = {id(value): group["lr"] for group in groups for value in group["params"]}
    for name, value in network.named_parameters():
        (part,) = (part for part in table if name == part or name.startswith(f"{part}."))
        seen.add(part)
        assert ids[name] == table[part], name
        if value.requires_grad:
            assert rates[id(value)] == 0.5 ** (top - table[part]), name
    assert seen == set(table)
