"""Bins of equal size in colour space: counting an image in them, and looking its pixels up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Widths of the levels of the three channels, the first that give no more bins than this. Blue stays fine the longest:
# bins twice as wide in red or green cost less of the objective.
_WIDTHS = ((2, 2, 2), (4, 2, 2), (4, 4, 2))
_MOST_BINS = 1 << 19

# The channels of an image, R, G and B, (H, W) each: OpenCV counts them in two thirds of the time of an (H, W, 3).
Planes = Sequence[NDArray[np.uint8]]


def planes_of(image: NDArray[np.uint8]) -> Planes:
    """The channels of an RGB image (H, W, 3)."""
    return [np.asarray(plane, dtype=np.uint8) for plane in cv2.split(image)]


class ColourGrid(NamedTuple):
    """Levels that cover the values in use of each channel, R, G and B.

    Attributes:
        lows: Where the first level begins, even.
        widths: Grey values that make up a level, 2 or 4.
        sizes: Number of levels.
    """

    lows: tuple[int, ...]
    widths: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, planes: Planes) -> ColourGrid:
        """The grid of an image, not empty."""
        extremes = [cv2.minMaxLoc(plane)[:2] for plane in planes]
        return cls.covering([int(low) for low, _ in extremes], [int(high) for _, high in extremes])

    @classmethod
    def covering(cls, lows: Sequence[int], highs: Sequence[int]) -> ColourGrid:
        """The grid of an image whose channels have these lowest and highest values."""
        lows = tuple(low & ~1 for low in lows)
        for widths in _WIDTHS:
            sizes = tuple((high - low) // width + 1 for low, high, width in zip(lows, highs, widths, strict=True))
            if np.prod(sizes) <= _MOST_BINS:
                break
        return cls(lows, widths, sizes)

    def counts(self, planes: Planes) -> NDArray[np.float32] | NDArray[np.float64]:
        """Pixels of an image in each bin, of the grid's sizes."""
        # OpenCV counts in float32, which is exact up to 2^24.
        rows = max(1, (1 << 24) // planes[0].shape[1])
        total = self._counts([plane[:rows] for plane in planes])
        for start in range(rows, len(planes[0]), rows):
            total = total + self._counts([plane[start : start + rows] for plane in planes]).astype(np.float64)
        return total

    def looked_up(self, planes: Planes, table: NDArray[np.float32]) -> NDArray[np.uint8]:
        """What a table of the grid's sizes, 0..255, holds for every pixel of an image; (H, W)."""
        # Otherwise OpenCV takes the last axis for channels.
        histogram = cv2.Mat(table, wrap_channels=False)  # type: ignore[no-untyped-call]
        return np.asarray(cv2.calcBackProject(planes, [0, 1, 2], histogram, self._ranges(), 1), dtype=np.uint8)

    def colours(self, bins: NDArray[np.intp], marginals: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Colours, (3, n), of bins given by their indices in the flat grid, (n,).

        Args:
            bins: Indices.
            marginals: Pixels that have each value of each channel, (3, 256), for the mean of each level; None: its
                middle.
        """
        if marginals is None:
            means = [self._middles(channel) for channel in range(3)]
        else:
            means = [self._means(channel, marginals[channel]) for channel in range(3)]
        return np.stack([mean.take(level) for mean, level in zip(means, self._levels(bins), strict=True)])

    def recounted(self, counts: NDArray[np.int64], grid: ColourGrid) -> NDArray[np.float64]:
        """Counts of these bins as counts of another grid's, which are made of these."""
        bins = np.flatnonzero(counts)
        values = [low + width * level for low, width, level in zip(*self[:2], self._levels(bins), strict=True)]
        red, green, blue = ((value - low) // width for value, low, width in zip(values, *grid[:2], strict=True))
        index = (red * grid.sizes[1] + green) * grid.sizes[2] + blue
        weights = counts.ravel()[bins].astype(np.float64)
        return np.asarray(np.bincount(index, weights, int(np.prod(grid.sizes))).reshape(grid.sizes), dtype=np.float64)

    def _counts(self, planes: Planes) -> NDArray[np.float32]:
        return np.asarray(cv2.calcHist(planes, [0, 1, 2], None, self.sizes, self._ranges()), dtype=np.float32)

    def _ranges(self) -> list[float]:
        ends = zip(self.lows, self.widths, self.sizes, strict=True)
        return [float(end) for low, width, size in ends for end in (low, low + width * size)]

    def _levels(self, bins: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        index = bins.astype(np.int32)  # divides in a third of the time
        rest = index // self.sizes[2]
        red = rest // self.sizes[1]
        return red, rest - red * self.sizes[1], index - rest * self.sizes[2]

    def _middles(self, channel: int) -> NDArray[np.float32]:
        low, width, size = self.lows[channel], self.widths[channel], self.sizes[channel]
        return (low + (width - 1) / 2 + width * np.arange(size)).astype(np.float32)

    def _means(self, channel: int, marginal: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean value of each level's pixels; 0 where there are none."""
        low, width, size = self.lows[channel], self.widths[channel], self.sizes[channel]
        values = np.flatnonzero(marginal)
        levels, counts = (values - low) // width, marginal[values]
        return (np.bincount(levels, counts * values, size) / np.maximum(np.bincount(levels, counts, size), 1)).astype(
            np.float32
        )
