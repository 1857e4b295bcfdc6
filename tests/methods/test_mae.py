from functools import partial

import numpy as np
import pytest
import timm
import torch
from parity import Case, published_tables
from torch import nn

from activessf.errors import InputError
from activessf.methods import pixels
from activessf.methods.decoder import PixelDecoder
from activessf.methods.mae import MAE
from activessf.methods.masking import num_kept
from activessf.methods.pixels import patchify, target_pixels
from activessf.methods.positions import sincos_positions
from activessf.training.optimization import parameter_groups

CASES = [("mae-a", "norm_pix=on"), ("mae-b", "norm_pix=on"), ("mae-b", "norm_pix=off")]


def tiny_mae(**changes):
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2
    )
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    torch.manual_seed(0)
    return MAE(backbone, decoder, **{"mask_ratio": 0.75, "norm_pix_loss": True, **changes})


def published(case, run):
    """Our method with the case's sizes and weights, in 64 bits."""
    sizes = case.sizes
    backbone = partial(
        timm.create_model, "vit_base_patch16_224", img_size=sizes["image_size"], patch_size=sizes["patch_size"],
        embed_dim=sizes["embed_dim"], depth=sizes["depth"], num_heads=sizes["heads"],
    )  # fmt: skip
    decoder = partial(
        PixelDecoder,
        embed_dim=sizes["decoder_dim"],
        depth=sizes["decoder_depth"],
        num_heads=sizes["decoder_heads"],
    )
    method = MAE(backbone, decoder, sizes["mask_ratio"], run == "norm_pix=on").double()
    case.load(method, ours)
    return method


def ours(name):
    if name.startswith("decoder_"):
        return f"decoder.{name.removeprefix('decoder_')}"
    return f"decoder.{name}" if name == "mask_token" else f"encoder.{name}"


@pytest.mark.parametrize(("name", "run"), CASES)
def test_mask_outputs_loss_gradients_and_steps_equal_the_published_code(name, run):
    case = Case("mae", name)
    method = published(case, run)
    images, noise = case.inputs["images"], case.inputs["noise"]
    tokens, masking = method.encode(images, noise)
    assert masking.kept.tolist() == case.made["mask"]["kept_in_noise_order"]
    case.check_output(run, "encoder", tokens)
    case.check_output(run, "prediction", method.decoder(method.decoder.restored(tokens, masking.restore)))
    loss = method(images, 0.0, noise)
    loss.backward()
    case.check_loss(run, loss)
    case.check_gradients(run, method, ours)
    case.check_steps(
        run,
        lambda lr, decay: parameter_groups(method.encoder, method._others(), lr, decay, 1.0),
        lambda: method(images, 0.0, noise),
    )


@pytest.mark.parametrize("name", ["mae-a", "mae-b"])
def test_logits_of_the_classifier_equal_the_published_code(name):
    case = Case("mae", name)
    sizes, finetune = case.sizes, case.made["finetune"]
    network = timm.create_model(
        "vit_base_patch16_224", img_size=sizes["image_size"], patch_size=sizes["patch_size"], num_classes=11,
        embed_dim=sizes["embed_dim"], depth=sizes["depth"], num_heads=sizes["heads"], global_pool="avg",
    )  # fmt: skip
    grid = (sizes["image_size"] // sizes["patch_size"],) * 2
    network.pos_embed.data = sincos_positions(sizes["embed_dim"], grid, class_token=True)
    network = network.double().eval()
    case.load(network, lambda key: key, finetune["keys"])
    case.check_logits(network(case.inputs["images"]))


def _set_eps(method):
    for module in method.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


def _swap_halves(method):
    for table in (method.encoder.pos_embed, method.decoder.pos_embed):
        table.data = torch.cat(table.data.chunk(2, dim=-1)[::-1], dim=-1)


MISTAKES = {
    "LayerNorm eps 1e-5 instead of 1e-6": (_set_eps, {}),
    "sin-cos halves swapped (MoCo order)": (_swap_halves, {}),
    "norm_pix eps 1e-5": (None, {"_EPS": 1e-5}),
    "no eps in norm_pix": (None, {"_EPS": 0.0}),
    "biased variance in norm_pix": (None, {"patchify": lambda *how: _Biased(patchify(*how))}),
}


class _Biased:
    """Pixels whose variance divides by their number."""

    def __init__(self, values):
        self.values = values

    def mean(self, **how):
        return self.values.mean(**how)

    def __sub__(self, mean):
        return self.values - mean

    def var(self, **how):
        return self.values.var(unbiased=False, **how)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["mae-a", "mae-b"])
def test_a_mistake_moves_the_loss_to_where_it_is_known_to_go(monkeypatch, name, mistake):
    case, run = Case("mae", name), "norm_pix=on"
    method = published(case, run)
    change, replaced = MISTAKES[mistake]
    for attribute, value in replaced.items():
        monkeypatch.setattr(pixels, attribute, value)
    if change:
        change(method)
    loss = method(case.inputs["images"], 0.0, case.inputs["noise"])
    expected = case.made["runs"][run]["loss_with_mistake"][mistake]
    assert abs(loss.item() - expected) <= case.tolerance["loss"]
    with pytest.raises(AssertionError):
        case.check_loss(run, loss)


