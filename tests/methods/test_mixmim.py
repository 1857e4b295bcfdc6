from functools import partial

import pytest
import timm
import torch
from parity import Case, published_tables
from torch import nn

from activessf.backbones import mixmim_transformer
from activessf.backbones.mixmim_transformer import MixMIMTransformer, PatchMerging
from activessf.errors import InputError
from activessf.methods import mixmim
from activessf.methods.decoder import PixelDecoder
from activessf.methods.masking import hide_smallest
from activessf.methods.mixmim import MixMIM
from activessf.methods.pixels import target_pixels
from activessf.training.optimization import parameter_groups

CASES = [("mixmim-a", "norm_pix=on"), ("mixmim-b", "norm_pix=off")]


def tiny_mixmim(**changes):
    backbone = partial(
        MixMIMTransformer, img_size=48, patch_size=8, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]
    )
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    torch.manual_seed(0)
    return MixMIM(backbone, decoder, **{"mask_ratio": 0.5, "norm_pix_loss": True, **changes})


def sizes_of(case):
    sizes = case.sizes
    return {
        "img_size": sizes["image_size"], "patch_size": 4 * sizes["patch_size"], "embed_dim": sizes["embed_dim"],
        "depths": sizes["depths"], "num_heads": sizes["heads"],
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
    backbone = partial(MixMIMTransformer, **sizes_of(case))
    method = MixMIM(backbone, decoder, sizes["mask_ratio"], run == "norm_pix=on").double()
    case.load(method, ours)
    return method


def ours(name):
    if name.startswith("decoder_"):
        return f"decoder.{name.removeprefix('decoder_')}"
    return f"decoder.{name}" if name == "mask_token" else f"encoder.{name}"


def groups(method):
    return lambda lr, decay: parameter_groups(method.encoder, method._others(), lr, decay, 1.0)


@pytest.mark.parametrize(("name", "run"), CASES)
def test_mask_outputs_loss_gradients_and_steps_equal_the_published_code(name, run):
    case = Case("mixmim", name)
    method = published(case, run)
    assert [layer.window_size for layer in method.encoder.layers] == case.sizes["windows"]
    images, noise = case.inputs["images"], case.inputs["noise"]
    tokens, hidden = method.encode(images, noise)
    assert hidden.nonzero().flatten().tolist() == case.made["mask"]["masked_cells"]
    case.check_output(run, "encoder", tokens)
    case.check_output(run, "prediction", method.decoder.pixels(method.decode(tokens, hidden)))
    case.check_output(run, "unmixed", method.predict(tokens, hidden))
    loss = method(images, 0.0, noise)
    loss.backward()
    case.check_loss(run, loss)
    case.check_gradients(run, method, ours)
    case.check_steps(run, groups(method), lambda: method(images, 0.0, noise))


@pytest.mark.parametrize("name", ["mixmim-a", "mixmim-b"])
def test_logits_of_the_classifier_equal_the_published_code(name):
    case = Case("mixmim", name)
    network = MixMIMTransformer(**sizes_of(case), num_classes=11).double().eval()
    case.load(network, lambda key: key, case.made["finetune"]["keys"])
    assert set(network.state_dict()) == set(case.made["finetune"]["keys"])
    case.check_logits(network(case.inputs["images"]))


# Mistakes


def _set_eps(modules):
    for module in modules:
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6


def _row_by_row(method):
    """Merging in the order (0, 0), (0, 1), (1, 0), (1, 1)."""
    for module in method.modules():
        if isinstance(module, PatchMerging):
            for weight in (module.norm.weight, module.norm.bias, module.reduction.weight):
                first, second, third, fourth = weight.data.chunk(4, dim=-1)
                weight.data = torch.cat([first, third, second, fourth], dim=-1)


def _transpose_positions(method):
    for name, buffer in method.named_buffers():
        if name.endswith("relative_position_index"):
            buffer.copy_(buffer.T.clone())


def _swap_halves(method):
    for table in (method.encoder.absolute_pos_embed, method.decoder.pos_embed):
        table.data = torch.cat(table.data.chunk(2, dim=-1)[::-1], dim=-1)


def _no_attention_mask(monkeypatch, method):
    monkeypatch.setattr(mixmim_transformer, "foreign_pairs", lambda *_: None)


def _not_flipped_back(monkeypatch, method):
    def unmixed(prediction, hidden):
        return torch.where(hidden[:, None], *prediction.chunk(2))

    monkeypatch.setattr(method, "unmixed", unmixed)


def _roll(monkeypatch, method):
    """Mixed with the image before, but taken apart as if by a flip."""
    ways = iter([lambda batch: batch.roll(1, 0), lambda batch: batch.flip(0)])
    monkeypatch.setattr(mixmim, "partners", lambda batch: next(ways)(batch))


def _masked_cells_only(monkeypatch, method):
    unmixed, hidden_cells = method.unmixed, []

    def of_hidden(prediction, hidden):
        hidden_cells.append(hidden)
        return unmixed(prediction, hidden)[:, hidden]

    monkeypatch.setattr(method, "unmixed", of_hidden)
    monkeypatch.setattr(mixmim, "target_pixels", lambda *how: target_pixels(*how)[:, hidden_cells[0]])


MISTAKES = {
    "LayerNorm eps 1e-6 instead of 1e-5": lambda _, method: _set_eps(method.modules()),
    "decoder LayerNorm eps 1e-6": lambda _, method: _set_eps(method.decoder.modules()),
    "no attention mask": _no_attention_mask,
    "patch-merge order (0,0),(0,1),(1,0),(1,1)": lambda _, method: _row_by_row(method),
    "second half not flipped back": _not_flipped_back,
    "roll(1) instead of flip(0)": _roll,
    "loss on masked cells only": _masked_cells_only,
    "relative position index transposed": lambda _, method: _transpose_positions(method),
    "sin-cos halves swapped (MoCo order)": lambda _, method: _swap_halves(method),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize(("name", "run"), CASES)
def test_a_mistake_moves_the_loss_to_where_it_is_known_to_go(monkeypatch, name, run, mistake):
    case = Case("mixmim", name)
    figures = case.made["runs"][run]
    method = published(case, run)
    MISTAKES[mistake](monkeypatch, method)
    loss = method(case.inputs["images"], 0.0, case.inputs["noise"])
    if mistake in figures["mistakes_that_the_loss_cannot_see"]:
        case.check_loss(run, loss)
        return
    assert abs(loss.item() - figures["loss_with_mistake"][mistake]) <= case.tolerance["loss"]
    with pytest.raises(AssertionError):
        case.check_loss(run, loss)


def test_hiding_the_largest_noise_leaves_the_loss_but_not_the_outputs(monkeypatch):
    case, run = Case("mixmim", "mixmim-b"), "norm_pix=off"  # 8 of 16 cells: as many either way
    method = published(case, run)
    images, noise = case.inputs["images"], case.inputs["noise"]
    monkeypatch.setattr(mixmim, "hide_smallest", lambda noise, number: ~hide_smallest(noise, number))
    case.check_loss(run, method(images, 0.0, noise))
    with pytest.raises(AssertionError):
        case.check_output(run, "encoder", method.encode(images, noise)[0])


def _as_published(name, parameter):
    return parameter.ndim > 1


OPTIMISERS = {
    "nothing decayed": (lambda name, parameter: False, (0.9, 0.95)),
    "everything decayed": (lambda name, parameter: True, (0.9, 0.95)),
    "tokens and bias tables not decayed": (
        lambda name, parameter: parameter.ndim > 1 and not name.endswith(("mask_token", "bias_table")),
        (0.9, 0.95),
    ),
    "betas (.9, .999)": (_as_published, (0.9, 0.999)),
}


@pytest.mark.parametrize("mistake", OPTIMISERS)
@pytest.mark.parametrize(("name", "run"), CASES)
def test_another_optimiser_is_seen_after_two_steps(name, run, mistake):
    case = Case("mixmim", name)
    method, recipe, figures = published(case, run), case.figures["optimizer"], case.made["runs"][run]
    is_decayed, betas = OPTIMISERS[mistake]
    groups = [
        {"params": [value], "weight_decay": recipe["weight_decay"] * is_decayed(name, value)}
        for name, value in method.named_parameters()
        if value.requires_grad
    ]
    optimizer = torch.optim.AdamW(groups, recipe["lr"], betas, recipe["eps"])
    for _ in range(2):
        optimizer.zero_grad()
        method(case.inputs["images"], 0.0, case.inputs["noise"]).backward()
        optimizer.step()
    loss = method(case.inputs["images"], 0.0, case.inputs["noise"]).item()
    assert abs(loss - figures["step2_with_mistake"][mistake]) <= case.tolerance["step2"]
    assert abs(loss - figures["loss_after_adamw_step"]["step2"]) > 100 * case.tolerance["step2"]


# Properties


def pair(seed=0, number=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 3, 48, 48, generator=generator), torch.rand(1, 1, 9, generator=generator)


def test_the_number_of_hidden_cells_is_the_published_one():
    counts = published_tables()["mask_counts"]
    for ratio, hidden in counts["masked_by_mixmim"].items():
        for cells, expected in zip(counts["cells"], hidden, strict=True):
            assert int(cells * float(ratio)) == expected, (ratio, cells)
    assert (tiny_mixmim().num_hidden, tiny_mixmim().num_cells) == (4, 9)


def test_the_smallest_noise_is_hidden():
    assert hide_smallest(torch.tensor([[[0.4, 0.1, 0.3, 0.2]]]), 2).tolist() == [[[False, True, False, True]]]


def test_tokens_see_nothing_of_the_other_image():
    method = tiny_mixmim().eval()
    images, noise = pair()
    changed = images.clone()
    changed[1] += torch.randn(3, 48, 48)
    (before, hidden), (after, _) = method.encode(images, noise), method.encode(changed, noise)
    assert torch.equal(before[0, ~hidden], after[0, ~hidden]) and torch.equal(before[1, hidden], after[1, hidden])
    assert not torch.isclose(before[0, hidden], after[0, hidden]).all(dim=-1).any()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_gives_numbers_and_keeps_images_apart(precision):
    images, noise = pair()
    changed = torch.stack([images[0], images[1] + 1])
    method = tiny_mixmim()
    with torch.autocast("cpu", precision):
        (before, hidden), (after, _) = method.encode(images, noise), method.encode(changed, noise)
        loss = method(images, 0.0, noise)
    assert torch.equal(before[0, ~hidden], after[0, ~hidden]) and not torch.equal(before, after)
    assert loss.item() == pytest.approx(method(images, 0.0, noise).item(), rel=0.02)
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in method.parameters() if value.grad is not None)
    method = method.to(precision)
    before, _ = method.encode(images.to(precision), noise)
    after, _ = method.encode(changed.to(precision), noise)
    assert torch.isfinite(before).all() and torch.equal(before[0, ~hidden], after[0, ~hidden])


def test_a_cell_is_predicted_from_a_mixture_in_which_it_was_hidden():
    method = tiny_mixmim(norm_pix_loss=False)
    images, noise = pair()
    images.requires_grad_()
    tokens, hidden = method.encode(images, noise)
    method.predict(tokens, hidden)[0, 4].sum().backward()  # the middle cell of the first image
    own, other = images.grad.unflatten(2, (3, 16)).unflatten(4, (3, 16)).abs().amax(dim=(1, 3, 5)).flatten(1)
    assert (other == 0).all()
    assert torch.equal(own > 0, hidden != hidden[4])  # all cells of the half that does not hold it


def test_no_image_depends_on_its_partner():
    method = tiny_mixmim().double()
    images, noise = pair(number=6)
    images = images.double()
    loss = method(images, 0.0, noise).item()
    assert method(images.flip(0), 0.0, noise).item() == pytest.approx(loss, abs=1e-12)
    assert method(images[torch.tensor([3, 0, 5, 1, 2, 4])], 0.0, noise).item() == pytest.approx(loss, abs=1e-12)
    parts = [method(part, 0.0, noise).item() for part in images.split(2)]
    assert sum(parts) / 3 == pytest.approx(loss, abs=1e-12)


def test_one_mask_is_drawn_for_the_batch():
    method = tiny_mixmim()
    images, _ = pair(number=4)
    drawn = set()
    for _ in range(10):
        _, hidden = method.encode(images)
        assert hidden.shape == (9,) and hidden.dtype == torch.bool and hidden.sum() == 4
        drawn.add(tuple(hidden.tolist()))
    assert len(drawn) > 1


def test_every_parameter_that_should_train_has_a_gradient_and_no_other():
    method = tiny_mixmim()
    method(pair(number=4)[0]).backward()
    for name, parameter in method.named_parameters():
        assert parameter.requires_grad == (not name.endswith("pos_embed")), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_loss_falls():
    method = tiny_mixmim(norm_pix_loss=False)
    images = torch.randn(4, 3, 1, 1).expand(4, 3, 48, 48)  # flat: the rest of an image tells its hidden cells
    optimizer = torch.optim.AdamW(groups(method)(3e-3, 0.05), lr=3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = method(images)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_weights_are_drawn_as_published():
    method = tiny_mixmim()
    assert 0.01 < method.decoder.mask_token.std() < 0.04
    tables = [value for name, value in method.named_parameters() if name.endswith("bias_table")]
    assert len(tables) == 4 and 0.015 < torch.cat([table.flatten() for table in tables]).std() < 0.025
    linear = method.decoder.embed
    assert linear.weight.abs().max() <= (6 / sum(linear.weight.shape)) ** 0.5 and (linear.bias == 0).all()
    assert (method.encoder.patch_embed.proj.bias != 0).any()


# The published size


def test_base_size_has_the_published_parameters():
    backbone = partial(
        MixMIMTransformer, img_size=224, patch_size=16, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]
    )
    method = MixMIM(backbone, partial(PixelDecoder, embed_dim=512, depth=8, num_heads=16), 0.5, norm_pix_loss=False)
    expected = published_tables()["methods"]["mixmim"]["pretraining"]
    assert {name: list(value.shape) for name, value in method.state_dict().items()} == {
        ours(name): shape for name, shape in expected["keys"].items()
    }
    assert sum(value.numel() for value in method.parameters()) == expected["total"] == 114_665_784
    trainable = sum(value.numel() for value in method.parameters() if value.requires_grad)
    assert trainable == expected["trainable"] == 114_239_288
    assert method.num_hidden == 24
    _check_published_decay(method, expected["weight_decay"])
    _check_decayed_rates(method)


def _check_published_decay(method, expected):
    decayed = [
        value for group in groups(method)(1.0, 0.05) for value in group["params"] if group["weight_decay"] == 0.05
    ]
    assert len(decayed) == expected["decayed_tensors"]
    assert sum(value.numel() for value in decayed) == expected["decayed_entries"]


def _check_decayed_rates(method):
    """The encoder's rates are the published ones; the decoder and the mask token have the full one."""
    made = parameter_groups(method.encoder, method._others(), 1.0, 0.05, 0.75)
    rates = {id(value): group["lr"] for group in made for value in group["params"]}
    published = published_tables()["methods"]["mixmim"]["layer_decay"]
    for name, parameter in method.named_parameters():
        layer = published["layer_id"].get(name.removeprefix("encoder.")) if name.startswith("encoder.") else 25
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(published["lr_scale"]["0.75"][str(layer)], rel=1e-12), name


# Refused


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_batch_that_does_not_pair_is_refused(number):
    method = tiny_mixmim()
    with pytest.raises(InputError, match=f"in pairs, but a batch has {number}; choose an even"):
        method.check_batch(number)
    if number:
        with pytest.raises(InputError, match="in pairs"):
            method(pair(number=number)[0])
    method.check_batch(2)


def test_another_backbone_is_refused():
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    with pytest.raises(InputError, match="ssl=mixmim needs a MixMIM transformer.*VisionTransformer.*mixmim_base"):
        MixMIM(partial(timm.create_model, "vit_tiny_patch16_224"), decoder, 0.5, True)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0])
def test_a_mask_ratio_that_hides_all_or_nothing_is_refused(ratio):
    with pytest.raises(InputError, match=f"ssl_method.method.mask_ratio={ratio} hides . of 9 cells of 16 pixels"):
        tiny_mixmim(mask_ratio=ratio)
