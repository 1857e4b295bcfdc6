"""What the methods show of an image: the same numbers that their losses are made of."""

import pytest
import torch
from test_convmae import tiny_convmae
from test_mae import tiny_mae
from test_mixedae import tiny_mixedae
from test_mixmim import tiny_mixmim

from activessf.methods.pixels import patchify, target_pixels
from activessf.methods.reconstruction import Reconstructs, masked_and_predicted

METHODS = {"mae": tiny_mae, "convmae": tiny_convmae, "mixmim": tiny_mixmim, "mixedae": tiny_mixedae}


def drawn(method):
    """Images in whole groups, what the method shows of them, and its loss under the same masks."""
    torch.manual_seed(1)
    size = method.decoder.pos_embed.shape[1] - method.decoder.num_prefix_tokens
    side = int(size**0.5) * int((method.decoder.pred.out_features // 3) ** 0.5)
    images = torch.randn(2 * method.batch_multiple, 3, side, side)
    with torch.no_grad():
        torch.manual_seed(2)
        shown = method.reconstruct(images)
        torch.manual_seed(2)
        loss = method(images, 0.0).item()
    return images, shown, loss, int((method.decoder.pred.out_features // 3) ** 0.5)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_the_error_of_what_is_shown_is_the_loss(name, norm_pix_loss):
    method = METHODS[name](norm_pix_loss=norm_pix_loss).eval()
    if name == "mixedae":
        method.contrast.weight = 0.0
    assert isinstance(method, Reconstructs)
    images, (masked, predicted), loss, patch_size = drawn(method)
    true, left, made = (patchify(batch, patch_size) for batch in (images, masked, predicted))
    hidden = (left == 0).all(dim=-1)
    assert torch.equal(left[~hidden], true[~hidden]) and torch.equal(made[~hidden], true[~hidden])
    deviation = (true.var(dim=-1, keepdim=True) + 1e-6).sqrt() if norm_pix_loss else torch.ones(())
    error = ((made - true) / deviation).square().mean(dim=-1)
    if name == "mixmim":
        # What is shown is the hidden part; the loss has the part as well that the partner's mixture hides.
        torch.manual_seed(2)
        tokens, cells = method.encode(images)
        prediction = method.predict(tokens, cells)
        whole = (prediction - target_pixels(images, patch_size, norm_pix_loss)).square().mean(dim=-1)
        assert torch.equal(hidden, cells.expand(len(images), -1))
        assert torch.allclose(error[hidden], whole[hidden], rtol=1e-3) and whole.mean().item() == pytest.approx(loss)
    else:
        assert error[hidden].mean().item() == pytest.approx(loss, rel=1e-3)


def test_a_mixture_leaves_each_cell_to_one_of_its_images():
    method = tiny_mixedae().eval()
    images, (masked, _), _, patch_size = drawn(method)
    left = (patchify(masked, patch_size) != 0).any(dim=-1).view(2, method.num_sources, -1)
    assert (left.sum(dim=1) == 1).all()


@pytest.mark.parametrize("normalised", [False, True])
def test_a_perfect_prediction_reconstructs_the_image(normalised):
    views = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    mask = (torch.arange(24) % 2).expand(2, -1).double()
    masked, predicted = masked_and_predicted(views, target_pixels(views, 4, normalised), mask, 4, normalised)
    assert torch.allclose(predicted, views, atol=1e-9)
    hidden = mask.bool()
    assert (patchify(masked, 4)[hidden] == 0).all()
    assert torch.equal(patchify(masked, 4)[~hidden], patchify(views, 4)[~hidden])


def test_a_hidden_patch_of_a_flat_prediction_has_the_true_mean():
    views = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    prediction = torch.zeros(1, 4, 48, dtype=torch.float64)
    mask = torch.tensor([[1.0, 0, 0, 0]])
    _, predicted = masked_and_predicted(views, prediction, mask, 4, normalised=True)
    assert torch.allclose(predicted[0, :, :4, :4], views[0, :, :4, :4].mean().expand(3, 4, 4))
    assert torch.equal(predicted[0, :, 4:], views[0, :, 4:])
