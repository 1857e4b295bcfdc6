"""Position tables of another grid."""

from __future__ import annotations

import math

from timm.layers import resample_abs_pos_embed
from torch import Tensor

# Index buffers follow from a network's sizes, so a file's are never taken.
INDEX = ".relative_position_index"
_RELATIVE = ".relative_position_bias_table"
_ABSOLUTE = ("pos_embed", "absolute_pos_embed")


def resized(name: str, table: Tensor, own: Tensor, num_prefix_tokens: int) -> Tensor:
    """A position table for the grid of another; as it is where it is none, or where a grid is not square.

    Grids are taken to be square, as those of all backbones here are: a table does not tell its sides.

    Bicubic, by timm, with antialias=True: filtered before a table shrinks, and by the kernel with a = -0.5 in either
    direction. The published code of MAE, MixMIM and DINOv2 interpolates without that filter and with a = -0.75. Sine
    and cosine tables of 14 x 14 enlarged to 16 to 28 a side differ from theirs by about 1 % (root mean square), shrunk
    to 6 by 4 %. Tables of relative positions, (2 w - 1)^2 rows for windows of w x w, are grids as well.

    Args:
        name: Its name in the encoder or decoder.
        table: (1, rows, D), or of relative positions (rows, heads).
        own: That of the network.
        num_prefix_tokens: Rows before those of the grid, for class token and registers; they are kept.
    """
    relative = name.endswith(_RELATIVE)
    if not relative and name not in _ABSOLUTE or table.ndim != own.ndim or table.shape == own.shape:
        return table
    prefix = 0 if relative else num_prefix_tokens
    sides = [_side(values.shape[-2] - prefix) for values in (table, own)]
    if None in sides:
        return table
    old, new = ([side, side] for side in sides)
    grid: Tensor = resample_abs_pos_embed(table[None] if relative else table, new, old, prefix)
    return grid[0] if relative else grid


def _side(cells: int) -> int | None:
    side = math.isqrt(max(cells, 0))
    return side if side and side * side == cells else None
