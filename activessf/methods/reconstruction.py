"""What a method that predicts pixels can show of it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from activessf.methods.pixels import denormalised, patchify, unpatchify


@runtime_checkable
class Reconstructs(Protocol):
    """A method that can show what it sees of an image and what it makes of it."""

    def reconstruct(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of each image, and what the method predicts from that; both normalised, (N, 3, H, W).

        Masks are drawn from torch's generator, as in `forward`: under one seed they are the same ones.

        Args:
            views: Normalised images, (N, 3, H, W); N is a multiple of the method's `batch_multiple`.
        """
        ...


def masked_and_predicted(
    views: Tensor, prediction: Tensor, mask: Tensor, patch_size: int, normalised: bool
) -> tuple[Tensor, Tensor]:
    """The images of a masked autoencoder: hidden patches grey, and hidden patches predicted.

    Grey is 0, the mean colour that images are normalised by. Visible patches are the true ones in both, since the loss
    says nothing about what is predicted there.

    Args:
        views: Normalised images, (N, 3, H, W).
        prediction: Of all patches, (N, L, 3 p^2).
        mask: 1.0 where a patch is hidden, else 0.0, (N, L).
        patch_size: p.
        normalised: Whether `prediction` is of patches that are normalised by their own mean and deviation.

    Returns:
        Two batches of normalised images, (N, 3, H, W).
    """
    pixels = patchify(views, patch_size)
    if normalised:
        prediction = denormalised(prediction, pixels)
    hidden = mask[:, :, None].bool()
    grid_size = views.shape[2] // patch_size, views.shape[3] // patch_size
    masked = unpatchify(pixels.masked_fill(hidden, 0.0), patch_size, grid_size)
    return masked, unpatchify(prediction.to(pixels.dtype).where(hidden, pixels), patch_size, grid_size)
