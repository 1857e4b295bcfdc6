import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import group_parameters
from torch import nn

from activessf.backbones.mixmim_transformer import MixMIMTransformer, WindowAttention, foreign_pairs, upsampled
from activessf.errors import InputError
from activessf.training.optimization import layer_ids, parameter_groups

TABLES = Path(__file__).parents[1] / "methods" / "golden" / "tables.json"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 1, 2, 2]}
BASE = {"img_size": 224, "patch_size": 16, "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}


def tiny(**changes):
    torch.manual_seed(0)
    return MixMIMTransformer(**{**SMALL, "num_classes": 5, **changes})


def published():
    return json.loads(TABLES.read_text())["methods"]["mixmim"]


# The published size


@pytest.fixture(scope="module")
def base():
    return MixMIMTransformer(**BASE, num_classes=11, drop_path_rate=0.1)


def test_base_size_has_the_published_parameters(base):
    expected = published()["finetuning"]
    assert {name: list(value.shape) for name, value in base.state_dict().items()} == expected["keys"]
    assert sum(value.numel() for value in base.parameters()) == expected["total"] == 87_330_627
    trainable = sum(value.numel() for value in base.parameters() if value.requires_grad)
    assert trainable == expected["trainable"] == 86_929_219
    assert [name for name, value in base.named_parameters() if not value.requires_grad] == expected["frozen"]


def test_layers_rates_and_weight_decay_are_the_published_ones(base):
    expected = published()["layer_decay"]
    trainable = {name: value for name, value in base.named_parameters() if value.requires_grad}
    ids = layer_ids(base)
    assert {name: ids[name] for name in trainable} == expected["layer_id"]
    assert base.full_rate_layer == expected["N"] == 25
    for decay, scales in expected["lr_scale"].items():
        groups = parameter_groups(base, (), 1.0, 0.05, float(decay), base.no_weight_decay())
        of = {id(value): group for group in groups for value in group["params"]}
        assert len(of) == len(trainable)
        for name, value in trainable.items():
            assert of[id(value)]["lr"] == pytest.approx(scales[str(expected["layer_id"][name])], rel=1e-12), name
            zero = name in expected["weight_decay_zero"]
            assert of[id(value)]["weight_decay"] == (0 if zero else 0.05), name


def test_the_drop_path_rate_rises_linearly_over_all_blocks(base):
    rates = [block.drop_path.drop_prob for stage in base.layers for block in stage.blocks]
    assert rates == pytest.approx([0.1 * block / 23 for block in range(24)])


# Windows


@pytest.mark.parametrize(
    ("image_size", "patch_size", "expected"),
    [
        (224, 16, [14, 14, 14, 7]),
        (96, 16, [6, 6, 6, 3]),
        (48, 8, [6, 6, 6, 3]),
        (64, 8, [8, 8, 8, 4]),
        (128, 16, [8, 8, 8, 4]),
    ],
)
def test_windows_follow_from_the_image(image_size, patch_size, expected):
    network = tiny(img_size=image_size, patch_size=patch_size)
    assert [stage.window_size for stage in network.layers] == expected
    assert network.grid_size == (expected[-1],) * 2 and network.cell_size == 2 * patch_size


def test_windows_can_be_chosen_and_end_with_the_grid():
    network = tiny(window_sizes=[4, 8, 14, 14])  # of grids 16, 8, 4, 2
    assert [stage.window_size for stage in network.layers] == [4, 8, 4, 2]
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_attention_is_that_of_a_loop_over_windows_heads_and_tokens():
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, 3).double()
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    sources = torch.randint(0, 2, (6, 6))
    result = attention(x, foreign_pairs(sources, 3))
    qkv = attention.qkv(x)
    for image, window in ((0, 0), (1, 3), (0, 2)):
        top, left = 3 * (window // 2), 3 * (window % 2)
        of_token = sources[top : top + 3, left : left + 3].flatten()
        heads = []
        for head in range(2):
            q, k, v = (qkv[image, window, :, 8 * part + 4 * head : 8 * part + 4 * head + 4] for part in range(3))
            rows = []
            for i in range(9):
                seen = [j for j in range(9) if of_token[i] == of_token[j]]
                logits = [
                    q[i] @ k[j] / 2
                    + attention.relative_position_bias_table[(i // 3 - j // 3 + 2) * 5 + (i % 3 - j % 3 + 2), head]
                    for j in seen
                ]
                rows.append(torch.stack(logits).softmax(0) @ v[seen])
            heads.append(torch.stack(rows))
        expected = attention.proj(torch.cat(heads, dim=-1))
        assert torch.allclose(result[image, window], expected, atol=1e-12)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_foreign_pairs_are_those_of_different_sources(rows, columns, size, random):
    sources = torch.tensor([[random.randint(0, 2) for _ in range(columns * size)] for _ in range(rows * size)])
    foreign = foreign_pairs(sources, size)
    assert foreign.shape == (rows * columns, size**2, size**2)
    for window in range(rows * columns):
        top, left = size * (window // columns), size * (window % columns)
        own = sources[top : top + size, left : left + size].flatten().tolist()
        assert foreign[window].tolist() == [[a != b for b in own] for a in own]


def test_upsampling_repeats_cells():
    assert upsampled(torch.tensor([[1, 2], [3, 4]]), 2).tolist() == [
        [1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4],
    ]  # fmt: skip


# As timm's networks


def test_it_pools_after_the_norm():
    network = tiny().eval()
    tokens = network.forward_features(torch.randn(2, 3, 32, 32))
    assert tokens.shape == (2, 4, 64) and torch.allclose(tokens.mean(dim=-1), torch.zeros(2, 4), atol=1e-5)
    pooled = network.forward_head(tokens, pre_logits=True)
    assert torch.equal(pooled, tokens.mean(dim=1)) and pooled.shape[-1] == network.num_features
    assert torch.equal(network.forward_head(tokens), network.head(pooled))
    assert tiny(global_pool="").forward_head(tokens).shape == (2, 4, 5)


def test_without_classes_it_gives_features_and_a_head_can_come_later():
    network = tiny(num_classes=0).eval()
    images = torch.randn(2, 3, 32, 32)
    assert network(images).shape == (2, 64) and not any(name.startswith("head") for name in network.state_dict())
    network.reset_classifier(3)
    assert network(images).shape == (2, 3) and network.num_classes == 3
    assert 0 < network.head.weight.std() < 1e-4 and (network.head.bias == 0).all()
    network.reset_classifier(0, "")
    assert network(images).shape == (2, 4, 64)


def test_checkpointing_changes_no_gradient():
    images = torch.randn(2, 3, 32, 32)
    gradients = []
    for enable in (False, True):
        network = tiny()
        network.set_grad_checkpointing(enable)
        network(images).sum().backward()
        gradients.append([value.grad for value in network.parameters() if value.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_groups_are_readable_by_timm():
    network = tiny()
    coarse = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    assert coarse["patch_embed.proj.weight"] == 0 and coarse["layers.2.blocks.0.norm1.weight"] == 3
    assert max(layer_ids(network).values()) == 5 and network.full_rate_layer == 6


# Refused


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pretrained": True}, "backbone.pretrained=true: timm's hub has no weights of MixMIM"),
        ({"img_size": 40}, "multiple of 16 pixels, not 40; use recipe.image_size=32"),
        ({"img_size": 8}, "multiple of 16 pixels, not 8; use recipe.image_size=16"),
        ({"patch_size": 6}, "a quarter of patch_size=6 pixels; take a multiple of 4"),
        ({"window_sizes": [3, 4, 4, 2]}, r"window_sizes=\[3, 4, 4, 2\] don't divide the grids of \[16, 8, 4, 2\]"),
        ({"window_sizes": [4, 4]}, r"window_sizes=\[4, 4\]"),
        ({"window_sizes": [0, 4, 4, 2]}, r"window_sizes=\[0, 4, 4, 2\]"),
        ({"depths": [1, 1, 1]}, r"depths=\[1, 1, 1\] must be 4 numbers"),
        ({"num_heads": [3, 1, 2, 2]}, r"num_heads=\[3, 1, 2, 2\] must be 4 numbers that divide the widths"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, match):
    with pytest.raises(InputError, match=match):
        tiny(**changes)
