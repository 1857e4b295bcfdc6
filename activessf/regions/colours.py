"""Reducing an image to a few colours by two-stage K-means (paper II.B.1, Eq. 2 and 3).

Not the pixels are clustered but their weighted colour histogram, so only the few colours in use need the dear steps;
a pixel costs a look-up. `Palette` says how close that is to K-means over all pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# A channel is divided into this many levels, narrow where the image has many pixels; see `_levels`.
_LEVELS = 64
# K-means starts on coarser bins, of this many levels a side, and ends on the fine ones.
_COARSE = 3
# It starts with this many times the centres asked for, and merges the surplus: random starts alone end in optima that
# are several percent worse.
_SURPLUS = 2
_SURPLUS_STEPS, _COARSE_STEPS, _FINE_STEPS = 3, 10, 2
# Each centre moves this many times as far as Lloyd's algorithm says, which halves the steps that are needed.
_RELAXATION = 1.8


@dataclass(frozen=True)
class Palette:
    """The few colours of an image, or of a slide, and which of them every pixel gets.

    K-means (Eq. 3) runs on a histogram of 64 levels a channel. A bin counts as many points as it has pixels, all at
    one colour; so the objective is that of the pixels, but for the spread inside a bin, which no clustering changes,
    and for pixels near the border between two clusters, whose bin goes to one of them as a whole. The levels follow
    the channel's own distribution, which makes bins about two grey levels wide where most pixels are. On smears of
    640x480 the objective over the pixels is within 1 % of scikit-learn's K-means over all pixels on average
    (experiments/benchmarks/regions.py).

    Attributes:
        colours: RGB after merging, each the mean of its pixels, (K, 3).
        sizes: Number of pixels of each, (K,).
        centres: RGB of the first stage's clusters, (N, 3).
        groups: Index into `colours` of each of them, (N,).
        levels: Level of every value of each channel, (3, 256).
        table: Index into `centres` of every bin, (64^3,).
    """

    colours: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    centres: NDArray[np.float64]
    groups: NDArray[np.uint8]
    levels: NDArray[np.uint8]
    table: NDArray[np.uint8]

    def bins(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Index into `table` of every pixel of an RGB image (H, W, 3); (H, W)."""
        return _bins(_planes(image), self.levels)

    def labels(self, bins: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Index into `colours` of pixels given by their bins; of the same shape."""
        return self.groups.take(self.table).take(bins)

    def clusters(self, bins: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Index into `centres`, that is, before merging, of pixels given by their bins; of the same shape."""
        return self.table.take(bins)

    def mask(self, bins: NDArray[np.int32], chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """1 where the colour of a pixel is among those chosen, (K,), else 0; of the shape of the bins."""
        return chosen.astype(np.uint8).take(self.groups).take(self.table).take(bins)


class ColourHistogram:
    """The colours of an image that is seen in pieces, in constant memory (16 MiB); the order does not matter."""

    # Levels are made of pairs of grey values, so that pairs are enough to count the bins of any levels.
    _BITS = 7

    def __init__(self) -> None:
        self._marginals = np.zeros((3, 256), np.int64)
        self._counts = np.zeros(1 << 3 * self._BITS, np.int64)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count the pixels of an RGB image (H, W, 3)."""
        planes = _planes(image)
        self._marginals += _marginals(planes)
        red, green, blue = (np.ravel(plane >> 1).astype(np.int32) for plane in planes)
        self._counts += np.bincount(red << 14 | green << 7 | blue, minlength=len(self._counts))

    def palette(self, num_colours: int, merged_colours: int, seed: int) -> Palette:
        """The same palette that `quantise` gives the whole image; see there. At least one pixel was counted."""
        levels = _levels(self._marginals)
        occupied = np.flatnonzero(self._counts)
        pairs = (occupied >> 14, (occupied >> 7) & 127, occupied & 127)
        planes = [np.asarray(pair[None] * 2, dtype=np.uint8) for pair in pairs]
        bins = _bins(planes, levels)[0]
        counts = np.bincount(bins, self._counts[occupied], _LEVELS**3).astype(np.int64)
        return _palette(levels, self._marginals, counts, num_colours, merged_colours, seed)


def quantise(
    image: NDArray[np.uint8], num_colours: int, merged_colours: int, seed: int
) -> tuple[Palette, NDArray[np.int32]]:
    """Cluster the colours of an image by K-means, then merge the clusters that lie closest (Eq. 2 and 3).

    Of the second stage the paper says only "adaptive cluster merging"; ours is `merge`.

    Args:
        image: RGB, (H, W, 3), not empty.
        num_colours: Clusters of the first stage, 1..256; an image of fewer colours gets as many as it has.
        merged_colours: Clusters that remain after merging, 1..num_colours.
        seed: Of the K-means initialisation.

    Returns:
        The colours, the same for the same image and seed on any number of threads or workers, and every pixel's bin.
    """
    planes = _planes(image)
    marginals = _marginals(planes)
    levels = _levels(marginals)
    bins = _bins(planes, levels)
    counts = np.bincount(bins.ravel(), minlength=_LEVELS**3)
    return _palette(levels, marginals, counts, num_colours, merged_colours, seed), bins


def merge(centres: NDArray[np.float64], sizes: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Merge clusters two by two until `count` remain (agglomeration by Ward's criterion).

    Each step merges the pair that adds least to the K-means objective (Eq. 3), n_a n_b / (n_a + n_b) |c_a - c_b|^2,
    into one cluster at the size-weighted mean.

    Args:
        centres: (n, 3).
        sizes: Number of pixels of each, > 0, (n,).
        count: Clusters to keep, >= 1.

    Returns:
        The new cluster of each old one, in 0..min(n, count) - 1, (n,).
    """
    centres, sizes = centres.copy(), sizes.astype(np.float64)
    groups = np.arange(len(centres))
    costs = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
    costs *= np.outer(sizes, sizes) / np.add.outer(sizes, sizes)
    np.fill_diagonal(costs, np.inf)
    for _ in range(len(centres) - count):
        first, second = sorted(divmod(int(costs.argmin()), len(centres)))
        size = sizes[first] + sizes[second]
        centres[first] = (sizes[first] * centres[first] + sizes[second] * centres[second]) / size
        sizes[first] = size
        groups[groups == second] = first
        row = ((centres - centres[first]) ** 2).sum(axis=1) * (sizes * size / (sizes + size))
        row[np.isinf(costs[first])] = np.inf  # itself, and what was merged before
        costs[first], costs[:, first] = row, row
        costs[second], costs[:, second] = np.inf, np.inf
    return np.unique(groups, return_inverse=True)[1].astype(np.intp)


def _planes(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [np.asarray(plane, dtype=np.uint8) for plane in cv2.split(image)]


def _marginals(planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """How many pixels have each value of each channel, (3, 256)."""
    counts = [_counted(plane) for plane in planes]
    return np.stack(counts)


def _counted(plane: NDArray[np.uint8]) -> NDArray[np.int64]:
    # OpenCV is fast but counts in float32, which is exact up to 2^24.
    rows = max(1, (1 << 24) // plane.shape[1])
    parts = [plane[start : start + rows] for start in range(0, len(plane), rows)]
    return np.asarray(sum(cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.int64) for part in parts))


def _levels(marginals: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Level of every value of each channel, (3, 256), the same for 2k and 2k + 1.

    Their density follows the cube root of that of the pixels, which keeps the spread inside the levels least.
    """
    density = np.cbrt(marginals.reshape(3, 128, 2).sum(axis=2) + 1.0)
    ends = np.cumsum(density, axis=1)
    middle = (ends - density / 2) / ends[:, -1:]
    return np.repeat((middle * _LEVELS).astype(np.uint8), 2, axis=1)


def _bins(planes: Sequence[NDArray[np.uint8]], levels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Index of the bin of every pixel, (H, W)."""
    red, green, blue = (np.asarray(cv2.LUT(*pair), dtype=np.uint8) for pair in zip(planes, levels, strict=True))
    bins = red.astype(np.int32)
    for channel in (green, blue):
        bins *= _LEVELS
        bins += channel
    return bins


def _palette(
    levels: NDArray[np.uint8],
    marginals: NDArray[np.int64],
    counts: NDArray[np.int64],
    num_colours: int,
    merged_colours: int,
    seed: int,
) -> Palette:
    """Both stages on a histogram: counts of the bins, (64^3,), marginals of the channels, (3, 256)."""
    occupied = np.flatnonzero(counts > 0)
    steps = np.stack(np.unravel_index(occupied, (_LEVELS,) * 3))
    points = _Points(_colours(steps, levels, marginals), counts[occupied])
    centres = _start(points, steps // _COARSE, num_colours, np.random.default_rng(seed))
    centres = points.lloyd(centres, _FINE_STEPS)
    clusters = points.nearest(centres)
    centres, sizes, clusters = points.clusters(clusters, len(centres))
    groups = merge(centres, sizes, merged_colours)
    colours, merged_sizes, _ = _Points(centres, sizes).clusters(groups, int(groups.max()) + 1)
    table = np.zeros(len(counts), np.uint8)
    table[occupied] = clusters
    return Palette(
        np.rint(colours).astype(np.uint8),
        merged_sizes.astype(np.int64),
        centres,
        groups.astype(np.uint8),
        levels,
        table,
    )


def _colours(steps: NDArray[np.int64], levels: NDArray[np.uint8], marginals: NDArray[np.int64]) -> NDArray[np.float64]:
    """Colour of bins: the mean value of each channel's pixels in that level, (n, 3)."""
    values = []
    for step, level, counts in zip(steps, levels, marginals, strict=True):
        sizes = np.bincount(level, counts, _LEVELS)
        values.append((np.bincount(level, counts * np.arange(256), _LEVELS) / np.maximum(sizes, 1)).take(step))
    return np.stack(values, axis=1)


def _start(
    points: _Points, coarse: NDArray[np.int64], num_colours: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Centres to begin with, from bins of `_COARSE` levels a side: too many, merged to the number wanted, moved."""
    wanted = num_colours * _SURPLUS
    side = _LEVELS // _COARSE + 1
    few = points.summed((coarse[0] * side + coarse[1]) * side + coarse[2], side**3)
    if len(few.weights) < wanted:
        few = points
    if len(few.weights) <= num_colours:
        return few.colours
    centres = few.lloyd(few.seeds(min(wanted, len(few.weights)), rng), _SURPLUS_STEPS)
    centres, sizes, _ = few.clusters(few.nearest(centres), len(centres))
    groups = merge(centres, sizes, num_colours)
    centres, _, _ = _Points(centres, sizes).clusters(groups, int(groups.max()) + 1)
    return few.lloyd(centres, _COARSE_STEPS)


class _Points:
    """Colours, (n, 3), with weights > 0, (n,), and the steps of weighted K-means on them."""

    def __init__(self, colours: NDArray[np.float64], weights: NDArray[np.integer] | NDArray[np.float64]) -> None:
        self.colours = colours
        self.weights = weights.astype(np.float64)
        self._sums = [*(colours[:, channel] * self.weights for channel in range(3)), self.weights]
        # Near zero, so that float32 is exact enough; the column of ones adds the centres' own squares.
        self._homogeneous = np.ones((len(colours), 4), np.float32)
        self._homogeneous[:, :3] = colours - 128

    def nearest(self, centres: NDArray[np.float64]) -> NDArray[np.intp]:
        """Index of the centre nearest to each point, (n,)."""
        return np.asarray(self._squared_less_own(centres).argmin(axis=1), dtype=np.intp)

    def clusters(
        self, labels: NDArray[np.intp], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
        """Centre (Eq. 2) and weight of every cluster that has points, and the labels renumbered to those."""
        sums = self._added(labels, count)
        used = sums[3] > 0
        return (sums[:3, used] / sums[3, used]).T, sums[3, used], (np.cumsum(used) - 1).take(labels)

    def lloyd(self, centres: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Move centres towards the means of their points; one without points stays."""
        for step in range(steps):
            sums = self._added(self.nearest(centres), len(centres))
            means = np.where(sums[3] > 0, sums[:3] / np.maximum(sums[3], 1), centres.T).T
            centres = means if step == steps - 1 else centres + _RELAXATION * (means - centres)
        return centres

    def seeds(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points, (<= count, 3), each drawn by its squared distance to those drawn before (k-means++)."""
        own = (self._homogeneous[:, :3] ** 2).sum(axis=1)
        weights = self.weights.astype(np.float32)
        squared = np.ones_like(own)  # the first is drawn by weight alone
        chosen: list[int] = []
        for draw in rng.random(count):
            mass = np.cumsum(squared * weights)
            if mass[-1] <= 0:
                break  # all points have been drawn
            drawn = min(int(mass.searchsorted(draw * mass[-1], side="right")), len(mass) - 1)
            row = self._homogeneous[drawn]
            distances = np.maximum(own + self._homogeneous @ np.array([*(-2 * row[:3]), own[drawn]], np.float32), 0)
            distances[drawn] = 0
            squared = np.minimum(squared, distances) if chosen else distances
            chosen.append(drawn)
        return self.colours[chosen]

    def summed(self, bins: NDArray[np.int64], count: int) -> _Points:
        """The points of each bin as one, at their mean."""
        sums = self._added(bins, count)
        sums = sums[:, sums[3] > 0]
        return _Points((sums[:3] / sums[3]).T, sums[3])

    def _added(self, labels: NDArray[np.integer], count: int) -> NDArray[np.float64]:
        return np.stack([np.bincount(labels, row, count) for row in self._sums])

    def _squared_less_own(self, centres: NDArray[np.float64]) -> NDArray[np.float32]:
        """Squared distances to centres but for the point's own square, which is the same for all, (n, k)."""
        homogeneous = np.empty((len(centres), 4), np.float32)
        homogeneous[:, :3] = centres - 128
        homogeneous[:, 3] = (homogeneous[:, :3] ** 2).sum(axis=1)
        homogeneous[:, :3] *= -2
        return np.asarray(self._homogeneous @ homogeneous.T)
