"""Reducing an image to a few colours by two-stage K-means (paper II.B.1, Eq. 2 and 3).

Not the pixels are clustered but their weighted colour histogram, so only the few colours in use need the dear steps;
a pixel costs a look-up. `Palette` says how close that is to K-means over all pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.regions.grid import ColourGrid, Planes, planes_of
from activessf.regions.points import Points

# K-means runs on a sample of this many bins a centre, at first on one in so many of them; only the last assignment is
# of all bins.
_SAMPLE, _EVERY = 300, 3
# It starts with this many times the centres asked for, and merges the surplus: random starts alone end in optima that
# are several percent worse.
_SURPLUS = 1.5
_SURPLUS_STEPS, _FEW_STEPS, _MANY_STEPS = 3, 5, 8
# With fewer bins than this a cluster may hold so few that the middle of a level is no good estimate of its mean.
_FEW_BINS = 4096


@dataclass(frozen=True)
class Palette:
    """The few colours of an image, or of a slide, and which of them every pixel gets.

    K-means (Eq. 3) runs on a histogram whose levels are two or four grey values wide (`ColourGrid`). A bin counts as
    many points as it has pixels, all at one colour; so the objective is that of the pixels, but for the spread inside
    a bin, which no clustering changes, and for pixels near the border between two clusters, whose bin goes to one of
    them as a whole. On smears of 640x480 the objective over the pixels is within 1 % of scikit-learn's K-means over
    all pixels on average (experiments/benchmarks/regions.py).

    Attributes:
        colours: RGB after merging, each the mean of its pixels, (K, 3).
        sizes: Number of pixels of each, (K,).
        centres: RGB of the first stage's clusters, (N, 3).
        groups: Index into `colours` of each of them, (N,).
        grid: The bins.
        table: Index into `centres` of every bin, in the grid's shape; float32, as OpenCV wants it.
    """

    colours: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    centres: NDArray[np.float64]
    groups: NDArray[np.uint8]
    grid: ColourGrid
    table: NDArray[np.float32]

    def labels(self, planes: Planes) -> NDArray[np.uint8]:
        """Index into `colours` of every pixel, (H, W)."""
        return self._looked_up(planes, self.groups)

    def clusters(self, planes: Planes) -> NDArray[np.uint8]:
        """Index into `centres`, that is, before merging, of every pixel, (H, W)."""
        return self.grid.looked_up(planes, self.table)

    def mask(self, planes: Planes, chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """1 where the colour of a pixel is among those chosen, (K,), else 0; (H, W)."""
        return self._looked_up(planes, chosen.astype(np.uint8).take(self.groups))

    def _looked_up(self, planes: Planes, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The value that each pixel's cluster has."""
        table = np.zeros(256, np.uint8)
        table[: len(values)] = values
        return np.asarray(cv2.LUT(self.clusters(planes), table), dtype=np.uint8)


