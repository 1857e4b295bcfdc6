"""Images as patches, and what masked autoencoders are to predict of them."""

from __future__ import annotations

from torch import Tensor

_EPS = 1e-6  # added to a patch's variance, as published


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Images (N, 3, H, W) as patches (N, L, 3 p^2): L in raster order, pixels ordered (row, column, channel)."""
    N, C, H, W = images.shape
    rows, columns = H // patch_size, W // patch_size
    grid = images.reshape(N, C, rows, patch_size, columns, patch_size)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(N, rows * columns, patch_size**2 * C)


def unpatchify(patches: Tensor, patch_size: int, grid_size: tuple[int, int]) -> Tensor:
    """Patches (N, L, 3 p^2) as images (N, 3, H, W); undoes `patchify`."""
    N, rows, columns = len(patches), *grid_size
    grid = patches.reshape(N, rows, columns, patch_size, patch_size, 3)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(N, 3, rows * patch_size, columns * patch_size)


def target_pixels(images: Tensor, patch_size: int, normalised: bool) -> Tensor:
    """The pixels of every patch, (N, L, 3 p^2), as `patchify` orders them.

    Args:
        images: Normalised images, (N, 3, H, W).
        patch_size: p.
        normalised: Whether each patch is normalised by the mean and unbiased variance of all its values.
    """
    pixels = patchify(images, patch_size)
    if normalised:
        mean, deviation = _mean_and_deviation(pixels)
        pixels = (pixels - mean) / deviation
    return pixels


def hidden_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the hidden patches, a scalar.

    Args:
        prediction: (N, L, 3 p^2).
        target: (N, L, 3 p^2).
        mask: 1 where a patch is hidden, else 0, (N, L).
    """
    error = (prediction - target).square().mean(dim=-1)  # (N, L)
    return (error * mask).sum() / mask.sum()


def denormalised(prediction: Tensor, pixels: Tensor) -> Tensor:
    """Predicted patches with the mean and deviation of the true ones, (N, L, 3 p^2); undoes `target_pixels`.

    Args:
        prediction: Of normalised patches, (N, L, 3 p^2).
        pixels: The true patches, not normalised, (N, L, 3 p^2).
    """
    mean, deviation = _mean_and_deviation(pixels)
    return prediction * deviation + mean


def _mean_and_deviation(pixels: Tensor) -> tuple[Tensor, Tensor]:
    return pixels.mean(dim=-1, keepdim=True), (pixels.var(dim=-1, keepdim=True) + _EPS).sqrt()
