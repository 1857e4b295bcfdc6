import math
from functools import cache, partial

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from parity import Case, published_tables
from timm.layers import LayerNorm2d
from torch import nn

from activessf.backbones.convvit import ConvViT
from activessf.configuration import CONF
from activessf.errors import InputError
from activessf.methods.convmae import ConvMAE
from activessf.methods.decoder import PixelDecoder
from activessf.methods.masking import Masking
from activessf.methods.pixels import target_pixels
from activessf.methods.positions import sincos_positions
from activessf.pretrained import load_weights
from activessf.training.optimization import layer_ids, parameter_groups

CASES = [("convmae-a", "norm_pix=on"), ("convmae-b", "norm_pix=off")]
TINY = {"embed_dims": [8, 12, 32], "depths": [1, 1, 2], "num_heads": 2}


def tiny_convmae(image_size=32, patch_size=8, **changes):
    backbone = partial(ConvViT, img_size=image_size, patch_size=patch_size, **TINY)
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    torch.manual_seed(0)
    return ConvMAE(backbone, decoder, **{"mask_ratio": 0.75, "norm_pix_loss": True, **changes})


def encoder_sizes(case):
    sizes = case.sizes
    return {
        "img_size": sizes["image_size"], "patch_size": math.prod(sizes["patch_sizes"]),
        "embed_dims": sizes["embed_dims"], "depths": sizes["depths"], "num_heads": sizes["heads"],
    }  # fmt: skip


def published(case, run):
    """Our method with the case's sizes and weights, in 64 bits."""
    sizes = case.sizes
    decoder = partial(
        PixelDecoder,
        embed_dim=sizes["decoder_dim"],
        depth=sizes["decoder_depth"],
        num_heads=sizes["decoder_heads"],
    )
    method = ConvMAE(partial(ConvViT, **encoder_sizes(case)), decoder, sizes["mask_ratio"], run == "norm_pix=on")
    method = method.double()
    case.load(method, ours)
    return method


def ours(name):
    if name.startswith("decoder_"):
        return f"decoder.{name.removeprefix('decoder_')}"
    if name == "mask_token":
        return "decoder.mask_token"
    return name if name.startswith("stage") else f"encoder.{name}"


@pytest.mark.parametrize(("name", "run"), CASES)
def test_mask_outputs_loss_gradients_and_steps_equal_the_published_code(name, run):
    case = Case("convmae", name)
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


@pytest.mark.parametrize("name", ["convmae-a", "convmae-b"])
def test_logits_of_the_classifier_equal_the_published_code(name):
    case = Case("convmae", name)
    network = ConvViT(**encoder_sizes(case), num_classes=11, global_pool="avg", drop_path_rate=0.1)
    network.pos_embed.data = sincos_positions(network.embed_dim, network.grid_size, class_token=False)
    network = network.double().eval()
    case.load(network, lambda key: key, case.made["finetune"]["keys"])
    assert set(network.state_dict()) == set(case.made["finetune"]["keys"])
    case.check_logits(network(case.inputs["images"]))


@pytest.mark.parametrize(("name", "run"), CASES)
def test_position_tables_are_those_of_the_published_code(name, run):
    case = Case("convmae", name)
    method = published(case, run)
    for key, table in case.made["tables"].items():
        values = method.get_parameter(ours(key))
        assert list(values.shape) == table["shape"] and not values.requires_grad
        assert [values[tuple(place)].item() for place in table["at"]] == table["value"]


def _norms_of_convolutions(method):
    for module in method.modules():
        if isinstance(module, LayerNorm2d):
            module.eps = 1e-6


def _all_norms(method):
    for module in method.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


def _no_activation(method):
    method.encoder.act = nn.Identity()


def _no_skip(method):
    for decode in (method.stage1_output_decode, method.stage2_output_decode):
        decode.weight.data.zero_()
        decode.bias.data.zero_()


def _norm_before_the_skips(method):
    encoder = method.encoder
    norm, transform = encoder.norm, encoder.forward_transformer
    encoder.norm = nn.Identity()
    encoder.forward_transformer = lambda tokens: norm(transform(tokens))


