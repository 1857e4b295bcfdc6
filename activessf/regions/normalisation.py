"""Evening out illumination and stain before colours are compared (paper II.B.1, "standard normalization techniques").

The paper does not name its technique; `minmax` is our reading of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError

Method = Literal["minmax", "gray_world", "reinhard", "none"]


class Reference(TypedDict):
    """Colour statistics that `reinhard` gives every image: CIE L in 0..100, a and b in about -127..127."""

    mean: Sequence[float]
    std: Sequence[float]


def normalise(image: NDArray[np.uint8], method: Method, reference: Reference | None) -> NDArray[np.uint8]:
    """Normalise one image; `reference` is used by `reinhard` alone.

    Args:
        image: RGB, (H, W, 3).
        method: Which of the functions below, or `none`.
        reference: Target statistics of `reinhard`.

    Returns:
        RGB, (H, W, 3).
    """
    if method == "minmax":
        return minmax(image)
    if method == "gray_world":
        return gray_world(image)
    if method == "reinhard":
        assert reference is not None, "check_normalisation comes first"
        return reinhard(image, reference["mean"], reference["std"])
    return image


def check_normalisation(method: str, reference: Reference | None) -> None:
    """Check the two settings together.

    Raises:
        InputError: The method is unknown, or `reinhard` lacks a usable reference.
    """
    if method not in get_args(Method):
        raise InputError(f"The normalisation {method!r} is unknown; choose one of {', '.join(get_args(Method))}.")
    if method != "reinhard":
        return
    if (
        reference is None
        or set(reference) != {"mean", "std"}
        or any(len(reference[key]) != 3 for key in ("mean", "std"))
        or min(reference["std"]) <= 0
    ):
        raise InputError(
            f"The normalisation reinhard needs a reference with mean and std (> 0) of L, a and b, found {reference}; "
            "set reference: {mean: [.., .., ..], std: [.., .., ..]}."
        )


def minmax(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255; a flat channel stays.

    Args:
        image: RGB, (H, W, 3).

    Returns:
        RGB, (H, W, 3).
    """
    return np.stack([_stretched(image[..., channel]) for channel in range(3)], axis=2)


def gray_world(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale each channel so that all three have the same mean: the field as a whole becomes grey.

    Args:
        image: RGB, (H, W, 3).

    Returns:
        RGB, (H, W, 3); a channel without any light stays.
    """
    means = image.reshape(-1, 3).mean(axis=0)
    gains = np.divide(means.mean(), means, out=np.ones(3), where=means > 0)
    scaled: NDArray[np.float64] = np.rint(np.minimum(image * gains, 255))
    return scaled.astype(np.uint8)


def reinhard(image: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.uint8]:
    """Give an image the mean and standard deviation of a reference in the CIE LAB space.

    The transfer of Reinhard et al., "Color Transfer between Images" (2001), in LAB in place of their l-alpha-beta.

    Args:
        image: RGB, (H, W, 3).
        mean: Reference mean of L (0..100), a and b.
        std: Reference standard deviation of L, a and b.

    Returns:
        RGB, (H, W, 3); a channel that does not vary is moved to the mean only.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    own_mean, own_std = lab.mean(axis=(0, 1), dtype=np.float64), lab.std(axis=(0, 1), dtype=np.float64)
    # Below a hundredth of a LAB unit the deviation is rounding of a flat channel, not contrast to scale up.
    gains = np.where(own_std > 0.01, np.asarray(std) / np.maximum(own_std, 0.01), 1.0)
    moved = ((lab - own_mean) * gains + np.asarray(mean)).astype(np.float32)
    moved[..., 0] = np.clip(moved[..., 0], 0, 100)
    rgb = np.clip(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), 0, 1)
    return np.asarray(np.rint(rgb * 255), dtype=np.uint8)


def _stretched(channel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    low, high = int(channel.min()), int(channel.max())
    if low == high:
        return channel
    table = np.rint(np.clip((np.arange(256) - low) * 255 / (high - low), 0, 255)).astype(np.uint8)
    return np.take(table, channel)
