"""Mixtures of images: every cell of a mixture is taken from one image of a group, equally many from each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from activessf.methods.masking import Masking
from activessf.methods.pixels import patchify, unpatchify


class Mixing(NamedTuple):
    """How G groups of n images are mixed.

    Attributes:
        sources: Number within its group, 0..n-1, of the image that each cell is taken from, (G, L).
        masking: The same seen from each of the N = G n images: the cells that its mixture has of it stay, L / n of
            them, and all others are hidden.
    """

    sources: Tensor
    masking: Masking


def mix_evenly(noise: Tensor, num_sources: int) -> Mixing:
    """Deal the cells of each group to its images: the smallest L / n values of the noise to the first, and so on.

    Args:
        noise: Without equal values, (G, L).
        num_sources: Images in a group, n; divides L.
    """
    G, L = noise.shape
    num_kept = L // num_sources
    order = noise.argsort(dim=1)
    ranks = order.argsort(dim=1)
    # Each image's cells come first in its own order of them all, the other images' after it in turn.
    starts = num_kept * torch.arange(num_sources, device=noise.device)
    restore = ((ranks[:, None] - starts[:, None]) % L).reshape(G * num_sources, L)
    kept = order.reshape(G * num_sources, num_kept)
    return Mixing(ranks // num_kept, Masking(kept, restore, (restore >= num_kept).float()))


def mixed_images(images: Tensor, sources: Tensor, patch_size: int) -> Tensor:
    """One mixture of each group, (G, 3, H, W).

    Args:
        images: Groups of n one after another, (G n, 3, H, W).
        sources: See `Mixing`, (G, L).
        patch_size: Side of a cell, pixels.
    """
    (G, L), (H, W) = sources.shape, images.shape[-2:]
    patches = patchify(images, patch_size).reshape(G, -1, L, 3 * patch_size**2)  # (G, n, L, 3 p^2)
    chosen = sources[:, None, :, None].expand(-1, 1, -1, patches.shape[-1])
    return unpatchify(patches.gather(1, chosen)[:, 0], patch_size, (H // patch_size, W // patch_size))


def unmixed_tokens(tokens: Tensor, mixing: Mixing, num_class_tokens: int) -> Tensor:
    """The tokens of each image, (N, [1 +] L / n, D), its cells in the order of their noise.

    Args:
        tokens: Of mixtures, (G, C + L, D): class tokens, then cells in raster order.
        mixing: How they are mixed.
        num_class_tokens: C: none, one that the images of a mixture share, or one for each.
    """
    N, num_kept = mixing.masking.kept.shape
    G, L = mixing.sources.shape
    order = mixing.masking.kept.reshape(G, L)
    D = tokens.shape[-1]
    cells = tokens[:, num_class_tokens:].gather(1, order[:, :, None].expand(-1, -1, D)).reshape(N, num_kept, D)
    if num_class_tokens == 0:
        return cells
    class_tokens = tokens[:, :num_class_tokens].expand(-1, N // G, -1).reshape(N, 1, D)
    return torch.cat([class_tokens, cells], dim=1)
