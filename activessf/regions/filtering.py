"""Cell region filtering of one image, step by step (paper II.B, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.regions.boxes import Region, find_boxes
from activessf.regions.colours import quantise
from activessf.regions.normalisation import Method, Reference, check_normalisation, normalise
from activessf.regions.stain import StainRange, check_stain_ranges, closed, filled, stained


@dataclass(frozen=True)
class Steps:
    """What each step of the filter makes of an image; pictures are RGB, (H, W, 3).

    Attributes:
        normalised: After evening out the illumination.
        smoothed: After the Gaussian filter (Eq. 1), G of the paper.
        quantised: In the merged colours (Eq. 2 and 3), G' of the paper.
        mask: Stained pixels after closing and filling, (H, W).
        regions: Candidate cells.
    """

    normalised: NDArray[np.uint8]
    smoothed: NDArray[np.uint8]
    quantised: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    regions: list[Region]


@dataclass(frozen=True)
class RegionFilter:
    """Finds the candidate cells of an image by the colour of their stain (paper II.B).

    Algorithm 1 thresholds the smoothed image G, the text of II.B.2 the quantised one G'; we follow the text.

    Attributes:
        normalisation: `minmax`, `gray_world`, `reinhard` or `none`.
        reference: Mean and standard deviation in LAB, for `reinhard` alone.
        blur_kernel: Width of the Gaussian kernel in pixels (Eq. 1), odd; 1 does not blur.
        blur_sigma: Its standard deviation in pixels, > 0.
        num_colours: Clusters of the first stage of K-means, 1..256.
        merged_colours: Clusters left after merging, 1..num_colours.
        stain_ranges: Named ranges in HSV; a pixel in any of them is stained.
        closing: Diameter in pixels, odd, of the ellipse that closes gaps in the mask; 0: off. Not in the paper.
        fill_holes: Whether holes in the mask, such as a pale nucleus, are filled. Not in the paper.
        min_size: Least width and least height of a region's box in pixels.
        max_size: Greatest width and height in pixels, None: no limit. Not in the paper.
        min_fill_rate: Least share of the box that belongs to the region, in (0, 1].
        seed: Of the K-means initialisation.

    Raises:
        InputError: A value lies outside its range.
    """

    normalisation: Method
    reference: Reference | None
    blur_kernel: int
    blur_sigma: float
    num_colours: int
    merged_colours: int
    stain_ranges: Sequence[StainRange]
    closing: int
    fill_holes: bool
    min_size: int
    max_size: int | None
    min_fill_rate: float
    seed: int

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        check_normalisation(self.normalisation, self.reference)
        check_stain_ranges(self.stain_ranges)
        self._check_types()
        self._require("blur_kernel", self.blur_kernel >= 1 and self.blur_kernel % 2 == 1, "odd and at least 1")
        self._require("blur_sigma", self.blur_sigma > 0, "greater than 0")
        self._require("num_colours", 1 <= self.num_colours <= 256, "in 1..256")
        self._require("merged_colours", 1 <= self.merged_colours <= self.num_colours, "in 1..num_colours")
        self._require("closing", self.closing == 0 or (self.closing > 0 and self.closing % 2 == 1), "odd, or 0 for off")
        self._require("min_size", self.min_size >= 1, "at least 1")
        self._require("max_size", self.max_size is None or self.max_size >= self.min_size, "null or at least min_size")
        self._require("min_fill_rate", 0 < self.min_fill_rate <= 1, "greater than 0 and at most 1")
        self._require("seed", 0 <= self.seed < 2**32, "in 0..4294967295")

    def __call__(self, image: NDArray[np.uint8]) -> list[Region]:
        """Candidate cells of an RGB image (H, W, 3), from top to bottom."""
        return self.steps(image).regions

    def steps(self, image: NDArray[np.uint8]) -> Steps:
        """Filter an RGB image (H, W, 3) and keep what lies between, for figures."""
        normalised = normalise(image, self.normalisation, self.reference)
        smoothed = cv2.GaussianBlur(normalised, (self.blur_kernel, self.blur_kernel), self.blur_sigma)
        quantised = quantise(smoothed.astype(np.uint8, copy=False), self.num_colours, self.merged_colours, self.seed)
        # Deciding on the few colours and looking up the pixels equals converting the whole quantised image.
        in_range = stained(quantised.colours[None], self.stain_ranges)[0]
        mask = closed(in_range[quantised.labels], self.closing)
        mask = filled(mask) if self.fill_holes else mask
        regions = find_boxes(mask, self.min_size, self.max_size, self.min_fill_rate)
        return Steps(normalised, smoothed.astype(np.uint8, copy=False), quantised.image, mask, regions)

    def _check_types(self) -> None:
        for name in ("blur_kernel", "num_colours", "merged_colours", "closing", "min_size", "seed"):
            self._require(name, type(getattr(self, name)) is int, "a whole number")
        self._require("max_size", self.max_size is None or type(self.max_size) is int, "a whole number or null")
        self._require("fill_holes", type(self.fill_holes) is bool, "true or false")
        for name in ("blur_sigma", "min_fill_rate"):
            self._require(name, type(getattr(self, name)) in (int, float), "a number")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise InputError(f"The region filter's {name} is {getattr(self, name)!r}; it must be {wanted}.")
