"""Which patches stay and which are hidden, decided by noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from activessf.errors import InputError
from activessf.methods.distributed import drawn


class Masking(NamedTuple):
    """A choice of patches for each of N images.

    Attributes:
        kept: Patches that stay, (N, kept), in the order of their noise.
        restore: Place of each patch in the order of the noise, (N, L).
        mask: 1.0 where a patch is hidden, else 0.0, (N, L).
    """

    kept: Tensor
    restore: Tensor
    mask: Tensor


def uniform_noise(*shape: int, device: torch.device) -> Tensor:
    """Noise in [0, 1), 32 bits whatever the precision of the training: 16 bits would give equal values."""
    return drawn(*shape, device=device)


def keep_smallest(noise: Tensor, num_kept: int) -> Masking:
    """The patches with the smallest noise, (N, L), stay."""
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    return Masking(order[:, :num_kept], restore, (restore >= num_kept).float())


def hide_smallest(noise: Tensor, num_hidden: int) -> Tensor:
    """True for the values that are among the `num_hidden` smallest of the last dimension; other than in MAE."""
    return noise.argsort(dim=-1).argsort(dim=-1) < num_hidden


def gather(tokens: Tensor, kept: Tensor) -> Tensor:
    """The tokens (N, kept, D) of some patches (N, kept), out of those of all, (N, L, D)."""
    return tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[-1]))


def num_kept(num_patches: int, mask_ratio: float) -> int:
    """How many patches stay, rounded down from the floating-point product as published (0.8 of 10 leaves 1)."""
    return int(num_patches * (1 - mask_ratio))


def some_kept(num_patches: int, mask_ratio: float, method: str) -> int:
    """See `num_kept`: for a method that needs some patches kept and some hidden.

    Args:
        num_patches: Patches of an image.
        mask_ratio: Share that is hidden.
        method: The method's name, for the message.

    Raises:
        InputError: None would stay, or none be hidden.
    """
    kept = num_kept(num_patches, mask_ratio)
    if not 0 < kept < num_patches:
        raise InputError(
            f"ssl_method.method.mask_ratio={mask_ratio} keeps {kept} of {num_patches} patches; {method} needs some "
            "kept and some hidden."
        )
    return kept
