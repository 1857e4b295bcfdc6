import pytest
import torch
from timm.layers import DropPath
from timm.optim import param_groups_layer_decay

from activessf.backbones.convvit import ConvBlock, ConvViT, KeptTokens
from activessf.errors import InputError
from activessf.training.optimization import layer_ids

TINY = {"img_size": 32, "patch_size": 8, "embed_dims": [8, 12, 32], "depths": [1, 2, 2], "num_heads": 2}


def tiny(**changes):
    torch.manual_seed(0)
    return ConvViT(**{**TINY, **changes})


@pytest.mark.parametrize(("image_size", "patch_size", "grid"), [(224, 16, 14), (64, 8, 8), (48, 8, 6), (32, 16, 2)])
@torch.no_grad()
def test_cells_are_a_quarter_and_a_half_of_a_token(image_size, patch_size, grid):
    network = tiny(img_size=image_size, patch_size=patch_size, num_classes=0)
    first, second, tokens = network.forward_convolutions(torch.randn(2, 3, image_size, image_size))
    assert first.shape == (2, 8, 4 * grid, 4 * grid) and second.shape == (2, 12, 2 * grid, 2 * grid)
    assert tokens.shape == (2, grid**2, 32) and network.grid_size == (grid, grid) and network.num_patches == grid**2


@torch.no_grad()
def test_tokens_are_in_raster_order():
    network = tiny(num_classes=0, depths=[0, 0, 0])
    images = torch.randn(1, 3, 32, 32)
    changed = images.clone()
    changed[:, :, 8:16, 16:24] += 1  # row 1, column 2 of a grid of 4 x 4
    moved = (network(images) != network(changed)).any(dim=-1)[0]
    assert moved.nonzero().flatten().tolist() == [1 * 4 + 2]


def test_cells_of_kept_tokens_stand_in_a_column_and_go_back_to_their_places():
    maps = torch.arange(48).view(1, 1, 6, 8) + 1  # 3 x 4 tokens of 2 x 2 cells
    visible = KeptTokens(torch.tensor([[5, 0]]), (3, 4))
    column = visible.column(maps)
    assert column[0, 0].tolist() == [[19, 20], [27, 28], [1, 2], [9, 10]]
    back = visible.spread(column)
    shown = torch.zeros(6, 8, dtype=torch.bool)
    shown[2:4, 2:4] = shown[0:2, 0:2] = True
    assert torch.equal(back[0, 0], torch.where(shown, maps[0, 0], 0))


@torch.no_grad()
def test_a_block_shows_cells_of_visible_tokens_to_one_another_and_zeros_for_the_others():
    torch.manual_seed(0)
    block = ConvBlock(6).double()
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    visible = KeptTokens(torch.tensor([[5, 6, 0], [15, 3, 9]]), (4, 4))
    shown = visible.spread(visible.column(torch.ones_like(x)))
    expected = x + block.conv2(block.attn(block.conv1(block.norm1(x)) * shown))
    expected = expected + block.mlp(block.norm2(expected))
    found = block(visible.column(x), visible)
    assert torch.allclose(found, visible.column(expected), atol=1e-12)
    assert not torch.allclose(found, visible.column(block(x)))


@torch.no_grad()
def test_the_depthwise_convolution_sees_two_cells_to_every_side():
    torch.manual_seed(0)
    block, x = ConvBlock(4), torch.randn(1, 4, 9, 9)
    changed = x.clone()
    changed[..., 4, 4] += torch.randn(4)
    moved = (block(x) != block(changed)).any(dim=1)[0]
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7, 2:7] = True
    assert torch.equal(moved, expected)


