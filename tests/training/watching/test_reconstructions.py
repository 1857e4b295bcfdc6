import numpy as np
import pytest
import torch
from watched import PATCH, SIZE, Blurred, cells, tiny_mae

from activessf.data.datasets import IMAGENET_MEAN
from activessf.methods.pixels import patchify
from activessf.methods.reconstruction import Reconstructs
from activessf.regions.quality.drawing import font
from activessf.training.watching.looking import Seen
from activessf.training.watching.reconstructions import Reconstructions, fitted, grid

FACTOR, TOP = 128 // SIZE, 42


@pytest.fixture
def images(tmp_path):
    return cells(tmp_path).images


def tile(picture, row, column):
    """An image of a grid, at its own size."""
    side = FACTOR * SIZE
    y, x = TOP + row * (side + 26), 8 + column * (side + 8)
    enlarged = picture[y : y + side, x : x + side]
    small = enlarged[::FACTOR, ::FACTOR]
    assert (small.repeat(FACTOR, 0).repeat(FACTOR, 1) == enlarged).all()
    return small


def patches(image):
    return patchify(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None], PATCH)[0]


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_the_grid_shows_input_masked_and_predicted_pixels(images, norm_pix_loss):
    method = tiny_mae(norm_pix_loss=norm_pix_loss).eval()
    with torch.no_grad():
        seen = Reconstructions(images, 3)(method, 40)
    picture = seen.pictures["reconstructions"]
    assert seen.numbers == {}
    grey = np.round(255 * np.array(IMAGENET_MEAN)).astype(int).tolist()
    for row, index in enumerate((0, 20, 39)):  # evenly spread over 40 images
        shown, masked, predicted = (tile(picture, row, column) for column in range(3))
        assert (shown == images.pixels(images[0, index][0][None])[0]).all()
        whole, left, made = (patches(image) for image in (shown, masked, predicted))
        hidden = (left.view(-1, PATCH**2, 3) == torch.tensor(grey)).all(dim=(1, 2))
        assert hidden.sum() == 12  # of 16
        assert torch.equal(left[~hidden], whole[~hidden]) and torch.equal(made[~hidden], whole[~hidden])
        assert all((made[patch] != whole[patch]).any() for patch in torch.nonzero(hidden).flatten())


def test_looks_have_the_same_images_and_masks_whatever_has_been_drawn_before(images):
    look, method = Reconstructions(images, 2), tiny_mae().eval()
    torch.manual_seed(1)
    first = look(method, 0).pictures["reconstructions"]
    torch.manual_seed(2)
    with torch.no_grad():
        method.decoder.pred.bias += 1
    second = look(method, 7).pictures["reconstructions"]
    for row in range(2):
        assert (tile(first, row, 0) == tile(second, row, 0)).all()
        assert (tile(first, row, 1) == tile(second, row, 1)).all()
        assert (tile(first, row, 2) != tile(second, row, 2)).any()


def test_a_method_that_can_not_reconstruct_is_passed_over(images):
    assert not isinstance(Blurred(), Reconstructs) and isinstance(tiny_mae(), Reconstructs)
    assert Reconstructions(images, 2)(Blurred(), 0) == Seen({}, {})


def test_no_more_images_are_shown_than_there_are(images):
    seen = Reconstructions(images.subset([3, 5]), 8)(tiny_mae().eval(), 0)
    assert seen.pictures["reconstructions"].shape[0] == TOP + 2 * (128 + 26)


def test_a_method_that_mixes_images_is_shown_whole_groups_of_them(images):
    for number, multiple, expected in ((3, 2, [0, 39]), (8, 4, 8), (1, 4, 4), (5, 1, 5)):
        shown = Reconstructions(images, number)._shown(multiple)
        assert shown == expected or len(shown) == expected
    assert Reconstructions(images.subset([0]), 8)._shown(4) == [0, 0, 0, 0]


def test_predictions_that_are_no_numbers_or_out_of_range_are_drawn_all_the_same(images):
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e9])[:, None, None, None].expand(-1, 3, 4, 4)
    shown = images.pixels(values)
    assert shown.dtype == np.uint8 and [image.min() for image in shown] == [0, 255, 0, 255]


def test_images_larger_than_a_tile_keep_their_size_and_long_names_are_cut():
    large = [np.full((1, 150, 150, 3), value, np.uint8) for value in (10, 20, 30)]
    picture = grid(large, ["x" * 300 + ".png"], 0)
    assert picture.shape == (TOP + 150 + 26, 8 + 3 * 158, 3)
    assert (picture[TOP : TOP + 150, 8:158] == 10).all()
    short = fitted("x" * 300 + ".png", 200)
    assert font(11).getlength(short) <= 200 and short.endswith("xx.png") and "..." in short
    assert fitted("a.png", 200) == "a.png"
