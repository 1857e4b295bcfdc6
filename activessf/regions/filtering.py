"""Cell region filtering of one image, step by step (paper II.B, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.regions.boxes import Found, Region, SizeRule, find_boxes, widened
from activessf.regions.colours import Palette, quantise
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
        found: Candidate cells, and what was rejected.
    """

    normalised: NDArray[np.uint8]
    smoothed: NDArray[np.uint8]
    quantised: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    found: Found


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
        split_touching: Whether regions that are too large or too empty are split where cells touch. Not in the paper.
        margin: Pixels added to every side of a candidate's box, as far as the image reaches; 0: none. Not in the paper.
        resolution: Micrometres per pixel that the sizes in pixels are meant for; None: they hold for any image.
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
    split_touching: bool
    margin: int
    resolution: float | None
    seed: int

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        check_normalisation(self.normalisation, self.reference)
        check_stain_ranges(self.stain_ranges)
        self._check_types()
        self._require("blur_kernel", 1 <= self.blur_kernel <= 99 and self.blur_kernel % 2 == 1, "odd and in 1..99")
        self._require("blur_sigma", 0 < self.blur_sigma < math.inf, "greater than 0")
        self._require("num_colours", 1 <= self.num_colours <= 256, "in 1..256")
        self._require("merged_colours", 1 <= self.merged_colours <= self.num_colours, "in 1..num_colours")
        self._require(
            "closing", self.closing == 0 or (0 < self.closing < 1000 and self.closing % 2 == 1), "odd, or 0: off"
        )
        self._require("min_size", self.min_size >= 1, "at least 1")
        self._require("max_size", self.max_size is None or self.max_size >= self.min_size, "null or at least min_size")
        self._require("min_fill_rate", 0 < self.min_fill_rate <= 1, "greater than 0 and at most 1")
        self._require("margin", self.margin >= 0, "0 or more")
        self._require("resolution", self.resolution is None or 0 < self.resolution < math.inf, "null or greater than 0")
        self._require("seed", 0 <= self.seed < 2**32, "in 0..4294967295")

    def __call__(self, image: NDArray[np.uint8]) -> list[Region]:
        """Candidate cells of an RGB image (H, W, 3), from top to bottom."""
        return self.find(image).regions

    def find(self, image: NDArray[np.uint8]) -> Found:
        """Candidate cells of an RGB image (H, W, 3), and what was rejected."""
        if image.size == 0:
            return Found([], [], 0)
        smoothed = self.smoothed(normalise(image, self.normalisation, self.reference))
        palette, planes = quantise(smoothed, self.num_colours, self.merged_colours, self.seed)
        return self.in_mask(self.cleaned(palette.mask(planes, self.stained(palette))))

    def steps(self, image: NDArray[np.uint8]) -> Steps:
        """Filter an RGB image (H, W, 3), not empty, and keep what lies between, for figures."""
        normalised = normalise(image, self.normalisation, self.reference)
        smoothed = self.smoothed(normalised)
        palette, planes = quantise(smoothed, self.num_colours, self.merged_colours, self.seed)
        mask = self.cleaned(palette.mask(planes, self.stained(palette)))
        quantised = np.take(palette.colours, palette.labels(planes), axis=0)
        return Steps(normalised, smoothed, quantised, mask.astype(np.bool_), self.in_mask(mask))

    def at(self, resolution: float | None) -> RegionFilter:
        """The filter for images of `resolution`, um per pixel: sizes in pixels scaled from this filter's own.

        Scaled are min_size, max_size, closing and margin; the blur, which is against the camera's noise, is not. A
        filter without a resolution of its own, or an unknown one, changes nothing.
        """
        if resolution is None or self.resolution is None or resolution == self.resolution:
            return self
        factor = self.resolution / resolution
        min_size = max(1, round(self.min_size * factor))
        return replace(
            self,
            min_size=min_size,
            max_size=None if self.max_size is None else max(min_size, round(self.max_size * factor)),
            closing=0 if self.closing == 0 else 2 * round((self.closing * factor - 1) / 2) + 1,
            margin=round(self.margin * factor),
            resolution=resolution,
        )

    def smoothed(self, normalised: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The Gaussian filter (Eq. 1) of an RGB image (H, W, 3)."""
        blurred = cv2.GaussianBlur(normalised, (self.blur_kernel, self.blur_kernel), self.blur_sigma)
        return np.asarray(blurred, dtype=np.uint8)

    def stained(self, palette: Palette) -> NDArray[np.bool_]:
        """Which of the merged colours are stained, (K,): deciding on these few equals deciding on every pixel."""
        return np.asarray(stained(palette.colours[None], self.stain_ranges)[0])

    def cleaned(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of 0 and 1, (H, W), after closing and the filling of holes."""
        mask = closed(mask, self.closing)
        return filled(mask) if self.fill_holes else mask

    def in_mask(self, mask: NDArray[np.uint8]) -> Found:
        """Candidate cells in a mask of 0 and 1, (H, W), margins included."""
        return self.with_margin(self.without_margin(mask), mask.shape[1], mask.shape[0])

    def without_margin(self, mask: NDArray[np.uint8], core: tuple[int, int, int, int] | None = None) -> Found:
        """As `in_mask`, the boxes close round the regions; only those with their left upper corner in `core`."""
        rule = SizeRule(self.min_size, self.max_size, self.min_fill_rate)
        return find_boxes(mask, rule, self.split_touching, core)

    def with_margin(self, found: Found, width: int, height: int) -> Found:
        """The candidates' boxes widened by the margin, as far as an image of that many pixels reaches."""
        if self.margin == 0:
            return found
        return found._replace(regions=[widened(region, self.margin, width, height) for region in found.regions])

    def _check_types(self) -> None:
        for name in ("blur_kernel", "num_colours", "merged_colours", "closing", "min_size", "margin", "seed"):
            self._require(name, type(getattr(self, name)) is int, "a whole number")
        self._require("max_size", self.max_size is None or type(self.max_size) is int, "a whole number or null")
        for name in ("fill_holes", "split_touching"):
            self._require(name, type(getattr(self, name)) is bool, "true or false")
        self._require(
            "resolution", self.resolution is None or type(self.resolution) in (int, float), "a number or null"
        )
        for name in ("blur_sigma", "min_fill_rate"):
            self._require(name, type(getattr(self, name)) in (int, float), "a number")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise InputError(f"The region filter's {name} is {getattr(self, name)!r}; it must be {wanted}.")