def test_patches_are_in_raster_order_with_the_channel_fastest():
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    naive = [images[1, channel, 2 + row, 4 + column] for row in range(2) for column in range(2) for channel in range(3)]
    assert patches[1, 5].tolist() == [int(value) for value in naive]  # patch row 1, patch column 2
    assert torch.equal(pixels.unpatchify(patches, 2, (2, 3)), images)


def test_positions_by_hand():
    table = sincos_positions(8, (2, 3), class_token=True)
    assert table.shape == (1, 7, 8) and (table[0, 0] == 0).all()
    x, y = 2.0, 1.0  # the last cell: column 2, row 1; frequencies 1 and 10000^(-1/2) = 0.01
    by_hand = [wave(axis / period) for axis in (x, y) for wave in (np.sin, np.cos) for period in (1, 100)]
    assert table[0, 6].numpy() == pytest.approx(np.array(by_hand), abs=1e-7)


def test_the_loss_sees_hidden_patches_only():
    method = tiny_mae(norm_pix_loss=False)
    images = torch.randn(2, 3, 32, 32)
    noise = torch.arange(16.0).repeat(2, 1)  # the first four patches stay
    tokens, masking = method.encode(images, noise)
    assert masking.mask.tolist() == [[0.0] * 4 + [1.0] * 12] * 2
    prediction = method.decoder(method.decoder.restored(tokens, masking.restore))
    error = (prediction - target_pixels(images, 8, normalised=False)) ** 2
    assert method(images, 0.0, noise).item() == pytest.approx(error[:, 4:].mean().item(), rel=1e-5)


def test_hidden_pixels_do_not_reach_the_encoder():
    method = tiny_mae().eval()
    images, noise = torch.randn(1, 3, 32, 32), torch.arange(16.0)[None]
    changed = images.clone()
    changed[:, :, 8:] += 1  # all but the first row of patches, which is kept
    assert torch.equal(method.encode(images, noise)[0], method.encode(changed, noise)[0])


def test_every_parameter_that_should_train_has_a_gradient_and_no_other():
    method = tiny_mae()
    method(torch.randn(4, 3, 32, 32)).backward()
    for name, parameter in method.named_parameters():
        assert parameter.requires_grad == (not name.endswith("pos_embed")), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_loss_falls():
    method = tiny_mae(norm_pix_loss=False)
    images = torch.randn(8, 3, 1, 1).expand(-1, -1, 32, 32) + 0.1 * torch.randn(8, 3, 32, 32)
    optimizer = torch.optim.AdamW(parameter_groups(method.encoder, method._others(), 3e-3, 0.0, 1.0))
    losses = []
    for _ in range(30):
        loss = method(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_base_size_has_the_published_parameters():
    method = MAE(
        partial(timm.create_model, "vit_base_patch16_224"),
        partial(PixelDecoder, embed_dim=512, depth=8, num_heads=16),
        0.75,
        norm_pix_loss=False,
    )
    expected = published_tables()["methods"]["mae"]["pretraining"]
    assert {name: list(value.shape) for name, value in method.state_dict().items()} == {
        ours(name): shape for name, shape in expected["keys"].items()
    }
    assert sum(value.numel() for value in method.parameters()) == expected["total"] == 111_907_840
    trainable = sum(value.numel() for value in method.parameters() if value.requires_grad)
    assert trainable == expected["trainable"] == 111_655_680


def test_a_backbone_that_is_no_vision_transformer_is_refused():
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    with pytest.raises(InputError, match="ssl=mae needs a plain Vision Transformer.*ResNet.*backbone=vit_base"):
        MAE(partial(timm.create_model, "resnet18"), decoder, 0.75, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_name": "vit_small_patch14_reg4_dinov2"}, "4 more tokens"),
        ({"model_name": "deit_tiny_distilled_patch16_224"}, "1 more tokens"),
        ({"no_embed_class": True}, "no position for its class token"),
        ({"pre_norm": True}, "a norm before its blocks"),
        ({"dynamic_img_size": True}, "no fixed grid"),
        ({"class_token": False, "global_pool": "avg"}, "no class token"),
        ({"patch_size": (8, 16)}, "not square"),
    ],
)
def test_a_vision_transformer_of_another_kind_is_refused_by_what_it_differs_in(changes, said):
    backbone = partial(timm.create_model, **{"model_name": "vit_tiny_patch16_224", "depth": 1, **changes})
    with pytest.raises(InputError, match=f"plain Vision Transformer, but the backbone has .*{said}.*use backbone="):
        MAE(backbone, partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2), 0.75, True)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_mask_ratio_that_hides_all_or_nothing_is_refused(ratio):
    with pytest.raises(InputError, match=r"ssl_method\.method\.mask_ratio="):
        tiny_mae(mask_ratio=ratio)


def test_mask_counts_are_the_published_ones():
    counts = published_tables()["mask_counts"]
    for ratio, kept in counts["kept_by_mae_and_convmae"].items():
        for cells, expected in zip(counts["cells"], kept, strict=True):
            assert num_kept(cells, float(ratio)) == expected, (ratio, cells)
