"""Which pixels are stained: ranges in the HSV colour space (paper II.B.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError


class StainRange(TypedDict):
    """One named box in OpenCV's 8-bit HSV space; both ends belong to it.

    A hue whose lower end is greater than its upper one wraps round through red: [170, 10] is 170..179 and 0..10.
    """

    name: str
    hue: Sequence[int]  # half degrees, 0..179
    saturation: Sequence[int]  # 0..255
    value: Sequence[int]  # 0..255


_HIGHEST = {"hue": 179, "saturation": 255, "value": 255}


def stained(image: NDArray[np.uint8], ranges: Sequence[StainRange]) -> NDArray[np.bool_]:
    """Pixels that lie in at least one of the ranges (the paper's logical OR of its masks).

    Args:
        image: RGB, (H, W, 3).
        ranges: As checked by `check_stain_ranges`.

    Returns:
        (H, W).
    """
    return in_ranges(hsv(image), ranges)


def in_ranges(colours: NDArray[np.uint8], ranges: Sequence[StainRange]) -> NDArray[np.bool_]:
    """As `stained`, for colours in OpenCV's 8-bit HSV, (..., 3); (...)."""
    hue, saturation, value = np.moveaxis(colours, -1, 0)
    mask = np.zeros(colours.shape[:-1], dtype=np.bool_)
    for stain in ranges:
        first, last = stain["hue"]
        in_hue = _within(hue, (first, last)) if first <= last else (hue >= first) | (hue <= last)
        mask |= in_hue & _within(saturation, stain["saturation"]) & _within(value, stain["value"])
    return mask


def hsv(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB image (H, W, 3) in OpenCV's 8-bit HSV: hue 0..179 in half degrees, saturation and value 0..255."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), dtype=np.uint8)


def closed(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Close gaps narrower than an ellipse of `size` pixels (odd; 0 leaves the mask as it is)."""
    if size == 0:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel))


def filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill holes: background that no path of edge-sharing background pixels joins to the image's border."""
    # A frame of background joins everything that reaches the border, so one flood from a corner finds it all.
    outside = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    cv2.floodFill(outside, None, (0, 0), (2,), flags=4)
    return np.asarray(outside[1:-1, 1:-1] != 2, dtype=np.uint8)


def check_stain_ranges(ranges: Sequence[StainRange]) -> None:
    """Check the ranges of a configuration.

    Raises:
        InputError: There are none, or one lacks a key, has one too many or bounds that no pixel can have.
    """
    if not isinstance(ranges, list | tuple):
        raise InputError(f"stain_ranges is {ranges!r}; it must be a list of ranges with name, hue, saturation, value.")
    if not ranges:
        raise InputError("The list stain_ranges is empty, so no pixel can be stained; give at least one range.")
    for stain in ranges:
        if not isinstance(stain, dict) or set(stain) != {"name", *_HIGHEST}:
            raise InputError(f"A stain range needs exactly name, hue, saturation and value; found {stain}.")
        _check_bounds(stain["name"], "hue", stain["hue"])
        _check_bounds(stain["name"], "saturation", stain["saturation"])
        _check_bounds(stain["name"], "value", stain["value"])


def _check_bounds(name: str, channel: str, bounds: Sequence[int]) -> None:
    highest = _HIGHEST[channel]
    pair = isinstance(bounds, (list, tuple)) and len(bounds) == 2
    if not pair or any(type(bound) is not int or not 0 <= bound <= highest for bound in bounds):
        raise InputError(
            f"The {channel} of the stain range {name} is {bounds}; give [lowest, highest], "
            f"whole numbers in 0..{highest}{' (half degrees, as in OpenCV)' if channel == 'hue' else ''}."
        )
    if channel != "hue" and bounds[0] > bounds[1]:
        raise InputError(f"The {channel} of the stain range {name} is {bounds}; its lower end comes first.")


def _within(channel: NDArray[np.uint8], bounds: Sequence[int]) -> NDArray[np.bool_]:
    return (channel >= bounds[0]) & (channel <= bounds[1])
