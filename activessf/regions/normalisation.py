"""Evening out illumination and stain before colours are compared (paper II.B.1, "standard normalization techniques").

The paper does not name its technique; `minmax`, each channel stretched to 0..255, is our reading of it. `gray_world`
gives all channels the same mean, `reinhard` gives the image the colour statistics of a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
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


class Illumination:
    """What evening out needs to know of an image, gathered from the whole of it or piece by piece.

    The order of the pieces makes no difference. `reinhard` is the transfer of Reinhard et al., "Color Transfer between
    Images" (2001), in CIE LAB in place of their l-alpha-beta.
    """

    def __init__(self, method: Method, reference: Reference | None) -> None:
        """`reference` is used by `reinhard` alone; both as checked by `check_normalisation`."""
        self._method = method
        self._reference = reference
        self._counts = np.zeros((3, 256), np.int64)
        self._lab_sums: list[NDArray[np.float64]] = []

    @property
    def needs_pixels(self) -> bool:
        """Whether the method has to see the image before it can normalise it."""
        return self._method != "none"

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take in an RGB image (H, W, 3), not empty."""
        if self._method == "reinhard":
            lab = _lab(image).astype(np.float64)
            self._lab_sums.append(np.stack([np.full(3, lab[..., 0].size), lab.sum((0, 1)), (lab**2).sum((0, 1))]))
        elif self._method == "minmax":
            for counts, plane in zip(self._counts, cv2.split(image), strict=True):
                low, high, _, _ = cv2.minMaxLoc(plane)
                counts[int(low)] += 1
                counts[int(high)] += 1
        elif self._method == "gray_world":
            for counts, plane in zip(self._counts, cv2.split(image), strict=True):
                counts += np.bincount(plane.ravel(), minlength=256)

    def normalise(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Normalise an RGB image (H, W, 3) or a piece of it, by all that was added."""
        if self._method == "none":
            return image
        if self._method == "reinhard":
            return self._reinhard(image)
        return self._stretched(image) if self._method == "minmax" else self._balanced(image)

    def _stretched(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The darkest value of each channel becomes 0 and its brightest 255, halves rounded up; a flat one stays."""
        matrix = np.eye(3, 4)
        for channel, counts in enumerate(self._counts):
            low, high = np.flatnonzero(counts)[[0, -1]]
            if low < high:
                # OpenCV counts in float32. No value but a half comes nearer to a half than 1/510, so a thousandth more
                # settles the halves without moving others.
                matrix[channel, [channel, 3]] = 255 / (high - low), 0.001 - low * 255 / (high - low)
        return np.asarray(cv2.transform(image, matrix), dtype=np.uint8)

    def _balanced(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """All channels get the same mean, so that the whole is grey; one without any light stays."""
        means = self._counts @ np.arange(256) / self._counts.sum(axis=1)
        gains = np.divide(means.mean(), means, out=np.ones(3), where=means > 0)
        tables = [np.rint(np.minimum(np.arange(256) * gain, 255)).astype(np.uint8) for gain in gains]
        planes = [cv2.LUT(plane, table) for plane, table in zip(cv2.split(image), tables, strict=True)]
        return np.asarray(cv2.merge(planes), dtype=np.uint8)

    def _reinhard(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mean and standard deviation of L, a and b become the reference's; one that is flat is only moved."""
        assert self._reference is not None, "check_normalisation comes first"
        # Exact sums of the pieces, so that their order makes no difference.
        pixels, sums, squares = (
            np.array([fsum(part[row, channel] for part in self._lab_sums) for channel in range(3)]) for row in range(3)
        )
        mean = sums / pixels
        std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
        # Below a hundredth of a LAB unit the deviation is rounding of a flat channel, not contrast to scale up.
        gains = np.where(std > 0.01, np.asarray(self._reference["std"]) / np.maximum(std, 0.01), 1.0)
        moved = ((_lab(image) - mean) * gains + np.asarray(self._reference["mean"])).astype(np.float32)
        moved[..., 0] = np.clip(moved[..., 0], 0, 100)
        rgb = np.clip(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), 0, 1)
        return np.asarray(np.rint(rgb * 255), dtype=np.uint8)


def normalise(image: NDArray[np.uint8], method: Method, reference: Reference | None) -> NDArray[np.uint8]:
    """Normalise one image, RGB, (H, W, 3), not empty; see `Illumination`."""
    illumination = Illumination(method, reference)
    illumination.add(image)
    return illumination.normalise(image)


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
        not isinstance(reference, dict)
        or set(reference) != {"mean", "std"}
        or not all(_are_three_numbers(reference[key]) for key in ("mean", "std"))
        or min(reference["std"]) <= 0
    ):
        raise InputError(
            f"The normalisation reinhard needs a reference with mean and std (> 0) of L, a and b, found {reference}; "
            "set reference: {mean: [.., .., ..], std: [.., .., ..]}."
        )


def _are_three_numbers(values: object) -> bool:
    return isinstance(values, list | tuple) and len(values) == 3 and all(type(v) in (int, float) for v in values)


def _lab(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
