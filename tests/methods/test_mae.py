import importlib.util
import json
from functools import partial

import numpy as np
import pytest
import timm
import torch

from activessf.errors import InputError
from activessf.methods.mae import MAE, patchify
from activessf.methods.positions import sincos_positions
from activessf.training.optimization import parameter_groups


def tiny_mae(**changes):
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2
    )
    settings = {
        "mask_ratio": 0.75, "decoder_embed_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2, "norm_pix_loss": True,
    }  # fmt: skip
    torch.manual_seed(0)
    return MAE(backbone, **{**settings, **changes})


@pytest.mark.parametrize(("case", "run"), [("mae-a", "on"), ("mae-b", "on"), ("mae-b", "off")])
def test_loss_gradients_and_steps_equal_the_published_code(golden, case, run):
    spec = importlib.util.spec_from_file_location("golden_arrays", golden / "golden.py")
    figures = json.loads((golden / "mae.json").read_text())
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    tolerance, made = figures["tolerance"]["float64"], figures["configs"][case]
    sizes, expected = made["config"], made["runs"][f"norm_pix={run}"]
    backbone = partial(
        timm.create_model, "vit_base_patch16_224", img_size=sizes["image_size"], patch_size=sizes["patch_size"],
        embed_dim=sizes["embed_dim"], depth=sizes["depth"], num_heads=sizes["heads"],
    )  # fmt: skip
    method = MAE(
        backbone, sizes["mask_ratio"], sizes["decoder_dim"], sizes["decoder_depth"], sizes["decoder_heads"], run == "on"
    ).double()

    def ours(name):
        return name if name.startswith(("decoder", "mask_token")) else f"encoder.{name}"

    weights = {
        ours(name): torch.from_numpy(golden.weights(made["prefix"] + name, shape))
        for name, shape in made["keys"].items()
        if golden.made_here(name)
    }
    tables = {name: value for name, value in method.state_dict().items() if name.endswith("pos_embed")}
    method.load_state_dict({**weights, **tables})
    images = torch.from_numpy(golden.images(**made["inputs"]["images"]))
    noise = torch.from_numpy(golden.noise(**made["inputs"]["noise"]))
    loss = method(images, 0.0, noise)
    loss.backward()
    assert abs(loss.item() - expected["loss"]) <= tolerance["loss"]
    gradients = {name: value.grad for name, value in method.named_parameters()}
    for name, entry in expected["gradients"]["tensors"].items():
        limit = tolerance["gradients_over_max"] * expected["gradients"]["max_abs"]
        assert golden.deviation(entry, gradients[ours(name)].numpy()) <= limit, name
    groups = parameter_groups(method.encoder, method._others(), 1e-3, 0.05, 1.0)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    for step in ("step1", "step2"):
        optimizer.step()
        optimizer.zero_grad()
        loss = method(images, 0.0, noise)
        loss.backward()
        losses = expected["loss_after_adamw_step"]
        wanted = losses[step] if step in losses else losses[step.removeprefix("step")]
        assert abs(loss.item() - wanted) <= tolerance[step]


def test_patches_are_in_raster_order_with_the_channel_fastest():
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    naive = [images[1, channel, 2 + row, 4 + column] for row in range(2) for column in range(2) for channel in range(3)]
    assert patches[1, 5].tolist() == [int(value) for value in naive]  # patch row 1, patch column 2


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
    _, mask, restore = method.encode(images, noise)
    assert mask.tolist() == [[0.0] * 4 + [1.0] * 12] * 2
    tokens, _, _ = method.encode(images, noise)
    error = (method.decode(tokens, restore) - patchify(images, 8)) ** 2
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


def test_base_size_has_the_published_number_of_parameters():
    encoder = partial(timm.create_model, "vit_base_patch16_224")
    method = MAE(encoder, 0.75, 512, 8, 16, norm_pix_loss=False)
    assert sum(value.numel() for value in method.parameters()) == 111_907_840
    assert sum(value.numel() for value in method.parameters() if value.requires_grad) == 111_655_680


def test_a_backbone_that_is_no_vision_transformer_is_refused():
    with pytest.raises(InputError, match="ssl=mae needs a Vision Transformer.*ResNet.*backbone=vit_base"):
        MAE(partial(timm.create_model, "resnet18"), 0.75, 16, 1, 2, True)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_mask_ratio_that_hides_all_or_nothing_is_refused(ratio):
    with pytest.raises(InputError, match="mask_ratio"):
        tiny_mae(mask_ratio=ratio)