def _swap_halves(method):
    for table in (method.encoder.pos_embed, method.decoder.pos_embed):
        table.data = torch.cat(table.data.chunk(2, dim=-1)[::-1], dim=-1)


def _repeated(hidden, cells):
    return hidden.repeat_interleave(cells, dim=-2).repeat_interleave(cells, dim=-1)


def encode_all(method, views, noise, enlarged=_repeated, masked="before"):
    """The encoder as published: it computes all tokens, and masks maps of cells where a convolution mixes them."""
    encoder, order = method.encoder, noise.argsort(dim=1)
    masking = Masking(
        order[:, : method.num_kept], order.argsort(dim=1), (order.argsort(dim=1) >= method.num_kept) * 1.0
    )
    hidden = masking.mask.bool().view(len(views), 1, *encoder.grid_size)
    x, tokens = views, []
    embeddings = (encoder.patch_embed1, encoder.patch_embed2)
    decodes = (method.stage1_output_decode, method.stage2_output_decode)
    for embed, blocks, cells, decode in zip(
        embeddings, (encoder.blocks1, encoder.blocks2), (4, 2), decodes, strict=True
    ):
        x = encoder.act(embed(x))
        for block in blocks:
            shown = {"before": 1, "after": 1, "never": 0}[masked] * enlarged(hidden, cells)
            inner = block.conv1(block.norm1(x))
            inner = block.attn(inner * ~shown.bool()) if masked == "before" else block.attn(inner) * ~shown.bool()
            x = x + block.conv2(inner)
            x = x + block.mlp(block.norm2(x))
        tokens.append(decode(x).flatten(2).transpose(1, 2))
    x = encoder.patch_embed4(encoder.act(encoder.patch_embed3(x)).flatten(2).transpose(1, 2)) + encoder.pos_embed
    kept = masking.kept[:, :, None].expand(-1, -1, encoder.embed_dim)
    x = encoder.forward_transformer(x.gather(1, kept))
    return encoder.norm(sum((skip.gather(1, kept) for skip in tokens), x)), masking


def _computed_for_all(**changes):
    def change(method):
        method.encode = partial(encode_all, method, **changes)

    return change


_MASKED_LATE, _WITHOUT_MASK = _computed_for_all(masked="after"), _computed_for_all(masked="never")


MISTAKES = {
    "LayerNorm eps 1e-6 in the conv stages": _norms_of_convolutions,
    "LayerNorm eps 1e-5 everywhere": _all_norms,
    "mask after the depthwise conv": _MASKED_LATE,
    "no mask in the conv stages": _WITHOUT_MASK,
    "no GELU after the patch LayerNorm": _no_activation,
    "mask tiled instead of repeated": _computed_for_all(enlarged=lambda mask, cells: mask.tile(cells, cells)),
    "no multi-scale skip": _no_skip,
    "skips added after the norm": _norm_before_the_skips,
    "sin-cos halves swapped (MoCo order)": _swap_halves,
}


