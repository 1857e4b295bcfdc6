"""Weighted points in colour space and the steps of K-means on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Each centre moves this many times as far as Lloyd's algorithm says, which halves the steps that are needed.
_RELAXATION = 1.8
# Distances are taken near zero, where float32 is exact enough.
_MIDDLE = 128
_INDICES = np.arange(256, dtype=np.int32)[:, None]


class Points:
    """Points, RGB, with weights > 0.

    Args:
        colours: (3, n).
        weights: (n,).
    """

    def __init__(
        self,
        colours: NDArray[np.float32] | NDArray[np.float64],
        weights: NDArray[np.float32] | NDArray[np.float64],
    ) -> None:
        self.weights = weights.astype(np.float64)
        # Each point's colour, 1, and square: its product with a centre's row is their squared distance.
        self._rows = np.ones((5, len(weights)), np.float32)
        np.subtract(colours, _MIDDLE, out=self._rows[:3], casting="same_kind")
        np.einsum("cn,cn->n", self._rows[:3], self._rows[:3], out=self._rows[4])
        self._sums = [*(colours * self.weights), self.weights]

    def __len__(self) -> int:
        """How many."""
        return len(self.weights)

    @property
    def colours(self) -> NDArray[np.float64]:
        """(n, 3)."""
        return self._rows[:3].T.astype(np.float64) + _MIDDLE

    def nearest(self, centres: NDArray[np.float64]) -> NDArray[np.intp]:
        """Index of the centre, at most 256 of them, nearest to each point, (n,)."""
        factors = np.empty((len(centres), 5), np.float32)
        factors[:, :3] = centres - _MIDDLE
        factors[:, 3] = (factors[:, :3] ** 2).sum(axis=1)
        factors[:, :3] *= -2
        factors[:, 4] = 1
        # Floats above zero have the order of their bits. With the index in the lowest eight of them, which leaves the
        # distance 15 binary digits, the minimum brings its index along: a quarter of the time of argmin.
        keys = (factors @ self._rows).view(np.int32)
        keys &= ~255
        keys |= _INDICES[: len(centres)]
        nearest = np.minimum.reduce(keys, axis=0)
        nearest &= 255
        return np.asarray(nearest, dtype=np.intp)

    def clusters(
        self, labels: NDArray[np.intp], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
        """Centre (Eq. 2) and weight of every cluster that has points, and the labels renumbered to those."""
        sums = self._added(labels, count)
        used = sums[3] > 0
        if not used.all():
            labels = (np.cumsum(used) - 1).take(labels)
        return (sums[:3, used] / sums[3, used]).T, sums[3, used], labels

    def lloyd(self, centres: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Move centres towards the means of their points; one without points stays."""
        for _ in range(steps):
            sums = self._added(self.nearest(centres), len(centres))
            moves = sums[:3].T - centres * sums[3][:, None]
            moves /= np.maximum(sums[3], 1e-9)[:, None]
            centres = centres + _RELAXATION * moves
        return centres

    def thinned(self, count: int) -> Points:
        """At most so many of the points, evenly in their order, by the square roots of their weights.

        Drawn by their weights, nearly all would lie where the image is flat. Each stands for those left out round it.
        """
        if count >= len(self):
            return self
        roots = np.sqrt(self.weights)
        sums = np.cumsum(roots)
        step = float(sums[-1]) / count
        numbers = (sums / step).astype(np.int32)
        chosen = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        weights = np.maximum(self.weights.take(chosen), roots.take(chosen) * step)
        return Points(self._rows[:3].take(chosen, axis=1) + _MIDDLE, weights)

    def every(self, step: int) -> Points:
        """One in so many of the points."""
        return Points(self._rows[:3, ::step] + _MIDDLE, self.weights[::step])

    def spread(self, count: int, shift: float) -> NDArray[np.float64]:
        """At most so many of the points, evenly in their order but closer where the weights are high; (<= count, 3).

        Args:
            count: How many.
            shift: Says where the first lies, in [0, 1).
        """
        sums = np.cumsum(self.weights**0.2)
        chosen = np.searchsorted(sums, (np.arange(count) + shift) * (sums[-1] / count), side="right")
        return np.asarray(self.colours[np.unique(chosen)])

    def _added(self, labels: NDArray[np.intp], count: int) -> NDArray[np.float64]:
        return np.stack([np.bincount(labels, row, count) for row in self._sums])
