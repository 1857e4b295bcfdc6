"""Fixed sine-cosine position tables."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor


def sincos_positions(
    embed_dim: int, grid_size: tuple[int, int], class_token: bool, order: Literal["mae", "moco"] = "mae"
) -> Tensor:
    """Position table in the order of MAE: [sin x, cos x, sin y, cos y], each of embed_dim / 4 frequencies.

    x is the column, y the row; frequency i of n is 10000^(-i/n). Computed in 64 bits and rounded to 32.

    Args:
        embed_dim: Width, divisible by 4.
        grid_size: Rows and columns of the patch grid.
        class_token: Whether a row of zeros stands first, for the class token.
        order: "moco" = [sin y, cos y, sin x, cos x], as in MoCo v3.

    Returns:
        float32, (1, rows x columns [+ 1], embed_dim), patches in raster order.

    Raises:
        ValueError: A width that is not divisible by 4.
    """
    if embed_dim % 4:
        raise ValueError(f"embed_dim={embed_dim} must be divisible by 4")
    frequencies = 10000.0 ** -(np.arange(embed_dim // 4, dtype=np.float64) / (embed_dim // 4))
    rows, columns = np.meshgrid(np.arange(grid_size[0]), np.arange(grid_size[1]), indexing="ij")
    axes = (columns, rows) if order == "mae" else (rows, columns)
    angles = [axis.reshape(-1, 1) * frequencies for axis in axes]
    table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    if class_token:
        table = np.concatenate([np.zeros((1, embed_dim)), table])
    return torch.from_numpy(table.astype(np.float32))[None]