@torch.no_grad()
def test_the_classifier_sees_the_normed_mean_of_all_tokens():
    network = tiny(num_classes=5, global_pool="avg").eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = network.forward_features(images)
    mean = tokens.mean(dim=1)
    features = (mean - mean.mean(-1, keepdim=True)) / (mean.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    assert torch.allclose(network.forward_head(tokens, pre_logits=True), features, atol=1e-5)
    assert torch.allclose(network(images), network.head(features), atol=1e-5)
    assert network(images).shape == (2, 5)


@torch.no_grad()
def test_without_pooling_it_gives_normed_tokens():
    network = tiny(num_classes=0).eval()
    tokens = network(torch.randn(2, 3, 32, 32))
    assert tokens.shape == (2, 16, 32)
    assert tokens.mean(-1).abs().max() < 1e-5 and (tokens.std(-1, correction=0) - 1).abs().max() < 1e-3


def test_epsilons_are_the_two_that_were_published():
    for pool, last in (("", "norm"), ("avg", "fc_norm")):
        network = tiny(global_pool=pool)
        found = {name: module.eps for name, module in network.named_modules() if hasattr(module, "eps")}
        for name, eps in found.items():
            assert eps == (1e-6 if name.startswith(("blocks3", last)) else 1e-5), name
        assert last in found and len(found) == 3 + 2 * 5 + 1


def test_drop_path_rises_over_all_blocks():
    network = tiny(drop_path_rate=0.4)
    rates = [
        block.drop_path1.drop_prob if isinstance(block.drop_path1, DropPath) else 0.0
        for blocks in (network.blocks1, network.blocks2, network.blocks3)
        for block in blocks
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    images = torch.randn(4, 3, 32, 32)
    network.train()
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_timm_groups_its_layers_as_ours_do():
    network = tiny(num_classes=3, global_pool="avg")
    ids = layer_ids(network)
    groups = param_groups_layer_decay(network, 0.05, network.no_weight_decay(), layer_decay=0.5)
    scales = {id(value): group["lr_scale"] for group in groups for value in group["params"]}
    assert {name: scales[id(value)] for name, value in network.named_parameters()} == {
        name: 0.5 ** (3 - layer) for name, layer in ids.items()
    }
    assert ids["pos_embed"] == ids["blocks2.1.attn.weight"] == ids["patch_embed4.weight"] == 0
    assert ids["blocks3.0.norm1.weight"] == 1 and ids["fc_norm.weight"] == ids["head.bias"] == 3


def test_every_parameter_of_the_classifier_trains():
    network = tiny(num_classes=3, global_pool="avg", drop_path_rate=0.1)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in network.parameters())


def test_gradients_are_the_same_when_blocks_are_computed_again():
    network, images, gradients = tiny(num_classes=3, global_pool="avg"), torch.randn(2, 3, 32, 32), []
    for again in (False, True):
        network.set_grad_checkpointing(again)
        network.zero_grad()
        network(images).square().sum().backward()
        gradients.append([value.grad for value in network.parameters()])
    assert all(torch.equal(kept, computed) for kept, computed in zip(*gradients, strict=True))


def test_a_classifier_can_be_put_in_and_taken_out():
    network = tiny(num_classes=3, global_pool="avg").double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    network.reset_classifier(7)
    assert network.num_classes == 7 and network(images).shape == (2, 7)
    assert network.get_classifier() is network.head and network.pretrained_cfg["classifier"] == "head"
    network.reset_classifier(0, "")
    assert network(images).shape == (2, 16, 32)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pretrained": True}, "backbone.pretrained=true: there are no pretrained weights of ConvViT"),
        ({"patch_size": 6, "img_size": 48}, "patch_size=6 can't have 4 x 4 cells; take a multiple of 4"),
        ({"img_size": 36}, "img_size=36 is no multiple of ConvViT's patch_size=8"),
        ({"depths": [1, 2]}, r"three stages, but embed_dims=\[8, 12, 32\] and depths=\[1, 2\]"),
        ({"num_heads": 5}, "5 heads can't share ConvViT's 32 channels"),
        ({"global_pool": "token"}, "has no class token and pools by .*, not 'token'"),
    ],
)
def test_what_it_can_not_be_is_refused(changes, match):
    with pytest.raises(InputError, match=match):
        tiny(**changes)