def test_every_known_mistake_is_tried():
    for name, run in CASES:
        assert set(Case("convmae", name).made["runs"][run]["loss_with_mistake"]) == set(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize(("name", "run"), CASES)
def test_a_mistake_moves_the_loss_to_where_it_is_known_to_go(name, run, mistake):
    case = Case("convmae", name)
    method = published(case, run)
    MISTAKES[mistake](method)
    with torch.no_grad():
        loss = method(case.inputs["images"], 0.0, case.inputs["noise"])
    expected = case.made["runs"][run]["loss_with_mistake"][mistake]
    assert abs(loss.item() - expected) <= case.tolerance["loss"]
    with pytest.raises(AssertionError):
        case.check_loss(run, loss)


def predictions_before_and_after(method, image_size):
    """Predictions for images, and for the same with other pixels wherever a patch is hidden."""
    images = torch.randn(2, 3, image_size, image_size)
    noise = torch.rand(2, method.encoder.num_patches)
    tokens, masking = method.encode(images, noise)
    prediction = method.decoder(method.decoder.restored(tokens, masking.restore))
    hidden = masking.mask.bool().view(2, 1, *method.encoder.grid_size)
    changed = torch.where(_repeated(hidden, method.encoder.patch_size), 5 * torch.randn_like(images), images)
    assert (changed != images).float().mean() == pytest.approx(0.75, abs=0.02)
    tokens, masking = method.encode(changed, noise)
    return prediction, method.decoder(method.decoder.restored(tokens, masking.restore))


@pytest.mark.parametrize(("image_size", "patch_size"), [(48, 8), (64, 8), (96, 16), (32, 4)])
@torch.no_grad()
def test_predictions_do_not_move_when_hidden_pixels_do(image_size, patch_size):
    method = tiny_convmae(image_size, patch_size).eval()
    before, after = predictions_before_and_after(method, image_size)
    assert torch.equal(before, after)


@pytest.mark.parametrize("change", [_MASKED_LATE, _WITHOUT_MASK])
@torch.no_grad()
def test_predictions_do_move_when_the_mask_comes_late_or_not_at_all(change):
    method = tiny_convmae(64, 8).eval()
    change(method)
    before, after = predictions_before_and_after(method, 64)
    assert (before - after).abs().max() > 1e-4


@pytest.mark.parametrize(("image_size", "patch_size", "mask_ratio"), [(48, 8, 0.75), (96, 16, 0.3), (32, 4, 0.9)])
def test_what_is_computed_for_visible_tokens_alone_is_what_is_computed_for_all(image_size, patch_size, mask_ratio):
    method = tiny_convmae(image_size, patch_size, mask_ratio=mask_ratio).double()
    images = torch.randn(3, 3, image_size, image_size, dtype=torch.float64)
    noise = torch.rand(3, method.encoder.num_patches)
    found = []
    for change in (lambda method: None, _computed_for_all()):
        change(method)
        method.zero_grad()
        loss = method(images, 0.0, noise)
        loss.backward()
        found.append([loss.detach(), *(value.grad for value in method.parameters() if value.requires_grad)])
    for ours, all_tokens in zip(*found, strict=True):
        assert torch.allclose(ours, all_tokens, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_hidden_pixels_that_are_no_numbers_do_no_harm():
    method = tiny_convmae().eval()
    images, noise = torch.randn(1, 3, 32, 32), torch.arange(16.0)[None]
    broken = images.clone()
    broken[:, :, 8:] = math.nan  # all but the first row of patches, which is kept
    assert torch.equal(method.encode(images, noise)[0], method.encode(broken, noise)[0])


@torch.no_grad()
def test_every_image_has_a_mask_of_its_own():
    method = tiny_convmae().eval()
    images, noise = torch.randn(3, 3, 32, 32), torch.rand(3, 16)
    together, masking = method.encode(images, noise)
    assert (masking.mask.sum(dim=1) == 12).all() and len(set(map(tuple, masking.mask.tolist()))) == 3
    for i in range(3):
        alone, _ = method.encode(images[i : i + 1], noise[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


def test_only_visible_tokens_go_through_the_encoder():
    method, seen = tiny_convmae(), []
    encoder = method.encoder
    for part in (encoder.patch_embed1, *encoder.blocks1, *encoder.blocks2, *encoder.blocks3):
        part.register_forward_pre_hook(lambda part, given: seen.append(tuple(given[0].shape)))
    method(torch.randn(2, 3, 32, 32))
    assert seen == [(2, 3, 32, 8), (2, 8, 16, 4), (2, 12, 8, 2), *[(2, 4, 32)] * 2]  # four tokens of sixteen


def test_the_loss_sees_hidden_patches_only():
    method = tiny_convmae(norm_pix_loss=False)
    images = torch.randn(2, 3, 32, 32)
    noise = torch.arange(16.0).repeat(2, 1)  # the first four patches stay
    tokens, masking = method.encode(images, noise)
    assert masking.mask.tolist() == [[0.0] * 4 + [1.0] * 12] * 2
    prediction = method.decoder(method.decoder.restored(tokens, masking.restore))
    error = (prediction - target_pixels(images, 8, normalised=False)) ** 2
    assert method(images, 0.0, noise).item() == pytest.approx(error[:, 4:].mean().item(), rel=1e-5)


def test_every_parameter_that_should_train_has_a_gradient_and_no_other():
    method = tiny_convmae()
    method(torch.randn(4, 3, 32, 32)).backward()
    for name, parameter in method.named_parameters():
        assert parameter.requires_grad == (not name.endswith("pos_embed")), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_loss_falls():
    method = tiny_convmae(norm_pix_loss=False)
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


def test_gradients_are_the_same_when_blocks_are_computed_again():
    method, images = tiny_convmae(), torch.randn(2, 3, 32, 32)
    noise, gradients = torch.rand(2, 16), []
    for again in (False, True):
        method.encoder.set_grad_checkpointing(again)
        method.zero_grad()
        method(images, 0.0, noise).backward()
        gradients.append([value.grad for value in method.parameters() if value.requires_grad])
    assert all(torch.equal(kept, computed) for kept, computed in zip(*gradients, strict=True))


# First weights


def spread(values):
    """Largest magnitude, and deviation as a share of a uniform distribution's with that bound."""
    bound = values.abs().max().item()
    return bound, values.std(correction=0).item() / (bound / math.sqrt(3))


def test_linear_layers_and_the_last_patch_embedding_are_drawn_xavier_uniform():
    torch.manual_seed(0)
    method = ConvMAE(
        partial(ConvViT, img_size=32, patch_size=8, embed_dims=[16, 32, 64], depths=[1, 1, 1], num_heads=2),
        partial(PixelDecoder, embed_dim=48, depth=1, num_heads=2), 0.75, True,
    )  # fmt: skip
    linear = [module for module in method.modules() if isinstance(module, nn.Linear)]
    assert method.encoder.patch_embed4 in linear and len(linear) == 1 + 4 + 1 + 4 + 1
    for module in [*linear, method.encoder.patch_embed3.proj]:
        fan_out, fan_in = module.weight.flatten(1).shape
        bound, uniform = spread(module.weight)
        assert bound == pytest.approx(math.sqrt(6 / (fan_in + fan_out)), rel=0.01) and abs(uniform - 1) < 0.05
    assert all((module.bias == 0).all() for module in linear)
    assert method.decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.3)


def test_the_other_convolutions_keep_the_weights_of_torch():
    method = tiny_convmae()
    last = method.encoder.patch_embed3.proj
    convolutions = [module for module in method.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 3 + 2 * 5 + 2
    for module in convolutions:
        bound = 1 / math.sqrt(module.weight[0].numel())
        assert 0 < module.bias.abs().max() <= bound
        assert module is last or 0.8 * bound < module.weight.abs().max() <= bound


# The published size


def published_size(**arguments):
    sizes = OmegaConf.load(CONF / "backbone" / "convvit_base.yaml")
    sizes = {key: sizes[key] for key in ("embed_dims", "depths", "num_heads")}
    return ConvViT(img_size=224, patch_size=16, **sizes, **arguments)


@cache  # nobody changes what it gives
def published_classifier():
    return published_size(num_classes=11, global_pool="avg", drop_path_rate=0.1)


def test_base_size_has_the_published_parameters():
    method = ConvMAE(published_size, partial(PixelDecoder, embed_dim=512, depth=8, num_heads=16), 0.75, False)
    expected = published_tables()["methods"]["convmae"]["pretraining"]
    assert {name: list(value.shape) for name, value in method.state_dict().items()} == {
        ours(name): shape for name, shape in expected["keys"].items()
    }
    assert sum(value.numel() for value in method.parameters()) == expected["total"] == 115_041_408
    trainable = sum(value.numel() for value in method.parameters() if value.requires_grad)
    assert trainable == expected["trainable"] == 114_790_528
    groups = parameter_groups(method.encoder, method._others(), 1.0, 0.05, 1.0)
    decayed = [value for group in groups if group["weight_decay"] for value in group["params"]]
    assert len(decayed) == expected["weight_decay"]["decayed_tensors"]
    assert sum(value.numel() for value in decayed) == expected["weight_decay"]["decayed_entries"]


def test_base_size_has_the_published_parameters_of_the_classifier():
    expected = published_tables()["methods"]["convmae"]["finetuning"]
    network = published_classifier()
    assert {name: list(value.shape) for name, value in network.state_dict().items()} == expected["keys"]
    trainable = sum(value.numel() for value in network.parameters() if value.requires_grad)
    assert trainable == expected["total"] == expected["trainable"] == 84_614_283


def test_layers_rates_and_weight_decay_of_the_classifier_are_the_published_ones():
    expected, network = published_tables()["methods"]["convmae"]["layer_decay"], published_classifier()
    ids = layer_ids(network)
    assert ids == expected["layer_id"] and max(ids.values()) == expected["N"] == 12
    for decay, scales in expected["lr_scale"].items():
        groups = parameter_groups(network, (), 1.0, 0.05, float(decay), network.no_weight_decay())
        found = {id(value): (group["lr"], group["weight_decay"]) for group in groups for value in group["params"]}
        for name, value in network.named_parameters():
            rate, weight_decay = found[id(value)]
            assert rate == pytest.approx(scales[str(ids[name])], rel=1e-12), name
            assert (weight_decay == 0) == (name in expected["weight_decay_zero"]), name


def test_in_pretraining_the_last_norm_and_all_that_is_not_handed_on_have_the_full_rate():
    method = tiny_convmae()
    groups = parameter_groups(method.encoder, method._others(), 1.0, 0.05, 0.5)
    rates = {id(value): group["lr"] for group in groups for value in group["params"]}
    for name, value in method.named_parameters():
        if value.requires_grad and (not name.startswith("encoder.") or name.startswith("encoder.norm.")):
            assert rates[id(value)] == 1, name
    assert rates[id(method.encoder.blocks3[1].attn.qkv.weight)] == 0.5
    assert rates[id(method.encoder.blocks1[0].attn.weight)] == 0.5**3


# What is handed on


def test_the_encoder_that_is_handed_on_is_a_convvit_and_nothing_else():
    weights = tiny_convmae().encoder.state_dict()
    plain = ConvViT(img_size=32, patch_size=8, **TINY, num_classes=0)
    load_weights(plain, weights, "pretraining")
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())


def test_the_classifier_takes_all_of_the_encoder_but_its_last_norm():
    weights = tiny_convmae().encoder.state_dict()
    network = ConvViT(img_size=32, patch_size=8, **TINY, num_classes=11, global_pool="avg")
    load_weights(network, weights, "pretraining", fresh=("fc_norm.", "norm."))
    own = network.state_dict()
    assert set(own) - set(weights) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert set(weights) - set(own) == {"norm.weight", "norm.bias"}
    assert all(torch.equal(own[name], weights[name]) for name in set(own) & set(weights))
    assert network.pos_embed.requires_grad


# Bad input


def test_a_backbone_that_is_no_convvit_is_refused():
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    with pytest.raises(InputError, match="ssl=convmae needs a ConvViT.*VisionTransformer.*backbone=convvit_base"):
        ConvMAE(partial(timm.create_model, "vit_tiny_patch16_224"), decoder, 0.75, True)


def test_an_encoder_that_pools_is_refused():
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    with pytest.raises(InputError, match="needs a ConvViT that does not pool"):
        ConvMAE(partial(ConvViT, 32, 8, **TINY, global_pool="avg"), decoder, 0.75, True)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_mask_ratio_that_hides_all_or_nothing_is_refused(ratio):
    with pytest.raises(InputError, match=f"ssl_method.method.mask_ratio={ratio} keeps"):
        tiny_convmae(mask_ratio=ratio)