class ColourHistogram:
    """The colours of an image that is seen in pieces, in constant memory (16 MiB); the order does not matter."""

    # Levels are made of pairs of grey values, so that pairs are enough to count the bins of any grid.
    _PAIRS = ColourGrid((0, 0, 0), (2, 2, 2), (128, 128, 128))

    def __init__(self) -> None:
        self._marginals = np.zeros((3, 256), np.int64)
        self._counts = np.zeros(self._PAIRS.sizes, np.int64)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count the pixels of an RGB image (H, W, 3)."""
        planes = planes_of(image)
        self._marginals += _marginals(planes)
        self._counts += self._PAIRS.counts(planes).astype(np.int64)

    def palette(self, num_colours: int, merged_colours: int, seed: int) -> Palette:
        """The same palette that `quantise` gives the whole image; see there. At least one pixel was counted."""
        used = [np.flatnonzero(marginal) for marginal in self._marginals]
        grid = ColourGrid.covering([int(values[0]) for values in used], [int(values[-1]) for values in used])
        counts = self._PAIRS.recounted(self._counts, grid)
        return _palette(grid, counts, lambda: self._marginals, num_colours, merged_colours, seed)


def quantise(image: NDArray[np.uint8], num_colours: int, merged_colours: int, seed: int) -> tuple[Palette, Planes]:
    """Cluster the colours of an image by K-means, then merge the clusters that lie closest (Eq. 2 and 3).

    Of the second stage the paper says only "adaptive cluster merging"; ours is `merge`.

    Args:
        image: RGB, (H, W, 3), not empty.
        num_colours: Clusters of the first stage, 1..256; an image of fewer colours gets as many as it has.
        merged_colours: Clusters that remain after merging, 1..num_colours.
        seed: Of the K-means initialisation.

    Returns:
        The colours, the same for the same image and seed on any number of threads or workers, and the channels of the
        image, in which the palette looks its pixels up.
    """
    planes = planes_of(image)
    grid = ColourGrid.of(planes)
    palette = _palette(grid, grid.counts(planes), lambda: _marginals(planes), num_colours, merged_colours, seed)
    return palette, planes


def merge(centres: NDArray[np.float64], sizes: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Merge clusters two by two until `count` remain (agglomeration by Ward's criterion).

    Each step merges the pair that adds least to the K-means objective (Eq. 3), n_a n_b / (n_a + n_b) |c_a - c_b|^2,
    into one cluster at the size-weighted mean. What the merged one then costs with each other follows from what its
    parts cost (Lance and Williams' recurrence).

    Args:
        centres: (n, 3).
        sizes: Number of pixels of each, > 0, (n,).
        count: Clusters to keep, >= 1.

    Returns:
        The new cluster of each old one, in 0..min(n, count) - 1, (n,).
    """
    sizes = sizes.astype(np.float64)
    groups = np.arange(len(centres))
    costs = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
    costs *= np.outer(sizes, sizes) / np.add.outer(sizes, sizes)
    np.fill_diagonal(costs, np.inf)
    for _ in range(len(centres) - count):
        first, second = sorted(divmod(int(costs.argmin()), len(centres)))
        one, other, between = sizes[first], sizes[second], costs[first, second]
        row = (sizes + one) * costs[first] + (sizes + other) * costs[second] - sizes * between
        row /= sizes + (one + other)
        sizes[first] = one + other
        groups[groups == second] = first
        costs[first] = costs[:, first] = row
        costs[second] = costs[:, second] = np.inf
        costs[first, first] = np.inf
    return np.unique(groups, return_inverse=True)[1].astype(np.intp)


def _marginals(planes: Planes) -> NDArray[np.int64]:
    """How many pixels have each value of each channel, (3, 256)."""
    return np.stack([np.bincount(plane.ravel(), minlength=256) for plane in planes])


def _palette(
    grid: ColourGrid,
    counts: NDArray[np.float32] | NDArray[np.float64],
    marginals: Callable[[], NDArray[np.int64]],
    num_colours: int,
    merged_colours: int,
    seed: int,
) -> Palette:
    """Both stages on the counts of the grid's bins; `marginals`, (3, 256), is asked where the bins are few."""
    occupied = np.flatnonzero(counts.ravel() > 0)
    colours = grid.colours(occupied, marginals() if len(occupied) < _FEW_BINS else None)
    points = Points(colours, counts.ravel().take(occupied))
    centres = _start(points, num_colours, np.random.default_rng(seed))
    centres, sizes, clusters = points.clusters(points.nearest(centres), len(centres))
    groups = merge(centres, sizes, merged_colours)
    merged, merged_sizes, _ = Points(centres.T, sizes).clusters(groups, int(groups.max()) + 1)
    table = np.asarray(counts, dtype=np.float32)  # its memory is used again: bins without pixels are 0 in it already
    table.ravel()[occupied] = clusters
    return Palette(
        np.rint(merged).astype(np.uint8),
        merged_sizes.astype(np.int64),
        centres,
        groups.astype(np.uint8),
        grid,
        table,
    )


def _start(points: Points, num_colours: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Centres near the optimum, from samples of the points: too many, merged to the number wanted, moved."""
    if len(points) <= num_colours:
        return points.colours
    many = points.thinned(_SAMPLE * num_colours)
    few = many.every(_EVERY if len(many) < len(points) else 1)
    centres = few.lloyd(few.spread(min(int(_SURPLUS * num_colours), len(few), 256), rng.random()), _SURPLUS_STEPS)
    centres, sizes, _ = few.clusters(few.nearest(centres), len(centres))
    groups = merge(centres, sizes, num_colours)
    centres, _, _ = Points(centres.T, sizes).clusters(groups, int(groups.max()) + 1)
    return many.lloyd(few.lloyd(centres, _FEW_STEPS), _MANY_STEPS)
