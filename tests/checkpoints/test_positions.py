import numpy as np
import pytest
import torch
from PIL import Image

from activessf.checkpoints.positions import resized


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_rows_of_class_and_register_tokens_are_kept_and_the_grid_is_resized_bicubically(prefix):
    table, own = torch.randn(1, prefix + 36, 3), torch.zeros(1, prefix + 16, 3)
    found = resized("pos_embed", table, own, prefix)
    assert found.shape == own.shape and torch.equal(found[:, :prefix], table[:, :prefix])
    for channel in range(3):  # Pillow's bicubic, which filters too, has the same kernel
        grid = table[0, prefix:, channel].reshape(6, 6).numpy()
        expected = np.asarray(Image.fromarray(grid).resize((4, 4), Image.Resampling.BICUBIC))
        assert np.abs(found[0, prefix:, channel].reshape(4, 4).numpy() - expected).max() < 1e-5


def test_tables_of_relative_positions_are_grids_of_2w_minus_1():
    rows, columns = torch.meshgrid(torch.arange(11.0), torch.arange(11.0), indexing="ij")
    table = torch.stack([rows, 2 * columns, torch.ones(11, 11)], dim=-1).reshape(121, 3)
    own = torch.zeros(49, 3)
    found = resized("layers.0.blocks.0.attn.relative_position_bias_table", table, own, 1).reshape(7, 7, 3)
    assert (found[..., 2] - 1).abs().max() < 1e-5
    assert (found[3, 3] - torch.tensor([5.0, 10.0, 1.0])).abs().max() < 1e-4  # the middle, no shift, stays the middle
    assert (found[..., 0] - found[:, :1, 0]).abs().max() < 1e-4 and (found[1:, 0, 0] > found[:-1, 0, 0]).all()


def test_other_tensors_and_grids_that_are_not_square_stay_as_they_are():
    table = torch.randn(1, 37, 3)
    assert resized("blocks.0.norm1.weight", table, torch.zeros(1, 17, 3), 1) is table
    assert resized("pos_embed", table, torch.zeros(1, 16, 3), 1) is table
    assert resized("pos_embed", table, table + 1, 1) is table


def test_another_width_is_not_made_to_fit():
    assert resized("pos_embed", torch.randn(1, 37, 3), torch.zeros(1, 17, 5), 1).shape == (1, 17, 3)
